"""Distribution of the predicted standard deviations."""

from dataclasses import KW_ONLY, dataclass

import numpy as np

from ..metrics import dispersion, sharpness
from ._display import UQDisplay, merge_style, number, with_units

#: Least width of a bin, relative to the largest std.
_NARROWEST = 1 / 40
#: Models on the same axes share their bins up to this number.
_MOST_BINS = 200


@dataclass(eq=False, repr=False)
class SharpnessDisplay(UQDisplay):
    """Distribution of the predicted standard deviations, with their sharpness.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    y_std : ndarray of shape (n_samples,)
        Predicted standard deviations, in target units.
    sharpness : float
        Their root mean square, in target units.
    dispersion : float
        Their coefficient of variation, dimensionless.
    estimator_name : str, default=None
        Name of the model; not shown when None.
    n_missing : int, default=0
        Number of samples without a prediction.
    units : str, default=None
        Units of the target.

    Attributes
    ----------
    histogram_ : matplotlib StepPatch
        The distribution.
    line_ : matplotlib Line2D
        The sharpness.
    ax_, figure_ : matplotlib Axes and Figure
        The axes with the histogram, and their figure.

    See Also
    --------
    sklearn_unlocknn.metrics.sharpness : Root mean square of the std.
    sklearn_unlocknn.metrics.dispersion : Coefficient of variation of the std.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn_unlocknn.plotting import SharpnessDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> display = SharpnessDisplay.from_estimator(
    ...     BayesianRidge().fit(X[:300], y[:300]), X[300:], y[300:], units="a.u."
    ... )
    >>> display.ax_.get_xlabel()
    'Predicted std (a.u.)'
    """

    y_std: np.ndarray
    sharpness: float
    dispersion: float
    _: KW_ONLY
    units: str | None = None
    _subject = "a histogram of std"

    def plot(self, ax=None, *, name=None, bins=None, **kwargs):
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        name : str, default=None
            Name in the legend; None is `estimator_name`.
        bins : int, sequence or str, default=None
            As in :func:`numpy.histogram_bin_edges`. None: the width of a model that is
            already drawn, or by the rules of Sturges and of Freedman and Diaconis.
        **kwargs : dict
            Keywords of matplotlib's ``stairs``.

        Returns
        -------
        display : SharpnessDisplay
            This object.

        Raises
        ------
        ImportError
            When matplotlib is not installed.
        """
        self._start(ax, figsize=(6.0, 4.2))
        from matplotlib.patches import StepPatch

        counts, edges = np.histogram(self.y_std, self._edges(bins))
        share = 100 * counts / len(self.y_std)
        label = self._label(
            name,
            f"sharpness {number(self.sharpness, self.units)}",
            f"dispersion {self.dispersion:.2f}",
        )
        style = self._next_style()
        line = {key: style[key] for key in ("color", "linestyle")}
        style = {**style, "fill": True, "linewidth": 1.5, "alpha": 0.45, "label": label}
        self.histogram_ = self.ax_.stairs(
            share, edges, **merge_style(style, kwargs, StepPatch)
        )
        line["color"] = self.histogram_.get_facecolor()[:3]
        self.line_ = self.ax_.axvline(self.sharpness, ymax=0.78, linewidth=1.8, **line)
        # `left=0` alone would keep the right end of the first model.
        self.ax_.set_xlim(0, 1.05 * self.ax_.dataLim.x1)
        # Space for the legend above the bars.
        self.ax_.set_ylim(0, 1.35 * max(share.max(), self.ax_.dataLim.y1))
        self._finish(
            title="Predicted std and their RMS (sharpness)",
            xlabel=with_units("Predicted std", self.units),
            ylabel="Share of predictions in a bin (%)",
            loc="upper right",
        )
        return self

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_pred,
        y_std,
        *,
        bins=None,
        units=None,
        name=None,
        ax=None,
        **kwargs,
    ):
        """Draw the distribution of the std of predictions.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,) or None
            Observed targets; checked, not used. None where they are unknown.
        y_pred, y_std : array-like of shape (n_samples,)
            Predicted means and standard deviations (noise included), in target units.
            Samples with NaN in either are left out and counted in the legend.
        bins : int, sequence or str, default=None
            As in :func:`numpy.histogram_bin_edges`. For None see :meth:`plot`.
        units, name : str, default=None
            Units of the target, for the labels, and name of the model in the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on, such as `ax_` of another display; a new figure when None.
        **kwargs : dict
            Keywords of matplotlib's ``stairs``.

        Returns
        -------
        display : SharpnessDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            When the predictions are not valid.
        ImportError
            When matplotlib is not installed.
        """
        arrays, _, fields = cls._drop_missing(y_true, y_pred, y_std, name)
        values = sharpness(*arrays), dispersion(*arrays)
        display = cls(arrays[2], *values, units=units, **fields)
        return display.plot(ax, bins=bins, **kwargs)

    def _edges(self, bins):
        std = self.y_std
        if bins is not None:
            return np.histogram_bin_edges(std, bins)
        if std.max() == 0:
            return np.array([0.0, 1.0])
        width = self._width_in_use()
        if width is None or std.max() > _MOST_BINS * width:
            n, quartiles = len(std), np.quantile(std, [0.25, 0.75])
            # The narrower of the two rules, as "auto", whose memory has no bound.
            rules = np.ptp(std) / (np.log2(n) + 1), 2 * np.ptp(quartiles) / np.cbrt(n)
            width = min([w for w in rules if w > 0] or [0.0])
            width = max(width, _NARROWEST * std.max())
        first, last = np.floor(std.min() / width), np.floor(std.max() / width) + 1
        return width * np.arange(first, last + 1)

    def _width_in_use(self):
        """Return the width of the bins of a model on the axes, or None."""
        edges = [
            artist.get_data().edges
            for artist in self.ax_.patches
            if hasattr(artist, "get_data")
        ]
        return edges[0][1] - edges[0][0] if edges else None
