"""Predicted against observed targets, with error bars."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import numpy as np

from .._prediction import check_coverage, interval_levels
from ..metrics._validation import check_quantiles, interval_half_width
from ._display import UQDisplay, merge_style, number, with_units

_KINDS = ("auto", "errorbar", "scatter", "hexbin")
#: Numbers of samples up to which a kind is readable.
_MOST_BARS = 300
_MOST_POINTS = 5000


@dataclass(eq=False, repr=False)
class ParityDisplay(UQDisplay):
    """Predicted against observed targets, with error bars.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    y_true, y_pred, y_std : ndarray of shape (n_samples,)
        Observed targets, predicted means and standard deviations, in target units.
    estimator_name : str, default=None
        Name of the model; not shown when None.
    n_missing : int, default=0
        Number of samples without a prediction.
    quantiles : callable, default=None
        ``quantiles(q)`` of shape (n_samples, n_levels), for the error bars. None is
        Gaussian.
    units : str, default=None
        Units of the target.

    Attributes
    ----------
    kind_ : {"errorbar", "scatter", "hexbin"}
        What was drawn.
    artist_ : matplotlib ErrorbarContainer or Collection
        The points.
    colorbar_ : matplotlib Colorbar or None
        Scale of the colours: std, or predictions in a cell.
    ax_, figure_ : matplotlib Axes and Figure
        The axes with the points, and their figure.

    See Also
    --------
    ErrorUncertaintyDisplay : Error against std.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn_unlocknn.plotting import ParityDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> display = ParityDisplay.from_estimator(
    ...     BayesianRidge().fit(X[:300], y[:300]), X[300:], y[300:], units="a.u."
    ... )
    >>> display.kind_, display.ax_.get_ylabel()
    ('errorbar', 'Predicted target (a.u.)')
    """

    y_true: np.ndarray
    y_pred: np.ndarray
    y_std: np.ndarray
    _: KW_ONLY
    quantiles: Callable | None = None
    units: str | None = None
    _subject = "a parity plot"

    def plot(self, ax=None, *, name=None, kind="auto", coverage=0.95, **kwargs):
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        name : str, default=None
            Name in the legend; None is `estimator_name`.
        kind : {"auto", "errorbar", "scatter", "hexbin"}, default="auto"
            "errorbar" draws the interval of each prediction, "scatter" colours the
            points by their std, "hexbin" colours cells by their number of samples.
            "auto" is the first up to 300, the second up to 5000, else the third.
        coverage : float, default=0.95
            Nominal coverage of the error bars, strictly between 0 and 1.
        **kwargs : dict
            Keywords of matplotlib's ``errorbar``, ``scatter`` or ``hexbin``.

        Returns
        -------
        display : ParityDisplay
            This object.

        Raises
        ------
        ValueError
            When `kind` or `coverage` is not valid.
        ImportError
            When matplotlib is not installed.
        """
        if kind not in _KINDS:
            raise ValueError(f"Got kind={kind!r}, expected one of {_KINDS}.")
        check_coverage(coverage)
        if kind == "auto":
            n = len(self.y_true)
            kind = "errorbar" if n <= _MOST_BARS else "scatter"
            kind = kind if n <= _MOST_POINTS else "hexbin"
        self._start(ax, figsize=(5.4, 5.4) if kind == "errorbar" else (6.4, 5.4))
        self.kind_, self.colorbar_ = kind, None

        error = self.y_pred - self.y_true
        # One value a line: a narrow legend fits beside the diagonal.
        lines = [
            self._label(name),
            f"MAE {number(np.abs(error).mean(), self.units)}",
            f"RMSE {number(np.sqrt(np.mean(error**2)), self.units)}",
        ]
        label = "\n".join(filter(None, lines))
        bars = self._bars(coverage) if kind == "errorbar" else np.zeros((2, 1))
        limits = self._limits(bars)
        {
            "errorbar": self._draw_bars,
            "scatter": self._draw_points,
            "hexbin": self._draw_cells,
        }[kind](label, bars, coverage, limits, kwargs)
        self._reference("predicted = observed", self.ax_.axline, (0, 0), slope=1)
        self.ax_.set(xlim=limits, ylim=limits, aspect="equal")
        self._finish(
            title="Predicted against observed",
            xlabel=with_units("Observed target", self.units),
            ylabel=with_units("Predicted target", self.units),
            loc="upper left",
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
        kind="auto",
        coverage=0.95,
        units=None,
        name=None,
        ax=None,
        **kwargs,
    ):
        """Draw predictions against observations.

        Parameters
        ----------
        y_true, y_pred, y_std : array-like of shape (n_samples,)
            Targets, predicted means and std (noise included), in target units. Samples
            with NaN in `y_pred` or `y_std` are left out and counted in the legend.
        quantiles : callable, default=None
            Quantiles at levels q, of shape (n_samples, n_levels), in target units:
            ``lambda q: model.predict_quantiles(X, q)``. None assumes a Gaussian.
        kind : {"auto", "errorbar", "scatter", "hexbin"}, default="auto"
            How to draw, see :meth:`plot`.
        coverage : float, default=0.95
            Nominal coverage of the error bars, strictly between 0 and 1.
        units, name : str, default=None
            Units of the target, for the labels, and name of the model in the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on, such as `ax_` of another display; a new figure when None.
        **kwargs : dict
            Keywords of matplotlib's ``errorbar``, ``scatter`` or ``hexbin``.

        Returns
        -------
        display : ParityDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            When the predictions, `kind` or `coverage` are not valid.
        ImportError
            When matplotlib is not installed.
        """
        arrays, quantiles, fields = cls._drop_missing(
            y_true, y_pred, y_std, name, quantiles
        )
        display = cls(*arrays, quantiles=quantiles, units=units, **fields)
        return display.plot(ax, kind=kind, coverage=coverage, **kwargs)

    def _bars(self, coverage):
        """Return lengths of bars below and above the predictions, (2, n_samples)."""
        if self.quantiles is None:
            return np.tile(interval_half_width(coverage) * self.y_std, (2, 1))
        shape = (len(self.y_pred), 1)
        ends = check_quantiles(self.quantiles, interval_levels(coverage), shape)
        below, above = self.y_pred - ends[:, 0, 0], ends[:, 1, 0] - self.y_pred
        # A skewed distribution may have its mean outside a narrow interval.
        return np.maximum([below, above], 0.0)

    def _limits(self, bars):
        """Return the limits of both axes, which hold everything drawn on them."""
        bars = np.where(np.isfinite(bars), bars, 0.0)
        low = min(self.y_true.min(), (self.y_pred - bars[0]).min())
        high = max(self.y_true.max(), (self.y_pred + bars[1]).max())
        margin = 0.04 * (high - low) or 1.0
        low, high = low - margin, high + margin
        if self.ax_.has_data():
            low = min(low, self.ax_.get_xlim()[0])
            high = max(high, self.ax_.get_xlim()[1])
        return low, high

    def _draw_bars(self, label, bars, coverage, limits, kwargs):
        from matplotlib.lines import Line2D

        style = self._next_style()
        del style["linestyle"]
        style |= {"fmt": "o", "markersize": 4, "elinewidth": 0.8, "alpha": 0.8}
        label = f"{label}\nbars: {100 * coverage:g} % intervals"
        self.artist_ = self.ax_.errorbar(
            self.y_true,
            self.y_pred,
            yerr=bars,
            **merge_style({**style, "label": label}, kwargs, Line2D),
        )
        for bar in self.artist_[2]:
            bar.set_alpha(0.5)

    def _draw_points(self, label, bars, coverage, limits, kwargs):
        # The least certain on top: they are few, and of most interest.
        order = np.argsort(self.y_std)
        style = {"c": self.y_std[order], "s": 12, "cmap": "viridis"}
        style |= {"rasterized": True, "label": label}
        self.artist_ = self.ax_.scatter(
            self.y_true[order], self.y_pred[order], **{**style, **kwargs}
        )
        text = with_units("Predicted std", self.units)
        self.colorbar_ = self.figure_.colorbar(self.artist_, ax=self.ax_, label=text)

    def _draw_cells(self, label, bars, coverage, limits, kwargs):
        style = {"gridsize": 60, "bins": "log", "mincnt": 1, "cmap": "viridis"}
        style |= {"extent": (*limits, *limits), "linewidths": 0.2}
        self.artist_ = self.ax_.hexbin(self.y_true, self.y_pred, **{**style, **kwargs})
        self.colorbar_ = self.figure_.colorbar(
            self.artist_, ax=self.ax_, label="Predictions in a cell"
        )
        color = self.artist_.get_cmap()(0.5)
        self.ax_.plot([], [], "h", color=color, label=label)
