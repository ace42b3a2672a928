"""Observed minus nominal coverage of intervals."""

from dataclasses import dataclass

import numpy as np

from ..metrics import interval_coverage
from ._display import UQDisplay

_COVERAGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(eq=False, repr=False)
class IntervalCoverageDisplay(UQDisplay):
    """Observed minus nominal coverage of central prediction intervals.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    coverages, observed : ndarray of shape (n_coverages,)
        Nominal coverages, between 0 and 1, and shares of targets inside.
    n_samples : int
        Number of predictions, for the range of chance alone.
    estimator_name : str, default=None
        Name of the model; not shown when None.
    n_missing : int, default=0
        Number of samples without a prediction.

    Attributes
    ----------
    line_ : matplotlib Line2D
        Differences, in percentage points.
    band_ : matplotlib PolyCollection or None
        The range of chance alone.
    ax_, figure_ : matplotlib Axes and Figure
        The axes with the line, and their figure.

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

    coverages: np.ndarray
    observed: np.ndarray
    n_samples: int
    _subject = "a picture of coverage"

    def plot(self, ax=None, *, name=None, band=True, **kwargs):
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        name : str, default=None
            Name in the legend; None is `estimator_name`.
        band : bool, default=True
            Whether to shade the range of chance alone; drawn for the first model.
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
        first = not self.ax_.get_legend_handles_labels()[0]
        self.band_ = None
        if first:
            text = "above 0: intervals too wide\nbelow 0: too narrow"
            style = {"ha": "right", "va": "top", "color": "0.35", "fontsize": "small"}
            style["transform"] = self.ax_.transAxes
            self.ax_.text(0.98, 0.98, text, **style)
        if first and band:
            levels = np.linspace(0.0, 1.0, 201)
            chance = 200 * np.sqrt(levels * (1 - levels) / self.n_samples)
            label = f"chance alone, {self.n_samples} predictions"
            style = {"color": "0.87", "linewidth": 0, "label": label}
            self.band_ = self.ax_.fill_between(100 * levels, -chance, chance, **style)
        self._reference("as nominal", self.ax_.axhline, 0.0)

        nominal = 100 * np.asarray(self.coverages)
        observed = 100 * np.asarray(self.observed)
        at = int(np.argmin(np.abs(nominal - 95)))
        fact = f"{nominal[at]:g} % intervals hold {observed[at]:.1f} %"
        self.line_ = self._plot_model(
            nominal,
            observed - nominal,
            kwargs,
            marker="o",
            label=self._label(name, fact),
        )
        self.ax_.set_xlim(0, 100)
        reach = np.abs(self.ax_.dataLim.intervaly).max()
        # Space above and below for the text and the legend.
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
        y_true, y_pred, y_std : array-like of shape (n_samples,)
            Targets, predicted means and std (noise included), in target units. Samples
            with NaN in `y_pred` or `y_std` are left out and counted in the legend.
        quantiles : callable, default=None
            Quantiles at levels q, of shape (n_samples, n_levels), in target units:
            ``lambda q: model.predict_quantiles(X, q)``. None assumes a Gaussian.
        coverages : sequence of float, \
default=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
            Nominal coverages, strictly between 0 and 1. The legend shows the one
            nearest to 0.95.
        name : str, default=None
            Name of the model in the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on, such as `ax_` of another display; a new figure when None.
        band : bool, default=True
            Whether to shade the range of chance alone.
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
        arrays, quantiles, fields = cls._drop_missing(
            y_true, y_pred, y_std, name, quantiles
        )
        observed = [
            interval_coverage(*arrays, coverage=c, quantiles=quantiles)
            for c in coverages
        ]
        n = len(arrays[0])
        display = cls(np.array(coverages), np.array(observed), n, **fields)
        return display.plot(ax, band=band, **kwargs)
