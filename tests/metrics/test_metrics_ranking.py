"""Sharpness, dispersion, and ranking of errors by std."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from predictions import make_prediction as predictions
from scipy import stats

from sklearn_unlocknn.metrics import (
    dispersion,
    error_uncertainty_correlation,
    large_error_auc,
    sharpness,
    sparsification_curve,
    sparsification_error,
)


def make_prediction():
    y_true, y_pred, y_std = predictions()
    return y_true - y_pred, 0 * y_pred, y_std.round(1)


def test_sharpness_is_a_root_mean_square_dispersion_a_coefficient_of_variation():
    std = np.array([1.0, 2.0, 7.0])
    assert_allclose(sharpness(std, std, std), np.sqrt(np.mean(std**2)))
    assert_allclose(dispersion(std, std, std), stats.variation(std))


@pytest.mark.parametrize("std", [0.0, 0.1, 3.0])
def test_one_std_for_all_has_no_dispersion_and_ranks_nothing(std):
    y_true, y_pred = np.arange(7.0), np.zeros(7)
    y_std = np.full(7, std)
    assert_allclose(sharpness(y_true, y_pred, y_std), std)
    assert dispersion(y_true, y_pred, y_std) == 0.0
    for method in ("spearman", "pearson"):
        value = error_uncertainty_correlation(y_true, y_pred, y_std, method=method)
        assert value == 0.0


def test_equal_errors_cannot_be_ranked():
    y_true, y_pred, y_std = np.full(4, 0.3), np.zeros(4), np.arange(4.0)
    assert error_uncertainty_correlation(y_true, y_pred, y_std) == 0.0
    assert sparsification_error(y_true, y_pred, y_std) == 0.0
    assert sparsification_error(y_pred, y_pred, y_std) == 0.0


@pytest.mark.parametrize(
    ("method", "reference"),
    [("spearman", stats.spearmanr), ("pearson", stats.pearsonr)],
)
def test_correlation_is_scipys(method, reference):
    y_true, y_pred, y_std = make_prediction()
    expected = reference(np.abs(y_true - y_pred), y_std).statistic
    value = error_uncertainty_correlation(y_true, y_pred, y_std, method=method)
    assert_allclose(value, expected)


def ause_by_removal(error, std, copies):
    """Remove one sample after another, each split into `copies`."""

    def area(key):
        kept = np.repeat(error[np.argsort(key, kind="stable")], copies)
        return np.mean(np.cumsum(kept) / np.arange(1, len(kept) + 1))

    return (area(std) - area(error)) / np.mean(error)


def test_sparsification_error_is_the_limit_of_removing_sample_by_sample():
    rng = np.random.default_rng(0)
    error, std = rng.exponential(size=40), rng.uniform(size=40)
    value = sparsification_error(error, 0 * error, std)
    assert_allclose(value, ause_by_removal(error, std, 5000), rtol=1e-3)


def test_sparsification_error_of_tied_std_is_that_of_no_ranking():
    error = np.array([0.0, 1.0])
    # oracle over kept share t: 0 up to 1/2, then (t - 1/2) / t
    oracle = 0.5 - 0.5 * np.log(2.0)
    expected = (0.5 - oracle) / 0.5
    assert_allclose(sparsification_error(error, [0, 0], [1, 1]), expected)


def test_sparsification_curve_is_the_error_of_the_most_certain_samples():
    rng = np.random.default_rng(0)
    error, std = rng.exponential(size=50), rng.uniform(size=50)
    discarded, kept, oracle = sparsification_curve(error, 0 * error, std, n_levels=51)
    assert_allclose(discarded, np.linspace(0, 1, 51))
    for curve, key in ((kept, std), (oracle, error)):
        ordered = error[np.argsort(key)]
        expected = [ordered[: 50 - k].mean() for k in range(50)]
        assert_allclose(curve, [*expected, ordered[0]])


def test_sparsification_curves_enclose_the_error_and_weigh_as_repetition():
    prediction = make_prediction()
    discarded, kept, oracle = sparsification_curve(*prediction, n_levels=20_001)
    area = np.trapezoid(kept - oracle, discarded) / kept[0]
    assert_allclose(area, sparsification_error(*prediction), rtol=1e-3)
    weights = np.random.default_rng(1).integers(0, 4, 80)
    weighted = sparsification_curve(*prediction, sample_weight=weights)
    repeated = sparsification_curve(*[np.repeat(a, weights) for a in prediction])
    assert_allclose(weighted, repeated)


def test_bad_keywords_are_errors():
    for n_levels in (1, 2.5):
        with pytest.raises(ValueError, match=f"Got n_levels={n_levels}"):
            sparsification_curve(*make_prediction(), n_levels=n_levels)
    with pytest.raises(ValueError, match="Got method='kendall', expected one of"):
        error_uncertainty_correlation(*make_prediction(), method="kendall")


def test_auc_of_large_errors_is_the_share_of_right_pairs():
    error, _, std = make_prediction()
    large = np.abs(error) > 3.0 * np.median(np.abs(error))
    assert 0 < large.sum() < 20
    pairs = std[large][:, None] - std[~large]
    expected = np.mean((pairs > 0) + 0.5 * (pairs == 0))
    assert_allclose(large_error_auc(error, 0 * error, std), expected)
    assert_allclose(large_error_auc(error, 0 * error, np.abs(error)), 1.0)
    assert_allclose(large_error_auc(error, 0 * error, np.ones_like(std)), 0.5)
    more = np.abs(error) > 1.5 * np.median(np.abs(error))
    pairs = std[more][:, None] - std[~more]
    expected = np.mean((pairs > 0) + 0.5 * (pairs == 0))
    assert_allclose(large_error_auc(error, 0 * error, std, factor=1.5), expected)


def test_auc_without_large_errors_is_that_of_no_ranking():
    assert large_error_auc([1.0, 2.0], [1.1, 2.1], [0.1, 0.2]) == 0.5
    with pytest.raises(ValueError, match="factor=0"):
        large_error_auc([1.0, 2.0], [1.1, 2.1], [0.1, 0.2], factor=0)
