"""Coverage and width of central intervals."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from sklearn_unlocknn.metrics import (
    interval_coverage,
    interval_coverage_error,
    interval_score,
    mean_interval_width,
)

ALL = [interval_coverage, interval_coverage_error, interval_score, mean_interval_width]


@pytest.mark.parametrize("coverage", [0.01, 0.5, 0.9, 0.999])
def test_coverage_of_normal_quantiles_is_nominal(coverage):
    n = 10_000
    y = stats.norm.ppf((np.arange(n) + 0.5) / n)
    observed = interval_coverage(y, np.zeros(n), np.ones(n), coverage=coverage)
    assert_allclose(observed, coverage, atol=1 / n)
    error = interval_coverage_error(y, np.zeros(n), np.ones(n), coverage=coverage)
    assert_allclose(error, abs(observed - coverage), atol=1e-15)


@pytest.mark.parametrize("coverage", [0.5, 0.95])
def test_width_is_that_of_the_normal_interval(coverage):
    std = np.array([0.5, 2.0, 3.0])
    low, high = stats.norm(0, std).interval(coverage)
    width = mean_interval_width(std, std, std, coverage=coverage)
    assert_allclose(width, np.mean(high - low))


def test_coverage_errors_of_outputs_do_not_cancel():
    y_true = np.array([[0.0, 9.0], [0.0, 9.0]])
    y_pred, y_std = np.zeros((2, 2)), np.ones((2, 2))
    assert interval_coverage(y_true, y_pred, y_std, coverage=0.5) == 0.5
    assert interval_coverage_error(y_true, y_pred, y_std, coverage=0.5) == 0.5


def test_zero_std_covers_an_exact_hit_only():
    y_true, y_pred, y_std = [1.0, 2.0], [1.0, np.nextafter(2.0, 3.0)], [0.0, 0.0]
    assert interval_coverage(y_true, y_pred, y_std, coverage=0.999) == 0.5
    assert mean_interval_width(y_true, y_pred, y_std) == 0.0


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("coverage", [0.0, 1.0, 95, -0.1, np.nan, None, "0.9"])
def test_wrong_coverage_is_an_error(metric, coverage):
    with pytest.raises(ValueError, match=r"Got coverage=.*between 0 and 1"):
        metric([1.0], [1.0], [1.0], coverage=coverage)
