"""Errors against predicted standard deviations."""

from dataclasses import KW_ONLY, dataclass

import numpy as np

from ..metrics import error_uncertainty_correlation
from ..metrics._validation import check_integer
from ._display import UQDisplay, with_units


@dataclass(eq=False, repr=False)
class ErrorUncertaintyDisplay(UQDisplay):
    """Absolute error against predicted std, and their root mean squares in bins.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    y_std, error : ndarray of shape (n_samples,)
        Predicted standard deviations and absolute errors, in target units.
    correlation : float
        Spearman correlation of the two.
    estimator_name : str, default=None
        Name of the model; not shown when None.
    n_missing : int, default=0
        Number of samples without a prediction.
    units : str, default=None
        Units of the target.

    Attributes
    ----------
    line_ : matplotlib Line2D
        Root mean square error against root mean square std of each bin.
    points_ : matplotlib PathCollection or None
        The single predictions.
    ax_, figure_ : matplotlib Axes and Figure
        The axes with the points, and their figure.

    See Also
    --------
    SparsificationDisplay : Ranking of the predictions by std.
    sklearn_unlocknn.metrics.error_uncertainty_correlation : Correlation of the two.

    Notes
    -----
    Samples are sorted by std into bins of equal size. Where std are right, the root
    mean square error of a bin is the root mean square of its std [1]_: above the
    diagonal the model is over-confident, below it under-confident. Axes are
    logarithmic; smaller errors are drawn at a hundredth of the smallest std.

    References
    ----------
    .. [1] D. Levi et al., "Evaluating and calibrating uncertainty prediction in
       regression tasks", Sensors 22, 5540 (2022), doi:10.3390/s22155540.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn_unlocknn.plotting import ErrorUncertaintyDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> display = ErrorUncertaintyDisplay.from_estimator(
    ...     BayesianRidge().fit(X[:300], y[:300]), X[300:], y[300:], n_bins=5
    ... )
    >>> len(display.line_.get_xdata())
    5
    """

    y_std: np.ndarray
    error: np.ndarray
    correlation: float
    _: KW_ONLY
    units: str | None = None
    _subject = "errors against std"

    def plot(self, ax=None, *, name=None, n_bins=10, points=True, **kwargs):
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        name : str, default=None
            Name in the legend; None is `estimator_name`.
        n_bins : int, default=10
            Number of bins of equal size, at most the number of samples.
        points : bool, default=True
            Whether to draw the single predictions, rasterised.
        **kwargs : dict
            Keywords of matplotlib's ``plot`` for the line.

        Returns
        -------
        display : ErrorUncertaintyDisplay
            This object.

        Raises
        ------
        ValueError
            When `n_bins` is not a positive integer, or all std are zero.
        ImportError
            When matplotlib is not installed.
        """
        check_integer("n_bins", n_bins, 1)
        if not (self.y_std > 0).any():
            raise ValueError(
                "Got a y_std of 0 in all samples, expected some positive: the axes are "
                "logarithmic."
            )
        self._start(ax, figsize=(6.0, 5.0))
        order = np.argsort(self.y_std, kind="stable")
        bins = np.array_split(order, min(n_bins, len(order)))
        std, error = (
            np.array([np.sqrt(np.mean(values[rows] ** 2)) for rows in bins])
            for values in (self.y_std, self.error)
        )
        label = self._label(
            name,
            f"RMSE of {len(bins)} bins",
            f"rank correlation {self.correlation:.2f}",
        )
        style = {"marker": "o", "markeredgecolor": "white", "linewidth": 2.0}
        style |= {"zorder": 3, "label": label}
        self.line_ = self._plot_model(std, error, kwargs, **style)
        self.points_ = None
        if points:
            self._draw_points()
        self.ax_.set(xscale="log", yscale="log")
        self._reference("RMSE = std", self.ax_.axline, *self._diagonal())
        for axis in (self.ax_.xaxis, self.ax_.yaxis):
            _label_log(axis)
        self._finish(
            title="Error against predicted std",
            xlabel=with_units("Predicted std", self.units),
            ylabel=with_units("Absolute error; RMSE", self.units),
            loc="lower right",
        )
        return self

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_pred,
        y_std,
        *,
        n_bins=10,
        points=True,
        units=None,
        name=None,
        ax=None,
        **kwargs,
    ):
        """Draw the errors of predictions against their std.

        Parameters
        ----------
        y_true, y_pred, y_std : array-like of shape (n_samples,)
            Targets, predicted means and std (noise included), in target units. Samples
            with NaN in `y_pred` or `y_std` are left out and counted in the legend.
        n_bins : int, default=10
            Number of bins of equal size, at most the number of samples.
        points : bool, default=True
            Whether to draw the single predictions, rasterised.
        units, name : str, default=None
            Units of the target, for the labels, and name of the model in the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on, such as `ax_` of another display; a new figure when None.
        **kwargs : dict
            Keywords of matplotlib's ``plot`` for the line.

        Returns
        -------
        display : ErrorUncertaintyDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            When the predictions or `n_bins` are not valid, or all std are zero.
        ImportError
            When matplotlib is not installed.
        """
        arrays, _, fields = cls._drop_missing(y_true, y_pred, y_std, name)
        display = cls(
            arrays[2],
            np.abs(arrays[0] - arrays[1]),
            error_uncertainty_correlation(*arrays),
            units=units,
            **fields,
        )
        return display.plot(ax, n_bins=n_bins, points=points, **kwargs)

    def _diagonal(self):
        """Return two points of the diagonal within the data, to keep the limits."""
        middle = np.median(self.y_std[self.y_std > 0])
        return (middle, middle), (1.01 * middle, 1.01 * middle)

    def _draw_points(self):
        floor = 0.01 * self.y_std[self.y_std > 0].min()
        n = len(self.error)
        self.points_ = self.ax_.scatter(
            self.y_std,
            np.maximum(self.error, floor),
            s=8 if n <= 2000 else 3,
            alpha=float(np.clip(300 / n, 0.03, 0.5)),
            color=self.line_.get_color(),
            linewidths=0,
            rasterized=True,
        )


def _label_log(axis):
    """Label a logarithmic axis without overlaps."""
    from matplotlib import ticker

    low, high = axis.get_view_interval()
    if high / low < 100:
        subs = (1, 2, 5) if high / low > 20 else (1, 1.5, 2, 3, 5, 7)
        locator = ticker.LogLocator(subs=subs)
        axis.set_major_locator(locator if high / low > 4 else ticker.MaxNLocator(5))
        axis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())
