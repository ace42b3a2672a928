"""Base of all displays: lazy matplotlib, axes, colours, labels."""

from dataclasses import dataclass

from .._prediction import own_keywords, predict_distribution
from ..metrics._validation import drop_missing, quantiles_of_samples

#: Okabe and Ito's colours, distinct for the colour-blind; line styles help in grey.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", "--", "-.", (0, (5, 1, 1, 1, 1, 1)))
REFERENCE = {"color": "black", "linewidth": 1.0, "linestyle": ":", "zorder": 1.5}
_GID = "sklearn-unlocknn-model-"


@dataclass(eq=False, repr=False, kw_only=True)
class UQDisplay:
    """Base of the displays: `from_estimator`, axes, styles and labels."""

    estimator_name: str | None = None
    n_missing: int = 0
    _subject = "a display"  # in the errors of `_drop_missing`

    @classmethod
    def from_estimator(cls, estimator, X, y, *, name=None, ax=None, **kwargs):
        """Predict and draw.

        Parameters
        ----------
        estimator : fitted estimator
            One with ``predict(X, return_std=True)``, bare, as the last step of a
            Pipeline, or inside a fitted search.
        X : array-like of shape (n_samples, ...)
            Input samples, preferably not seen in `fit`.
        y : array-like of shape (n_samples,)
            Observed targets, in target units.
        name : str, default=None
            Name of the model in the legend. None is the name of its class.
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        **kwargs : object
            Further keywords of ``from_predictions``. Its `quantiles`, if it has them,
            are those of the estimator's ``predict_quantiles`` unless given.

        Returns
        -------
        display : object of this class
            The display, drawn.

        Raises
        ------
        ImportError
            When matplotlib is not installed.
        TypeError
            When `estimator` cannot predict a std.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        prediction = predict_distribution(estimator, X)
        y_pred, y_std = prediction[:2]
        kwargs = {**own_keywords(cls.from_predictions, prediction), **kwargs}
        name = type(estimator).__name__ if name is None else name
        return cls.from_predictions(y, y_pred, y_std, name=name, ax=ax, **kwargs)

    @classmethod
    def _drop_missing(cls, y_true, y_pred, y_std, name, quantiles=None):
        """Return arrays and quantiles of the valid samples, and the base's fields."""
        *arrays, present = drop_missing(y_true, y_pred, y_std, cls._subject)
        quantiles = quantiles_of_samples(quantiles, present)
        fields = {"estimator_name": name, "n_missing": int((~present).sum())}
        return arrays, quantiles, fields

    def _start(self, ax, *, figsize):
        """Set `ax_` and `figure_`, with a new figure for None."""
        plt = import_pyplot(f"{type(self).__name__}.plot")
        if ax is None:
            _, ax = plt.subplots(figsize=figsize, layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure

    def _label(self, name, *facts):
        """Return the text of the legend: name, values, samples without a prediction."""
        name = self.estimator_name if name is None else name
        lines = [", ".join(facts)] if any(facts) else []
        if name is not None:
            lines = [f"{name} ({lines[0]})" if lines else name]
        if self.n_missing:
            lines.append(f"{self.n_missing} without a prediction left out")
        return "\n".join(lines) or None

    def _reference(self, label, draw, *args, **kwargs):
        """Draw a reference line once, however many models share the axes."""
        if label not in self.ax_.get_legend_handles_labels()[1]:
            draw(*args, label=label, **REFERENCE, **kwargs)

    def _plot_model(self, x, y, given, **style):
        """Draw the line of a model; `given` keywords replace those of its style."""
        from matplotlib.lines import Line2D

        style = {**self._next_style(), **style}
        return self.ax_.plot(x, y, **merge_style(style, given, Line2D))[0]

    def _next_style(self):
        """Return colour, line style and gid of the next model on these axes."""
        # A set: error bars are several artists of one model.
        gids = {str(artist.get_gid()) for artist in self.ax_.get_children()}
        drawn = sum(gid.startswith(_GID) for gid in gids)
        return {
            "color": COLORS[drawn % len(COLORS)],
            "linestyle": STYLES[drawn % len(STYLES)],
            "gid": f"{_GID}{drawn}",
        }

    def _finish(self, *, title, xlabel, ylabel, **legend):
        """Label the axes where the user has not, and draw the legend."""
        for text, get, set_ in (
            (title, self.ax_.get_title, self.ax_.set_title),
            (xlabel, self.ax_.get_xlabel, self.ax_.set_xlabel),
            (ylabel, self.ax_.get_ylabel, self.ax_.set_ylabel),
        ):
            if not get():
                set_(text)
        if self.ax_.get_legend_handles_labels()[0]:
            self.ax_.legend(**{"fontsize": "small", "framealpha": 0.9, **legend})


def import_pyplot(caller):
    """Import matplotlib.pyplot; without it raise how to install it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib, which is not installed: "
            'pip install "sklearn-unlocknn[plot]"'
        ) from error
    return plt


def merge_style(defaults, given, artist):
    """Join default and given keywords of a matplotlib artist, aliases resolved."""
    from matplotlib import cbook

    return {**defaults, **cbook.normalize_kwargs(given, artist)}


def with_units(text, units):
    """Append the units: "Predicted std (eV)"."""
    return text if units is None else f"{text} ({units})"


def number(value, units=None):
    """Format three digits with units: "0.0712 eV"."""
    text = f"{value:.3g}"
    return text if units is None else f"{text} {units}"
