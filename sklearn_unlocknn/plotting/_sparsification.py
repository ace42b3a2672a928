"""Sparsification curves."""

from dataclasses import KW_ONLY, dataclass

import numpy as np

from ..metrics import sparsification_curve, sparsification_error
from ._display import UQDisplay, with_units


@dataclass(eq=False, repr=False)
class SparsificationDisplay(UQDisplay):
    """Error of the remaining predictions when the least certain are discarded.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    discarded : ndarray of shape (n_levels,)
        Shares of samples that are discarded, 0 to 1.
    error, oracle_error : ndarray of shape (n_levels,)
        Mean absolute error of the rest, in target units, when samples are discarded by
        their std and by their error.
    area : float
        Sparsification error, dimensionless.
    estimator_name : str, default=None
        Name of the model; not shown when None.
    n_missing : int, default=0
        Number of samples without a prediction.
    units : str, default=None
        Units of the target.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve.
    oracle_line_, random_line_ : matplotlib Line2D or None
        The curve of the oracle, and the error of all samples (discarding at random).
    ax_, figure_ : matplotlib Axes and Figure
        The axes with the curves, and their figure.

    See Also
    --------
    sklearn_unlocknn.metrics.sparsification_curve : The curves.
    ErrorUncertaintyDisplay : Size of the std against the error.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn_unlocknn.plotting import SparsificationDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> display = SparsificationDisplay.from_estimator(
    ...     BayesianRidge().fit(X[:300], y[:300]), X[300:], y[300:]
    ... )
    >>> display.ax_.get_xlabel()
    'Share of predictions discarded, largest std first'
    """

    discarded: np.ndarray
    error: np.ndarray
    oracle_error: np.ndarray
    area: float
    _: KW_ONLY
    units: str | None = None
    _subject = "a sparsification curve"

    def plot(self, ax=None, *, name=None, oracle=True, random=True, **kwargs):
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        name : str, default=None
            Name in the legend; None is `estimator_name`.
        oracle : bool, default=True
            Whether to draw the lower bound for any std, thin and dotted in the colour
            of the model.
        random : bool, default=True
            Whether to draw the error of all samples.
        **kwargs : dict
            Keywords of matplotlib's ``plot``.

        Returns
        -------
        display : SparsificationDisplay
            This object.

        Raises
        ------
        ImportError
            When matplotlib is not installed.
        """
        self._start(ax, figsize=(6.0, 4.5))
        label = self._label(name, f"sparsification error {self.area:.3f}")
        self.line_ = self._plot_model(
            self.discarded, self.error, kwargs, linewidth=2.0, label=label
        )
        thin = {"color": self.line_.get_color(), "linewidth": 1.0}
        self.oracle_line_ = self.random_line_ = None
        if oracle:
            self.oracle_line_ = self.ax_.plot(
                self.discarded, self.oracle_error, linestyle=":", **thin
            )[0]
            self._explain(":", "discarded by error (oracle)")
        if random:
            dashed = {"linestyle": (0, (8, 3)), "alpha": 0.6, **thin}
            self.random_line_ = self.ax_.plot([0, 1], [self.error[0]] * 2, **dashed)[0]
            self._explain((0, (8, 3)), "discarded at random")
        # Space above for the legend.
        self.ax_.set(xlim=(0, 1), ylim=(0, 1.35 * self.ax_.dataLim.y1 or 1.0))
        self._finish(
            title="Sparsification: error of the rest",
            xlabel="Share of predictions discarded, largest std first",
            ylabel=with_units("Mean absolute error of the rest", self.units),
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
        n_levels=100,
        units=None,
        name=None,
        ax=None,
        oracle=True,
        random=True,
        **kwargs,
    ):
        """Draw the sparsification curve of predictions.

        Parameters
        ----------
        y_true, y_pred, y_std : array-like of shape (n_samples,)
            Targets, predicted means and std (noise included), in target units. Samples
            with NaN in `y_pred` or `y_std` are left out and counted in the legend.
        n_levels : int, default=100
            Number of points of a curve.
        units, name : str, default=None
            Units of the target, for the labels, and name of the model in the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on, such as `ax_` of another display; a new figure when None.
        oracle, random : bool, default=True
            Whether to draw the curves of an oracle and of a random ranking.
        **kwargs : dict
            Keywords of matplotlib's ``plot``.

        Returns
        -------
        display : SparsificationDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            When the predictions or `n_levels` are not valid.
        ImportError
            When matplotlib is not installed.
        """
        arrays, _, fields = cls._drop_missing(y_true, y_pred, y_std, name)
        display = cls(
            *sparsification_curve(*arrays, n_levels=n_levels),
            sparsification_error(*arrays),
            units=units,
            **fields,
        )
        return display.plot(ax, oracle=oracle, random=random, **kwargs)

    def _explain(self, linestyle, label):
        """Add a line style, in grey, to the legend once for all models."""
        if label not in self.ax_.get_legend_handles_labels()[1]:
            style = {"color": "0.3", "linewidth": 1.0, "linestyle": linestyle}
            self.ax_.plot([], [], label=label, **style)
