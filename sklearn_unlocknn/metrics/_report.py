"""Report of all metrics of a prediction."""

import math

import numpy as np
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from .._prediction import check_coverage, interval_levels
from ._calibration import (
    miscalibration_area,
    quantile_levels,
    root_mean_squared_calibration_error,
)
from ._groups import uq_by_group
from ._intervals import interval_coverage, interval_score, mean_interval_width
from ._ranking import error_uncertainty_correlation, sparsification_error
from ._scores import gaussian_crps, gaussian_nll, mean_standardized_log_loss
from ._sharpness import dispersion, sharpness
from ._squared_z import (
    HEAVY_TAILS,
    mean_squared_z,
    mean_squared_z_interval,
    squared_z_skewness,
)
from ._validation import (
    check_log_density,
    check_predictions,
    check_quantiles,
)

# (section, heading) -> key, label, ideal, whether in target units (of any magnitude)
_ROWS = {
    ("point", "Point accuracy"): [
        ("mae", "MAE", "0", True),
        ("rmse", "RMSE", "0", True),
        ("r2", "R2", "1", False),
    ],
    ("proper", "Proper scores"): [
        ("nll", "NLL (nats)", "low", False),
        ("crps", "CRPS", "0", True),
        ("msll", "MSLL (nats)", "< 0", False),
    ],
    ("calibration", "Calibration"): [
        (f"{name}_{kind}", f"{label}, {kind}", "0", False)
        for name, label in (
            ("miscalibration_area", "miscalibration area"),
            ("root_mean_squared_calibration_error", "RMS calibration error"),
        )
        for kind in ("quantile", "interval")
    ],
    ("squared_z", "Squared z"): [
        ("mean_squared_z", "mean", "1", False),
        ("low", "95 % confidence of mean, from", "< 1", False),
        ("high", "to", "> 1", False),
        ("squared_z_skewness", "skewness (heavy tails)", f"< {HEAVY_TAILS}", False),
    ],
    ("sharpness", "Sharpness"): [
        ("sharpness", "sharpness (RMS of std)", "low", True),
        ("dispersion", "dispersion (CV of std)", "> 0", False),
    ],
    ("ranking", "Ranking by std"): [
        ("error_uncertainty_correlation", "error-std rank correlation", "1", False),
        ("sparsification_error", "sparsification error", "0", False),
    ],
}
_INTERVALS = {
    "coverage": interval_coverage,
    "mean_interval_width": mean_interval_width,
    "interval_score": interval_score,
}
_LABEL_WIDTH = 34
_NOTE = (
    "Heavy tails: the std is a poor summary of these errors, and the mean of squared\n"
    "z depends on few samples. Judge by quantiles and intervals."
)
# Columns of the table by group, and their headings
_GROUP_COLUMNS = {
    "mae": "MAE",
    "mean_std": "mean std",
    "coverage_95": "in 95 %",
    "z_mean": "z mean",
    "z_std": "z std",
}


def uq_report(
    y_true,
    y_pred,
    y_std,
    *,
    sample_weight=None,
    quantiles=None,
    log_density=None,
    groups=None,
    coverages=(0.5, 0.8, 0.9, 0.95),
    output_dict=False,
    digits=3,
):
    """Report accuracy, calibration and sharpness of a prediction with std.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observed targets, predicted means and std (noise included), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.
    quantiles : callable, default=None
        Quantiles at levels q, of shape (n_samples, n_levels[, n_outputs]), in target
        units: ``lambda q: model.predict_quantiles(X, q)``. None assumes a Gaussian.
        CRPS, calibration and intervals use them, other figures `y_pred` and `y_std`.
    log_density : callable, default=None
        Log density of the predicted distribution at targets of the shape of `y_pred`,
        in nats, for NLL and MSLL: ``lambda y: model.predict_log_density(X, y)``. None
        assumes a Gaussian.
    groups : array-like of shape (n_samples,) or list of set, default=None
        The label of each sample, or a set of labels, as in :func:`uq_by_group`; for one
        output, without weights. Adds a table by group.
    coverages : sequence of float, default=(0.5, 0.8, 0.9, 0.95)
        Nominal coverages of the intervals reported, strictly between 0 and 1.
    output_dict : bool, default=False
        Return a dict instead of a table.
    digits : int, default=3
        Digits after the point in the table; values in target units that are too small
        or too large for them are in scientific notation.

    Returns
    -------
    report : str or dict
        The table, to print. Or a dict with the sections "point", "proper",
        "calibration", "squared_z" (with "low" and "high", the ends of the confidence
        interval), "sharpness", "ranking" (each a dict of name -> float), "intervals"
        (nominal coverage -> dict of "coverage", "mean_interval_width",
        "interval_score"), with `groups` "groups" (label -> dict of the columns of
        :func:`uq_by_group`), and "n_samples", "n_outputs". Several outputs are
        averaged. MAE, RMSE, CRPS, sharpness, width and interval score are in target
        units.

    Raises
    ------
    ValueError
        When predictions, weights, quantiles, groups or coverages are not valid.

    See Also
    --------
    uq_by_group : The table by group, with a choice of metrics.
    prob_scoring : The same metrics as scores, for searches.

    Notes
    -----
    Every value is that of the metric of its name with default keywords, and zero std
    count as described there. The trivial prediction of MSLL is the mean and std of
    `y_true`; MSLL is NaN for a constant `y_true`, R2 for a single sample. Where the
    skewness of squared z is above .8 the table states that tails are heavy, see
    :func:`squared_z_skewness`.

    References
    ----------
    .. [1] K. Tran et al., "Methods for comparing uncertainty quantifications for
       material property predictions", Mach. Learn.: Sci. Technol. 1, 025006 (2020),
       doi:10.1088/2632-2153/ab7e1a.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_unlocknn.metrics import uq_report
    >>> rng = np.random.default_rng(0)
    >>> y_std = rng.uniform(0.5, 1.5, size=500)
    >>> y_pred = rng.normal(scale=3.0, size=500)
    >>> y_true = y_pred + y_std * rng.normal(size=500)
    >>> print(uq_report(y_true, y_pred, y_std))
    500 samples
    <BLANKLINE>
    Point accuracy                         value   ideal
      MAE                                  ...
    >>> report = uq_report(y_true, y_pred, y_std, output_dict=True)
    >>> round(report["intervals"][0.9]["coverage"], 2)
    0.9
    """
    coverages = [check_coverage(coverage) for coverage in coverages]
    if log_density is not None:
        logs = check_log_density(log_density, y_true, y_pred, sample_weight)

        def log_density(y):
            return logs

    crps = gaussian_crps(
        y_true, y_pred, y_std, sample_weight=sample_weight, quantiles=quantiles
    )
    y_true, y_pred, y_std, weights = check_predictions(
        y_true, y_pred, y_std, sample_weight
    )
    table = None
    if groups is not None:
        if sample_weight is not None:
            raise ValueError(
                "Got groups and sample_weight, expected one of them: a table by group "
                "takes no weights."
            )
        table = uq_by_group(*_squeezed(y_true, y_pred, y_std), groups,
                            quantiles=quantiles)  # fmt: skip
    if quantiles is not None:
        quantiles = _tabulated(quantiles, coverages, y_true.shape, sample_weight)
    report = _compute(
        (y_true, y_pred, y_std), {"sample_weight": weights}, quantiles, log_density,
        crps, coverages,
    )  # fmt: skip
    if table is not None:
        report["groups"] = table.to_dict("index")
    return report if output_dict else _render(report, digits)


def _squeezed(*arrays):
    """Return arrays of one output without its axis."""
    return [a[:, 0] if a.shape[1] == 1 else a for a in arrays]


def _tabulated(quantiles, coverages, shape, sample_weight):
    """Compute all quantiles that `_compute` needs in one call."""
    levels = [quantile_levels(kind) for kind in ("quantile", "interval")]
    levels = np.unique(np.concatenate([*levels, interval_levels(coverages)]))
    values = check_quantiles(quantiles, levels, shape, sample_weight)
    return lambda q: values[:, np.searchsorted(levels, q)]


def _compute(args, kwargs, quantiles, log_density, crps, coverages):
    y_true, y_pred, _ = args
    own = {**kwargs, "quantiles": quantiles}
    density = {**kwargs, "log_density": log_density}
    n_samples, n_outputs = y_true.shape
    r2 = msll = math.nan  # not defined for one sample, or a constant target
    if n_samples > 1:
        r2 = float(r2_score(y_true, y_pred, **kwargs))
    if np.ptp(y_true, axis=0).all():
        msll = mean_standardized_log_loss(*args, **density)
    low, high = mean_squared_z_interval(*args, **kwargs)
    return {
        "n_samples": n_samples,
        "n_outputs": n_outputs,
        "point": {
            "mae": float(mean_absolute_error(y_true, y_pred, **kwargs)),
            "rmse": float(root_mean_squared_error(y_true, y_pred, **kwargs)),
            "r2": r2,
        },
        "proper": {
            "nll": gaussian_nll(*args, **density),
            "crps": crps,
            "msll": msll,
        },
        "calibration": {
            f"{metric.__name__}_{kind}": metric(*args, kind=kind, **own)
            for metric in (miscalibration_area, root_mean_squared_calibration_error)
            for kind in ("quantile", "interval")
        },
        "squared_z": {
            "mean_squared_z": mean_squared_z(*args, **kwargs),
            "low": low,
            "high": high,
            "squared_z_skewness": squared_z_skewness(*args, **kwargs),
        },
        "sharpness": {
            metric.__name__: metric(*args, **kwargs)
            for metric in (sharpness, dispersion)
        },
        "ranking": {
            metric.__name__: metric(*args, **kwargs)
            for metric in (error_uncertainty_correlation, sparsification_error)
        },
        "intervals": {
            coverage: {
                name: metric(*args, coverage=coverage, **own)
                for name, metric in _INTERVALS.items()
            }
            for coverage in coverages
        },
    }


def _render(report, digits):
    width = max(10, digits + 7)
    title = f"{report['n_samples']} sample{'s' if report['n_samples'] > 1 else ''}"
    if report["n_outputs"] > 1:
        title += f", mean over {report['n_outputs']} outputs"
    lines = [title]
    for i, ((section, heading), rows) in enumerate(_ROWS.items()):
        header = f"{'value':>{width}}   ideal" if i == 0 else ""
        lines += ["", f"{heading:<{_LABEL_WIDTH}}{header}".rstrip()]
        for key, label, ideal, in_units in rows:
            value = _format(report[section][key], digits, in_units)
            lines.append(f"  {label:<{_LABEL_WIDTH - 2}}{value:>{width}}   {ideal}")
        if report[section].get("squared_z_skewness", 0.0) > HEAVY_TAILS:
            lines.append(_NOTE)

    if report["intervals"]:
        columns = "".join(f"{name:>{width}}" for name in ("coverage", "width", "score"))
        lines += ["", f"{'Intervals':<{_LABEL_WIDTH}}{columns}"]
    for nominal, row in report["intervals"].items():
        values = "".join(
            f"{_format(value, digits, key != 'coverage'):>{width}}"
            for key, value in row.items()
        )
        lines.append(f"  {f'nominal {nominal:g}':<{_LABEL_WIDTH - 2}}{values}")

    if "groups" in report:
        columns = "".join(f"{name:>{width}}" for name in _GROUP_COLUMNS.values())
        lines += ["", f"{'Groups':<{_LABEL_WIDTH}}{columns}{'n':>{width}}"]
    for label, row in report.get("groups", {}).items():
        values = "".join(
            f"{_format(row[key], digits, key in ('mae', 'mean_std')):>{width}}"
            for key in _GROUP_COLUMNS
        )
        label = f"  {label!s:<{_LABEL_WIDTH - 2}}"
        lines.append(f"{label}{values}{row['n']:>{width}}")
    return "\n".join(lines) + "\n"


def _format(value, digits, in_units):
    size = abs(value)
    # Fixed notation, except for values that it rounds to zero or makes too wide.
    vanishes = in_units and 0 < size < 10.0 ** (1 - digits)
    too_wide = math.isfinite(value) and size >= 1e5
    text = f"{value:.{digits}{'e' if vanishes or too_wide else 'f'}}"
    return text.removeprefix("-") if float(text) == 0 else text
