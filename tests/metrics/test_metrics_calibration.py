"""Calibration curves and their distance from the diagonal."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats

from sklearn_unlocknn.metrics import (
    calibration_curve,
    interval_coverage,
    miscalibration_area,
    root_mean_squared_calibration_error,
    summed_calibration_error,
)

KINDS = ["quantile", "interval"]
parametrize_kind = pytest.mark.parametrize("kind", KINDS)
parametrize_metric = pytest.mark.parametrize(
    "metric",
    [
        calibration_curve,
        miscalibration_area,
        root_mean_squared_calibration_error,
        summed_calibration_error,
    ],
)


def normal_sample(n=4000):
    """Equally likely quantiles of N(0, 1): a sample without noise."""
    return stats.norm.ppf((np.arange(n) + 0.5) / n)


@parametrize_kind
def test_a_calibrated_prediction_is_on_the_diagonal(kind):
    y = normal_sample()
    expected, observed = calibration_curve(y, 0 * y, 1 + 0 * y, kind=kind)
    assert_allclose(observed, expected, atol=1 / len(y))
    assert_array_equal(expected, np.linspace(0, 1, 100))


def test_curves_by_their_definitions():
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.normal(size=(2, 50))
    args = y_true, y_pred, rng.uniform(0.5, 1.5, 50)
    expected, observed = calibration_curve(*args, n_levels=21)
    for p, share in zip(expected, observed, strict=True):
        assert share == np.mean(y_true <= stats.norm(*args[1:]).ppf(p))
    expected, observed = calibration_curve(*args, kind="interval", n_levels=21)
    shares = [interval_coverage(*args, coverage=p) for p in expected[1:-1]]
    assert_array_equal(observed[1:-1], shares)
    assert (observed[0], observed[-1]) == (0.0, 1.0)


@parametrize_kind
@pytest.mark.parametrize("factor", [0.3, 0.8, 1.5])
def test_area_of_a_wrong_width_in_closed_form(kind, factor):
    # y ~ N(0, 1) predicted as N(0, factor^2): the curve is Phi(factor Phi^-1(p)).
    def gap(p):
        if kind == "quantile":
            return stats.norm.cdf(factor * stats.norm.ppf(p)) - p
        return 2 * stats.norm.cdf(factor * stats.norm.ppf(0.5 + p / 2)) - 1 - p

    exact, _ = integrate.quad(lambda p: abs(gap(p)), 0, 1, points=[0.5])
    y = normal_sample(20_000)
    area = miscalibration_area(y, 0 * y, factor + 0 * y, kind=kind, n_levels=2001)
    assert_allclose(area, exact, rtol=2e-3)


def test_only_the_quantile_kind_detects_a_bias_hidden_by_wide_intervals():
    # A shifted mean with a std wide enough that intervals cover about as nominal.
    y = normal_sample()
    args = y, 0.5 + 0 * y, np.sqrt(1.25) + 0 * y
    assert miscalibration_area(*args, kind="interval") < 0.005
    assert miscalibration_area(*args, kind="quantile") > 0.1


@parametrize_kind
def test_area_of_the_curve_with_crossings_and_squares(kind):
    rng = np.random.default_rng(3)
    args = rng.normal(size=12), np.zeros(12), np.ones(12)
    expected, observed = calibration_curve(*args, kind=kind, n_levels=11)
    squares = (observed - expected) ** 2
    error = summed_calibration_error(*args, kind=kind, n_levels=11)
    assert_allclose(error, np.sum(squares))
    error = root_mean_squared_calibration_error(*args, kind=kind, n_levels=11)
    assert_allclose(error, np.sqrt(np.mean(squares)))
    p = np.linspace(0, 1, 100_001)
    gap = np.abs(np.interp(p, expected, observed) - p)
    area = miscalibration_area(*args, kind=kind, n_levels=11)
    assert_allclose(area, integrate.trapezoid(gap, p), rtol=1e-6)


@parametrize_kind
def test_bounds(kind):
    n = 50
    far = np.full(n, 1e9), np.zeros(n), np.ones(n)
    assert_allclose(miscalibration_area(*far, kind=kind), 0.5, atol=0.01)
    wide = np.random.default_rng(0).normal(size=n), np.zeros(n), np.full(n, 1e9)
    # All PIT values are 1/2: two triangles; all intervals hold all: one.
    expected = {"quantile": 0.25, "interval": 0.5}[kind]
    assert_allclose(miscalibration_area(*wide, kind=kind), expected, atol=0.01)


@pytest.mark.parametrize(
    ("y", "kind", "share"),
    [
        (1.0, "quantile", 1),  # a hit is covered at every level
        (1.0, "interval", 1),
        (0.0, "interval", 0),  # a miss is in no interval
        (2.0, "interval", 0),
        (0.0, "quantile", 1),  # and below every quantile or none
        (2.0, "quantile", 0),
    ],
)
def test_zero_std_is_a_point_mass(y, kind, share):
    _, observed = calibration_curve([y], [1.0], [0.0], kind=kind)
    assert_array_equal(observed, np.full(100, share))


@parametrize_kind
def test_zero_std_beside_others(kind):
    y = np.array([-1.0, 0.5, 2.0])
    _, others = calibration_curve(y, 0 * y, 1 + 0 * y, kind=kind)
    _, mixed = calibration_curve([*y, 1.0], [0, 0, 0, 1.0], [1, 1, 1, 0.0], kind=kind)
    assert_allclose(mixed, (3 * others + 1) / 4)


@parametrize_metric
def test_errors(metric):
    args = [1.0, 2.0], [1.0, 2.0], [1.0, 1.0]
    with pytest.raises(ValueError, match=r"Got kind='pit', expected one of"):
        metric(*args, kind="pit")
    for n_levels in (1, 0, 10.0, "10"):
        with pytest.raises(ValueError, match=r"Got n_levels=.*integer >= 2"):
            metric(*args, n_levels=n_levels)
    if metric is calibration_curve:
        with pytest.raises(ValueError, match=r"Got 2 outputs.*y_true\[:, j\]"):
            metric(*[np.ones((3, 2))] * 3)
