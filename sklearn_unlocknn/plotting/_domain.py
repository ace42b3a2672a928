"""Error and coverage against the domain score."""

from dataclasses import KW_ONLY, dataclass

import numpy as np

from .._prediction import check_coverage, unwrap_to
from ..metrics import interval_coverage, large_error_auc
from ..metrics._validation import check_integer, drop_missing, quantiles_of_samples
from ._display import UQDisplay, import_pyplot, with_units

# Possible ticks of the axis of scores: ..., .9, .95, .98, .99, .995, ...
_NINES = [1 - part * 10.0**-power for power in range(1, 9) for part in (1, 0.5, 0.2)]
_TICKS = sorted([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8, *_NINES])


@dataclass(eq=False, repr=False)
class DomainDisplay(UQDisplay):
    """Mean absolute error and coverage of intervals against the domain score.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    score, error, coverage : ndarray of shape (n_bins,)
        Mean domain score, mean absolute error and share of targets inside their
        interval, of each bin.
    nominal : float
        Nominal coverage of the intervals.
    auc : float
        Area under the ROC curve with which the score finds errors beyond three times
        the median.
    estimator_name : str, default=None
        Name of the model; not shown when None.
    n_missing : int, default=0
        Number of samples without a prediction.
    units : str, default=None
        Units of the target.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The errors.
    coverage_line_ : matplotlib Line2D
        The coverage, on an axis of its own at the right.
    coverage_ax_ : matplotlib Axes
        The axes of the coverage.
    ax_, figure_ : matplotlib Axes and Figure
        The axes with the errors, and their figure.

    See Also
    --------
    sklearn_unlocknn.prediction.domain_score : The score.
    sklearn_unlocknn.metrics.large_error_auc : The area in the legend.

    Notes
    -----
    Samples are sorted by their score into bins of equal size. Where the error rises
    and the coverage falls to the left, the score shows where not to trust the model.
    The scale is that of the logit of the score, the logarithm of a ratio of variances,
    unless a score is 0 or 1.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_unlocknn import VGPRegressor
    >>> from sklearn_unlocknn.plotting import DomainDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> display = DomainDisplay.from_estimator(
    ...     VGPRegressor("rbf").fit(X[:300], y[:300]), X[300:], y[300:], n_bins=4
    ... )
    >>> len(display.line_.get_xdata())
    4
    """

    score: np.ndarray
    error: np.ndarray
    coverage: np.ndarray
    nominal: float
    auc: float
    _: KW_ONLY
    units: str | None = None
    _subject = "a picture of the domain"

    def plot(self, ax=None, *, name=None, **kwargs):
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        name : str, default=None
            Name in the legend; None is `estimator_name`.
        **kwargs : dict
            Keywords of matplotlib's ``plot`` for the line of the errors.

        Returns
        -------
        display : DomainDisplay
            This object.

        Raises
        ------
        ImportError
            When matplotlib is not installed.
        """
        self._start(ax, figsize=(6.2, 4.6))
        fact = f"MAE, left; finds large errors with AUC {self.auc:.2f}"
        style = {"marker": "o", "label": self._label(name, fact)}
        self.line_ = self._plot_model(self.score, self.error, kwargs, **style)
        self.coverage_ax_ = self.ax_.twinx()
        style = {"color": self.line_.get_color(), "marker": "s", "linestyle": "--"}
        (self.coverage_line_,) = self.coverage_ax_.plot(
            self.score, 100 * self.coverage, markerfacecolor="white", **style
        )
        text = f"in {100 * self.nominal:g} % intervals, right"
        self._reference(text, self.ax_.plot, [], [], marker="s", mfc="white")
        self.coverage_ax_.axhline(100 * self.nominal, color="0.6", lw=1.0, ls=":")
        self.coverage_ax_.set(ylim=(0, 105))
        # The legend belongs to the axes of the errors, which so come last.
        self.ax_.set_zorder(self.coverage_ax_.get_zorder() + 1)
        self.ax_.patch.set_visible(False)
        if self.score.min() > 0 and self.score.max() < 1:
            _use_logit_scale(self.ax_)
        self.coverage_ax_.set_ylabel("Targets inside their interval (%)")
        self.ax_.set_ylim(0, 1.35 * max(np.max(self.error), np.finfo(float).tiny))
        self._finish(
            title="Error and coverage by domain score",
            xlabel="Domain score",
            ylabel=with_units("Mean absolute error", self.units),
            loc="center right",
        )
        return self

    @classmethod
    def from_estimator(cls, estimator, X, y, *, name=None, ax=None, **kwargs):
        """Predict, score and draw.

        Parameters
        ----------
        estimator : fitted estimator
            A regressor of this package, bare, in a Pipeline or in a search, or inside
            a `CalibratedProbRegressor`.
        X : array-like of shape (n_samples, ...)
            Input samples, not seen in `fit`.
        y : array-like of shape (n_samples,)
            Observed targets, in target units.
        name : str, default=None
            Name of the model in the legend. None is the name of its class.
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        **kwargs : object
            Further keywords of :meth:`from_predictions`. Its `quantiles` are those of
            the estimator's ``predict_quantiles`` unless given.

        Returns
        -------
        display : DomainDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            When matplotlib is not installed.
        TypeError
            When `estimator` has no domain score.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        scored, inner = unwrap_to(estimator, X, "domain_score")
        kwargs["domain_score"] = scored.domain_score(inner)
        return super().from_estimator(estimator, X, y, name=name, ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_pred,
        y_std,
        domain_score,
        *,
        quantiles=None,
        coverage=0.9,
        n_bins=8,
        units=None,
        name=None,
        ax=None,
        **kwargs,
    ):
        """Draw errors and coverage of predictions by their domain score.

        Parameters
        ----------
        y_true, y_pred, y_std : array-like of shape (n_samples,)
            Targets, predicted means and std (noise included), in target units. Samples
            with NaN in `y_pred` or `y_std` are left out and counted in the legend.
        domain_score : array-like of shape (n_samples,)
            Scores, higher where errors should be smaller.
        quantiles : callable, default=None
            Quantiles at levels q, of shape (n_samples, n_levels), in target units:
            ``lambda q: model.predict_quantiles(X, q)``. None assumes a Gaussian.
        coverage : float, default=0.9
            Nominal coverage of the intervals, in (0, 1).
        n_bins : int, default=8
            Number of bins of equal size, at most the number of samples.
        units, name : str, default=None
            Units of the target, for the labels, and name of the model in the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on, such as `ax_` of another display; a new figure when None.
        **kwargs : dict
            Keywords of matplotlib's ``plot`` for the line of the errors.

        Returns
        -------
        display : DomainDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            When the predictions, the scores or a keyword are not valid.
        ImportError
            When matplotlib is not installed.
        """
        check_integer("n_bins", n_bins, 1)
        nominal = check_coverage(coverage)
        *arrays, present = drop_missing(y_true, y_pred, y_std, cls._subject)
        score = np.asarray(domain_score, dtype=float)
        if score.shape != present.shape or not np.isfinite(score[present]).all():
            raise ValueError(
                f"Got domain_score of shape {score.shape} for {len(present)} "
                "predictions, expected a finite score for each."
            )
        score = score[present]
        quantiles = quantiles_of_samples(quantiles, present)
        order = np.argsort(score, kind="stable")
        rows = []
        for some in np.array_split(order, min(n_bins, len(order))):
            part = [values[some] for values in arrays]
            inside = interval_coverage(
                *part,
                coverage=nominal,
                quantiles=quantiles_of_samples(quantiles, some),
            )
            error = np.mean(np.abs(part[0] - part[1]))
            rows.append((score[some].mean(), error, inside))
        auc = large_error_auc(*arrays[:2], score.max() - score)
        display = cls(
            *np.transpose(rows), nominal, auc, units=units, estimator_name=name,
            n_missing=int((~present).sum()),
        )  # fmt: skip
        return display.plot(ax, **kwargs)


def _use_logit_scale(ax):
    """Set the scale of x, and at most six ticks without overlaps."""
    from matplotlib import ticker

    ax.set_xscale("logit")
    low, high = ax.get_xlim()
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    if len(ticks) < 3:  # a narrow range
        ticks = ticker.MaxNLocator(5).tick_values(low, high)
        ticks = [tick for tick in ticks if low <= tick <= high]
    ax.xaxis.set_major_locator(ticker.FixedLocator(ticks[:: 1 + len(ticks) // 6]))
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:.10g}"))
    ax.xaxis.set_minor_locator(ticker.NullLocator())
