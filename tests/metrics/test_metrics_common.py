"""Properties that all metrics share: weights, outputs, units, errors, documentation."""

import inspect
import itertools

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from predictions import make_prediction as predictions

from sklearn_unlocknn import metrics

# metric -> power of the target's unit in it (None: shifts by the log of the scale)
UNITS = {
    metrics.gaussian_nll: None,
    metrics.gaussian_crps: 1,
    metrics.mean_standardized_log_loss: 0,
    metrics.interval_score: 1,
    metrics.interval_coverage: 0,
    metrics.interval_coverage_error: 0,
    metrics.mean_interval_width: 1,
    metrics.miscalibration_area: 0,
    metrics.root_mean_squared_calibration_error: 0,
    metrics.summed_calibration_error: 0,
    metrics.mean_squared_z: 0,
    metrics.squared_z_skewness: 0,
    metrics.sharpness: 1,
    metrics.dispersion: 0,
    metrics.error_uncertainty_correlation: 0,
    metrics.sparsification_error: 0,
    metrics.large_error_auc: 0,
}
# the same metrics with keywords that take another path
VARIANTS = [
    *[(metric, {}) for metric in UNITS],
    (metrics.mean_standardized_log_loss, {"y_train_mean": 0.3, "y_train_std": 2.0}),
    (metrics.miscalibration_area, {"kind": "interval"}),
    (metrics.summed_calibration_error, {"kind": "interval", "n_levels": 17}),
    (metrics.root_mean_squared_calibration_error, {"kind": "interval"}),
    (metrics.error_uncertainty_correlation, {"method": "pearson"}),
]
NOT_FINITE = (np.nan, np.inf, -np.inf)
parametrize_metric = pytest.mark.parametrize("metric", UNITS)
parametrize_variant = pytest.mark.parametrize(("metric", "kwargs"), VARIANTS)


def make_prediction(n_samples=60, n_outputs=None):
    return predictions(n_samples, n_outputs, decimals=1)


def test_every_metric_is_listed_here():
    names = {metric.__name__ for metric in UNITS}
    others = {"PROB_SCORERS", "calibration_curve", "uq_report"}
    others |= {"make_prob_scorer", "get_prob_scorer", "prob_scoring"}
    others |= {
        "mean_squared_z_interval",
        "sparsification_curve",
        "group_labels",
        "uq_by_group",
    }
    assert names | others == set(metrics.__all__)


@parametrize_variant
def test_weight_is_repetition(metric, kwargs):
    y_true, y_pred, y_std = make_prediction()
    weights = np.random.default_rng(1).integers(0, 4, len(y_true))
    repeated = [np.repeat(a, weights) for a in (y_true, y_pred, y_std)]
    for w in (weights, 0.1 * weights):
        weighted = metric(y_true, y_pred, y_std, sample_weight=w, **kwargs)
        assert_allclose(weighted, metric(*repeated, **kwargs), rtol=1e-10)


@parametrize_variant
def test_order_does_not_matter_and_outputs_are_averaged(metric, kwargs):
    prediction = make_prediction()
    order = np.random.default_rng(2).permutation(len(prediction[0]))
    value = metric(*[a[order] for a in prediction], **kwargs)
    assert_allclose(value, metric(*prediction, **kwargs), rtol=1e-10)
    prediction = make_prediction(n_outputs=3)
    separate = [metric(*[a[:, j] for a in prediction], **kwargs) for j in range(3)]
    assert_allclose(metric(*prediction, **kwargs), np.mean(separate), rtol=1e-12)


@parametrize_metric
# Powers of two: scaling rounds nothing, so ties stay ties.
@pytest.mark.parametrize("scale", [2.0**-20, 8.0, 2.0**20])
def test_units(metric, scale):
    prediction = make_prediction()
    scaled = metric(*[scale * a for a in prediction])
    value = metric(*prediction)
    if UNITS[metric] is None:
        assert_allclose(scaled, value + np.log(scale), rtol=1e-10)
    else:
        assert_allclose(scaled, value * scale ** UNITS[metric], rtol=1e-10)


@parametrize_metric
def test_takes_lists_frames_and_columns_and_changes_none(metric):
    prediction = make_prediction()
    value = metric(*prediction)
    assert type(value) is float
    assert metric(*[a.tolist() for a in prediction]) == value
    assert metric(*[a[:, np.newaxis] for a in prediction]) == value
    # Samples pair by position: an index must not reorder them.
    series = [pd.Series(a, index=np.arange(len(a))[::-1]) for a in prediction]
    assert metric(*series) == value
    copies = [a.copy() for a in prediction]
    metric(*prediction, sample_weight=np.arange(len(copies[0])))
    assert_array_equal(prediction, copies)


@parametrize_metric
def test_values_that_are_not_valid_are_counted(metric):
    for name, bad in itertools.product(("y_true", "y_pred", "y_std"), NOT_FINITE):
        names = ("y_true", "y_pred", "y_std")
        given = dict(zip(names, make_prediction(10), strict=True))
        given[name][[2, 5, 7]] = bad
        match = rf"3 of 10 samples \(3 in {name}\).*Drop"
        with pytest.raises(ValueError, match=match):
            metric(**given)
    y_true, y_pred, y_std = make_prediction(10)
    y_std[[1, 4]] *= -1
    with pytest.raises(ValueError, match="negative y_std in 2 of 10 samples"):
        metric(y_true, y_pred, y_std)


@parametrize_metric
def test_wrong_shapes_are_errors(metric):
    y_true, y_pred, y_std = make_prediction(10)
    with pytest.raises(ValueError, match=r"y_true \(10, 1\).*y_std \(9, 1\)"):
        metric(y_true, y_pred, y_std[1:])
    with pytest.raises(ValueError, match=r"y_pred \(10, 2\)"):
        metric(y_true, np.column_stack([y_pred, y_pred]), y_std)
    with pytest.raises(ValueError, match=r"one std for all samples.*np.full_like"):
        metric(y_true, y_pred, 1.0)
    with pytest.raises(ValueError, match=r"shape \(10, 1, 1\)"):
        metric(y_true[:, None, None], y_pred, y_std)
    with pytest.raises(ValueError, match="Got 0 samples"):
        metric([], [], [])


@parametrize_metric
def test_wrong_weights_are_errors(metric):
    for weights, message in [
        (np.ones(9), r"shape \(9,\), expected \(10,\)"),
        (np.ones((10, 1)), r"shape \(10, 1\), expected \(10,\)"),
        (np.zeros(10), "0 positive"),
        (-np.ones(10), "10 negative"),
        (np.full(10, np.nan), "sample_weight contains NaN"),
    ]:
        with pytest.raises(ValueError, match=message):
            metric(*make_prediction(10), sample_weight=weights)


@parametrize_metric
def test_one_sample(metric):
    kwargs = {}
    if metric is metrics.mean_standardized_log_loss:
        kwargs = {"y_train_mean": 0.0, "y_train_std": 1.0}
    assert np.isfinite(metric([1.0], [1.5], [0.5], **kwargs))


@parametrize_metric
def test_docstring_has_errors_source_and_zero_std(metric):
    doc = " ".join(inspect.getdoc(metric).split())
    assert " Raises ------ ValueError" in doc
    assert " References ---------- " in doc
    assert "zero std" in doc or "all std are zero" in doc
