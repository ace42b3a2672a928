"""Periodic table coloured by a metric of each element."""

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass

import numpy as np

from ..metrics import uq_by_group
from ._display import UQDisplay, with_units
from ._elements import POSITIONS, SYMBOLS

_NO_DATA = "0.9"

# metric -> label of the colour bar, whether in target units
_VALUES = {
    "mae": ("Mean absolute error", True),
    "rmse": ("Root mean square error", True),
    "mean_error": ("Mean error, predicted minus observed", True),
    "mean_std": ("Mean predicted std", True),
    "sharpness": ("Sharpness (RMS of predicted std)", True),
    "crps": ("CRPS", True),
    "nll": ("Negative log likelihood (nats)", False),
    "coverage_95": ("Coverage of 95 % intervals", False),
    "miscalibration_area": ("Miscalibration area", False),
    "z_mean": ("Mean of standardised errors", False),
    "z_std": ("Std of standardised errors", False),
}


@dataclass(eq=False, repr=False)
class PeriodicTableDisplay(UQDisplay):
    """Periodic table with the value of a metric in each cell.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    values : mapping of str to float
        Value by element symbol. Elements without a value, or with NaN, are grey.
    estimator_name : str, default=None
        Name of the model, for the title.
    n_missing : int, default=0
        Number of samples without a prediction, for the title.
    counts : mapping of str to int, default=None
        Number of samples by element symbol, in small print; none when None.
    label : str, default=None
        Label of the values, for the colour bar.
    units : str, default=None
        Units of the values.

    Attributes
    ----------
    cells_ : matplotlib PatchCollection
        Cells with a value, coloured.
    texts_ : dict of str to matplotlib Text
        The values, by symbol.
    colorbar_ : matplotlib Colorbar
        The scale.
    ax_, figure_ : matplotlib Axes and Figure
        The axes with the table, and their figure.

    See Also
    --------
    sklearn_unlocknn.metrics.uq_by_group : The table behind it, for any groups.

    Examples
    --------
    >>> from sklearn_unlocknn.plotting import PeriodicTableDisplay
    >>> display = PeriodicTableDisplay.from_predictions(
    ...     [-4.1, -2.9], [-4.0, -3.2], [0.1, 0.2], ["NaCl", "CuCl"], units="eV"
    ... )
    >>> {symbol: round(v, 2) for symbol, v in sorted(display.values.items())}
    {'Cl': 0.15, 'Cu': 0.2, 'Na': 0.1}
    """

    values: Mapping
    _: KW_ONLY
    counts: Mapping | None = None
    label: str | None = None
    units: str | None = None

    def plot(
        self, ax=None, *, name=None, cmap="viridis", vmin=None, vmax=None, **kwargs
    ):
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, which should be twice as wide as high; a new figure when
            None.
        name : str, default=None
            Name of the model in the title; None is `estimator_name`.
        cmap : str or Colormap, default="viridis"
            Colours.
        vmin, vmax : float, default=None
            Values at the ends of the colours; the extremes when None.
        **kwargs : dict
            Keywords of matplotlib's ``PatchCollection``.

        Returns
        -------
        display : PeriodicTableDisplay
            This object.

        Raises
        ------
        ValueError
            When a key of `values` is no element, or no value is finite.
        ImportError
            When matplotlib is not installed.
        """
        values = self._check_values()
        self._start(ax, figsize=(12.0, 6.6))
        from matplotlib.collections import PatchCollection
        from matplotlib.colors import Normalize
        from matplotlib.patches import Rectangle

        def boxes(symbols, **style):
            corners = [POSITIONS[symbol] for symbol in symbols]
            patches = [Rectangle((c - 0.47, r - 0.47), 0.94, 0.94) for r, c in corners]
            return self.ax_.add_collection(PatchCollection(patches, **style))

        shown = np.array(list(values.values()))
        low = shown.min() if vmin is None else vmin
        high = shown.max() if vmax is None else vmax
        rest = [symbol for symbol in SYMBOLS if symbol not in values]
        boxes(rest, facecolor=_NO_DATA, edgecolor="none")
        style = {"cmap": cmap, "norm": Normalize(low, high), "edgecolor": "none"}
        self.cells_ = boxes(values, **{**style, **kwargs})
        self.cells_.set_array(shown)

        self.ax_.set(xlim=(0.4, 18.6), ylim=(10.0, 0.4), aspect="equal")
        self.ax_.set_axis_off()
        if not self.ax_.get_title():
            self.ax_.set_title(self._title(name))
        size = self._cell_size()
        self.colorbar_ = self._draw_colorbar(shown, low, high, size)
        self._write(values, rest, size)
        return self

    @classmethod
    def from_estimator(
        cls, estimator, X, y=None, *, structures=None, name=None, ax=None, **kwargs
    ):
        """Predict and draw.

        Parameters
        ----------
        estimator : fitted estimator
            One with ``predict(X, return_std=True)``, bare, as the last step of a
            Pipeline, or inside a fitted search.
        X : array-like of shape (n_samples, ...)
            Input samples.
        y : array-like of shape (n_samples,), default=None
            Observed targets, in target units; not needed for the predicted std.
        structures : list of Structure, default=None
            The structures of the samples; X when None.
        name : str, default=None
            Name of the model in the title. None is the name of its class.
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        **kwargs : object
            Further keywords of :meth:`from_predictions`.

        Returns
        -------
        display : PeriodicTableDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            When matplotlib is not installed.
        TypeError
            When `estimator` cannot predict a std.
        """
        kwargs["structures"] = X if structures is None else structures
        return super().from_estimator(estimator, X, y, name=name, ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_pred,
        y_std,
        structures,
        *,
        value="mean_std",
        min_count=1,
        units=None,
        name=None,
        ax=None,
        **kwargs,
    ):
        """Draw a metric of the samples that contain an element.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,) or None
            Observed targets, in target units; not needed for "mean_std" and
            "sharpness".
        y_pred, y_std : array-like of shape (n_samples,)
            Predicted means and standard deviations (noise included), in target units.
            Samples with NaN in either are left out and counted in the title.
        structures : list of Structure
            Structures of the samples, as in
            :func:`sklearn_unlocknn.metrics.group_labels`.
        value : str, default="mean_std"
            A metric of :func:`sklearn_unlocknn.metrics.uq_by_group`, such as
            "mean_std", "mae" or "z_std".
        min_count : int, default=1
            Elements in fewer predictions are grey.
        units : str, default=None
            Units of the target, for the labels.
        name : str, default=None
            Name of the model in the title.
        ax : matplotlib Axes, default=None
            Axes to draw on, twice as wide as high; a new figure when None.
        **kwargs : dict
            Keywords of :meth:`plot`.

        Returns
        -------
        display : PeriodicTableDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            When the predictions or keywords are not valid, `value` needs `y_true`, or
            no element is in `min_count` predictions.
        ImportError
            When matplotlib is not installed.
        """
        if value not in _VALUES:
            raise ValueError(f"Got value={value!r}, expected one of {list(_VALUES)}.")
        if y_true is None and value not in ("mean_std", "sharpness"):
            raise ValueError(
                f"Got y_true=None, expected observed targets for value={value!r}; "
                "without them there are 'mean_std' and 'sharpness'."
            )
        table = uq_by_group(
            y_pred if y_true is None else y_true,
            y_pred,
            y_std,
            structures,
            by="element",
            metrics=[value],
            min_count=max(min_count, 1),
        )
        label, in_units = _VALUES[value]
        missing = np.isnan(np.asarray(y_pred)) | np.isnan(np.asarray(y_std))
        display = cls(
            table[value].to_dict(),
            counts=table["n"].to_dict(),
            label=label,
            units=units if in_units else None,
            estimator_name=name,
            n_missing=int(missing.sum()),
        )
        return display.plot(ax, **kwargs)

    def _check_values(self):
        unknown = [symbol for symbol in self.values if symbol not in POSITIONS]
        if unknown:
            raise ValueError(
                f"Got values of {unknown}, expected symbols of elements, such as 'Fe'."
            )
        values = {s: float(v) for s, v in self.values.items() if math.isfinite(v)}
        if not values:
            raise ValueError(
                "Got no element with a finite value, expected at least one; is "
                "min_count too large?"
            )
        return values

    def _draw_colorbar(self, shown, low, high, size):
        # In the empty space above the transition metals.
        inset = self.ax_.inset_axes((3.0, 2.0, 9.0, 0.35), transform=self.ax_.transData)
        ends = (shown.min() < low, shown.max() > high)
        extend = {(True, True): "both", (True, False): "min", (False, True): "max"}
        # The bar has the same power of ten as the cells.
        power = _power_of_ten(shown)
        units = f"$10^{{{power}}}$ {self.units or ''}".strip() if power else self.units
        label = with_units(self.label or "Value", units)
        colorbar = self.figure_.colorbar(
            self.cells_,
            cax=inset,
            orientation="horizontal",
            extend=extend.get(ends, "neither"),
            format=lambda value, _: f"{value / 10.0**power:g}",
        )
        # Letters scale with the cells, to fit small tables.
        inset.set_title(label, fontsize=0.3 * size, pad=0.12 * size)
        inset.tick_params(labelsize=0.25 * size, length=0.06 * size, pad=0.06 * size)
        return colorbar

    def _cell_size(self):
        """Return the size of a cell in points."""
        root = self.figure_.canvas.figure  # of a subfigure too
        root.draw_without_rendering()  # settles the size of the axes
        return self.ax_.get_window_extent().width / 18.2 * 72.0 / root.dpi

    def _write(self, values, rest, size):
        """Write symbols, values, counts and notes."""
        style = {"ha": "center", "va": "center", "clip_on": True}
        unit = 10.0 ** _power_of_ten(values.values())
        decimals = _decimals([value / unit for value in values.values()])
        self.texts_ = {}
        for symbol, value in values.items():
            row, column = POSITIONS[symbol]
            color = _readable_on(self.cells_.to_rgba(value))
            style["color"] = color
            self.ax_.text(
                column, row - 0.22, symbol, fontsize=0.3 * size, weight="bold", **style
            )
            text = _format(value / unit, decimals)
            self.texts_[symbol] = self.ax_.text(
                column, row + 0.1, text, fontsize=0.25 * size, **style
            )
            if self.counts is not None and symbol in self.counts:
                count = f"n={self.counts[symbol]}"
                self.ax_.text(column, row + 0.34, count, fontsize=0.17 * size, **style)
        style["color"] = "0.5"
        for symbol in rest:
            row, column = POSITIONS[symbol]
            self.ax_.text(column, row, symbol, fontsize=0.26 * size, **style)
        notes = {(6, 3): "La-Lu", (7, 3): "Ac-Lr", (8.9, 1.5): "grey: no value"}
        if self.counts is not None:
            notes[8.9, 1.5] = "n: predictions\ngrey: none\nor too few"
        for (row, column), note in notes.items():
            self.ax_.text(column, row, note, fontsize=0.2 * size, **style)

    def _title(self, name):
        name = self.estimator_name if name is None else name
        title = f"{self.label or 'Value'} by element"
        title += "" if name is None else f", {name}"
        if self.n_missing:
            title += f" ({self.n_missing} without a prediction left out)"
        return title


def _readable_on(rgba):
    """Return black or white, by the higher contrast (WCAG relative luminance)."""
    rgb = np.asarray(rgba[:3])
    linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"


def _power_of_ten(values):
    """Return the power of ten to divide very small or large values by, or 0."""
    exponent = math.floor(math.log10(_typical(values)))
    return 0 if -2 <= exponent <= 3 else 3 * (exponent // 3)


def _decimals(values):
    """Return the digits after the point that show two figures of a typical value."""
    return max(1 - math.floor(math.log10(_typical(values))), 0)


def _typical(values):
    return np.median([abs(value) for value in values if value] or [1.0])


def _format(value, decimals):
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        return text.removeprefix("-")
    if len(text) > 6:  # wider than its cell
        text = f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return text
