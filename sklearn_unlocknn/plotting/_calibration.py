"""Calibration curves."""

from dataclasses import KW_ONLY, dataclass

import numpy as np

from ..metrics import calibration_curve, miscalibration_area
from ._display import UQDisplay

_LABELS = {
    "quantile": (
        "Quantile calibration and miscalibration area",
        "Predicted cumulative probability",
        "Share of targets below the quantile",
    ),
    "interval": (
        "Interval calibration and miscalibration area",
        "Nominal coverage of the interval",
        "Share of targets inside the interval",
    ),
}


@dataclass(eq=False, repr=False)
class UQCalibrationDisplay(UQDisplay):
    """Calibration curve of predictions with a std, with its miscalibration area.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    expected, observed : ndarray of shape (n_levels,)
        Levels, and the proportion of targets at each, dimensionless.
    area : float
        Miscalibration area, dimensionless, 0 to 0.5.
    estimator_name : str, default=None
        Name of the model; not shown when None.
    n_missing : int, default=0
        Number of samples without a prediction.
    kind : {"quantile", "interval"}, default="quantile"
        Kind of the curve.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve.
    fill_ : matplotlib PolyCollection
        The miscalibration area.
    ax_, figure_ : matplotlib Axes and Figure
        The axes with the curve, and their figure.

    See Also
    --------
    sklearn_unlocknn.metrics.calibration_curve : The curve.
    IntervalCoverageDisplay : Observed minus nominal coverage of a few intervals.

    Notes
    -----
    ``sklearn.calibration.CalibrationDisplay`` is for classifiers, hence the name.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import ARDRegression, BayesianRidge
    >>> from sklearn_unlocknn.plotting import UQCalibrationDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> display = UQCalibrationDisplay.from_estimator(
    ...     BayesianRidge().fit(X[:300], y[:300]), X[300:], y[300:]
    ... )
    >>> two = UQCalibrationDisplay.from_estimator(
    ...     ARDRegression().fit(X[:300], y[:300]), X[300:], y[300:], ax=display.ax_
    ... )
    >>> two.line_.get_label()
    'ARDRegression (area 0.0...)'
    """

    expected: np.ndarray
    observed: np.ndarray
    area: float
    _: KW_ONLY
    kind: str = "quantile"
    _subject = "a calibration curve"

    def plot(self, ax=None, *, name=None, ref_line=True, **kwargs):
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        name : str, default=None
            Name in the legend; None is `estimator_name`.
        ref_line : bool, default=True
            Whether to draw the diagonal.
        **kwargs : dict
            Keywords of matplotlib's ``plot``.

        Returns
        -------
        display : UQCalibrationDisplay
            This object.

        Raises
        ------
        ImportError
            When matplotlib is not installed.
        """
        self._start(ax, figsize=(5.2, 5.2))
        if ref_line:
            self._reference("perfect calibration", self.ax_.plot, [0, 1], [0, 1])
        label = self._label(name, f"area {self.area:.3f}")
        self.line_ = self._plot_model(
            self.expected, self.observed, kwargs, linewidth=2.0, label=label
        )
        fill = {"color": self.line_.get_color(), "alpha": 0.15, "linewidth": 0}
        self.fill_ = self.ax_.fill_between(
            self.expected, self.expected, self.observed, **fill
        )
        self.ax_.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        title, xlabel, ylabel = _LABELS[self.kind]
        self._finish(title=title, xlabel=xlabel, ylabel=ylabel, loc="best")
        return self

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_pred,
        y_std,
        *,
        quantiles=None,
        kind="quantile",
        n_levels=100,
        name=None,
        ax=None,
        ref_line=True,
        **kwargs,
    ):
        """Draw the calibration curve of predictions.

        Parameters
        ----------
        y_true, y_pred, y_std : array-like of shape (n_samples,)
            Targets, predicted means and std (noise included), in target units. Samples
            with NaN in `y_pred` or `y_std` are left out and counted in the legend.
        quantiles : callable, default=None
            Quantiles at levels q, of shape (n_samples, n_levels), in target units:
            ``lambda q: model.predict_quantiles(X, q)``. None assumes a Gaussian.
        kind : {"quantile", "interval"}, default="quantile"
            As in :func:`sklearn_unlocknn.metrics.calibration_curve`.
        n_levels : int, default=100
            Number of levels.
        name : str, default=None
            Name of the model in the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on, such as `ax_` of another display; a new figure when None.
        ref_line : bool, default=True
            Whether to draw the diagonal.
        **kwargs : dict
            Keywords of matplotlib's ``plot``.

        Returns
        -------
        display : UQCalibrationDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            When the predictions, `kind` or `n_levels` are not valid.
        ImportError
            When matplotlib is not installed.
        """
        arrays, quantiles, fields = cls._drop_missing(
            y_true, y_pred, y_std, name, quantiles
        )
        options = {"kind": kind, "n_levels": n_levels, "quantiles": quantiles}
        display = cls(
            *calibration_curve(*arrays, **options),
            miscalibration_area(*arrays, **options),
            kind=kind,
            **fields,
        )
        return display.plot(ax, ref_line=ref_line, **kwargs)
