"""Calibration curves."""

from ..metrics import calibration_curve, miscalibration_area
from ..metrics._missing import drop_missing, quantiles_of_rows
from ._display import UQDisplay, merge_style

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


class UQCalibrationDisplay(UQDisplay):
    """Calibration curve of predictions with a std, with its miscalibration area.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    expected : ndarray of shape (n_levels,)
        Levels, dimensionless.
    observed : ndarray of shape (n_levels,)
        Proportion of targets at each level, dimensionless.
    area : float
        Miscalibration area, dimensionless, 0 to 0.5.
    kind : {"quantile", "interval"}, default="quantile"
        What the curve counts.
    estimator_name : str, default=None
        Name of the model; not shown when None.
    n_missing : int, default=0
        Number of rows that have no prediction.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve.
    fill_ : matplotlib PolyCollection
        The miscalibration area.
    ax_ : matplotlib Axes
        Axes with the curve.
    figure_ : matplotlib Figure
        Figure of the axes.

    See Also
    --------
    sklearn_unlocknn.metrics.calibration_curve : The curve.
    IntervalCoverageDisplay : How far the coverage of a few intervals is off.

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

    def __init__(
        self,
        expected,
        observed,
        area,
        *,
        kind="quantile",
        estimator_name=None,
        n_missing=0,
    ):
        self.expected = expected
        self.observed = observed
        self.area = area
        self.kind = kind
        self.estimator_name = estimator_name
        self.n_missing = n_missing

    def plot(self, ax=None, *, name=None, ref_line=True, **kwargs):
        """Draw.

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
        from matplotlib.lines import Line2D

        label = self._label(name, f"area {self.area:.3f}")
        style = {**self._next_style(), "linewidth": 2.0, "label": label}
        if ref_line:
            self._reference(
                "perfect calibration",
                lambda **line: self.ax_.plot([0, 1], [0, 1], **line),
            )
        self.line_ = self.ax_.plot(
            self.expected, self.observed, **merge_style(style, kwargs, Line2D)
        )[0]
        self.fill_ = self.ax_.fill_between(
            self.expected,
            self.expected,
            self.observed,
            color=self.line_.get_color(),
            alpha=0.15,
            linewidth=0,
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
        kind : {"quantile", "interval"}, default="quantile"
            What the curve counts, see
            :func:`sklearn_unlocknn.metrics.calibration_curve`.
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
        *arrays, present = drop_missing(y_true, y_pred, y_std, "a calibration curve")
        options = {"kind": kind, "n_levels": n_levels}
        options["quantiles"] = quantiles_of_rows(quantiles, present)
        display = cls(
            *calibration_curve(*arrays, **options),
            miscalibration_area(*arrays, **options),
            kind=kind,
            estimator_name=name,
            n_missing=int((~present).sum()),
        )
        return display.plot(ax, ref_line=ref_line, **kwargs)
