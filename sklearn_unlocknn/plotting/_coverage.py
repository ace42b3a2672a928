"""How far the coverage of intervals is off."""

import numpy as np

from ..metrics import interval_coverage
from ..metrics._missing import drop_missing, quantiles_of_rows
from ._display import UQDisplay, merge_style

_COVERAGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


class IntervalCoverageDisplay(UQDisplay):
    """Observed minus nominal coverage of central prediction intervals.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    coverages : ndarray of shape (n_coverages,)
        Nominal coverages, between 0 and 1.
    observed : ndarray of shape (n_coverages,)
        Share of targets inside.
    n_samples : int
        Number of predictions, which says how far chance alone goes.
    estimator_name : str, default=None
        Name of the model; not shown when None.
    n_missing : int, default=0
        Number of rows that have no prediction.

    Attributes
    ----------
    line_ : matplotlib Line2D
        Differences, in percentage points.
    band_ : matplotlib PolyCollection or None
        What chance alone gives.
    ax_ : matplotlib Axes
        Axes with the line.
    figure_ : matplotlib Figure
        Figure of the axes.

    See Also
    --------
    sklearn_unlocknn.metrics.interval_coverage : The observed coverage.
    UQCalibrationDisplay : Observed against nominal, with kind="interval".

    Notes
    -----
    The band is twice the standard error of a proportion,
    ``2 * sqrt(c * (1 - c) / n_samples)``: about 95 % of calibrated models with
    independent errors are inside it at one coverage c.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn_unlocknn.plotting import IntervalCoverageDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> display = IntervalCoverageDisplay.from_estimator(
    ...     BayesianRidge().fit(X[:300], y[:300]), X[300:], y[300:]
    ... )
    >>> display.ax_.get_ylabel()
    'Observed minus nominal coverage (percentage points)'
    """

    def __init__(
        self, coverages, observed, n_samples, *, estimator_name=None, n_missing=0
    ):
        self.coverages = coverages
        self.observed = observed
        self.n_samples = n_samples
        self.estimator_name = estimator_name
        self.n_missing = n_missing

    def plot(self, ax=None, *, name=None, band=True, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        name : str, default=None
            Name in the legend; None is `estimator_name`.
        band : bool, default=True
            Whether to shade what chance alone gives; drawn for the first model.
        **kwargs : dict
            Keywords of matplotlib's ``plot``.

        Returns
        -------
        display : IntervalCoverageDisplay
            This object.

        Raises
        ------
        ImportError
            When matplotlib is not installed.
        """
        self._start(ax, figsize=(6.2, 4.6))
        from matplotlib.lines import Line2D

        first = not self.ax_.get_legend_handles_labels()[0]
        self.band_ = None
        if first:
            self.ax_.text(
                0.98,
                0.98,
                "above 0: intervals too wide\nbelow 0: too narrow",
                transform=self.ax_.transAxes,
                horizontalalignment="right",
                verticalalignment="top",
                color="0.35",
                fontsize="small",
            )
        if first and band:
            levels = np.linspace(0.0, 1.0, 201)
            chance = 200 * np.sqrt(levels * (1 - levels) / self.n_samples)
            self.band_ = self.ax_.fill_between(
                100 * levels,
                -chance,
                chance,
                color="0.87",
                linewidth=0,
                label=f"chance alone, {self.n_samples} predictions",
            )
        self._reference("as nominal", lambda **line: self.ax_.axhline(0.0, **line))

        at = int(np.argmin(np.abs(np.asarray(self.coverages) - 0.95)))
        fact = f"{100 * self.coverages[at]:g} % intervals hold "
        fact += f"{100 * self.observed[at]:.1f} %"
        style = {**self._next_style(), "marker": "o", "label": self._label(name, fact)}
        self.line_ = self.ax_.plot(
            100 * np.asarray(self.coverages),
            100 * (np.asarray(self.observed) - np.asarray(self.coverages)),
            **merge_style(style, kwargs, Line2D),
        )[0]
        self.ax_.set_xlim(0, 100)
        reach = np.abs(self.ax_.dataLim.intervaly).max()
        # Room above and below for the text and the legend.
        self.ax_.set_ylim(-2.1 * max(reach, 1.0), 1.5 * max(reach, 1.0))
        self._finish(
            title="Coverage of prediction intervals",
            xlabel="Nominal coverage of the interval (%)",
            ylabel="Observed minus nominal coverage (percentage points)",
            loc="lower left",
        )
        return self

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_pred,
        y_std,
        *,
        quantiles=None,
        coverages=_COVERAGES,
        name=None,
        ax=None,
        band=True,
        **kwargs,
    ):
        """Draw the coverage of the intervals of predictions.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            Observed targets, in target units.
        y_pred : array-like of shape (n_samples,)
            Predicted means, in target units. NaN in it or in `y_std`: no prediction;
            the row is left out and counted in the legend.
        y_std : array-like of shape (n_samples,)
            Predicted standard deviations, in target units, noise included.
        quantiles : callable, default=None
            ``quantiles(q)`` -> (n_samples, n_levels), what is predicted of these rows
            at levels q in (0, 1), in target units: that of an estimator is
            ``lambda q: model.predict_quantiles(X, q)``. None reads `y_pred` and
            `y_std` as a normal.
        coverages : sequence of float, \
default=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
            Nominal coverages, strictly between 0 and 1. The one nearest to 0.95 is
            told in the legend.
        name : str, default=None
            Name of the model in the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on, such as `ax_` of another display; a new figure when None.
        band : bool, default=True
            Whether to shade what chance alone gives.
        **kwargs : dict
            Keywords of matplotlib's ``plot``.

        Returns
        -------
        display : IntervalCoverageDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            When the predictions or `coverages` are not valid.
        ImportError
            When matplotlib is not installed.
        """
        coverages = sorted(coverages)
        if not coverages:
            raise ValueError("Got no coverages, expected at least one, such as 0.95.")
        *arrays, present = drop_missing(y_true, y_pred, y_std, "a picture of coverage")
        quantiles = quantiles_of_rows(quantiles, present)
        observed = [
            interval_coverage(*arrays, coverage=c, quantiles=quantiles)
            for c in coverages
        ]
        display = cls(
            np.array(coverages),
            np.array(observed),
            len(arrays[0]),
            estimator_name=name,
            n_missing=int((~present).sum()),
        )
        return display.plot(ax, band=band, **kwargs)
