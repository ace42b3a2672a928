"""Mean squared z against its bootstrap and its coverage; tails against known ones."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from predictions import make_prediction
from scipy import integrate, stats

from sklearn_unlocknn.metrics import (
    mean_squared_z,
    mean_squared_z_interval,
    squared_z_skewness,
)


def plain(z):
    """Return predictions of mean 0 and std 1 with these errors."""
    return z, np.zeros_like(z), np.ones_like(z)


@pytest.mark.parametrize("shape", [stats.norm(), stats.t(5), stats.uniform(-1, 3)])
def test_interval_is_that_of_the_bootstrap(shape):
    z = shape.rvs(150, random_state=np.random.default_rng(0))
    want = stats.bootstrap(
        (z**2,), np.mean, n_resamples=40_000, confidence_level=0.9, method="BCa",
        rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    got = mean_squared_z_interval(*plain(z), confidence=0.9)
    assert_allclose(got, want, atol=0.04 * (want.high - want.low))
    assert got[0] < mean_squared_z(*plain(z)) < got[1]


@pytest.mark.parametrize(
    ("shape", "low", "high"), [(stats.norm(), 0.93, 0.96), (stats.t(3), 0.7, 0.86)]
)
def test_share_of_intervals_that_hold_the_expectation(shape, low, high):
    rng, held = np.random.default_rng(0), []
    for _ in range(1500):
        z = shape.rvs(200, random_state=rng) / shape.std()
        ends = mean_squared_z_interval(*plain(z))
        held.append(ends[0] <= 1.0 <= ends[1])
    assert low < np.mean(held) < high


def test_one_sample_a_miss_without_std_and_equal_errors():
    assert mean_squared_z_interval([1.0], [1.5], [0.5]) == (0.0, np.inf)
    assert mean_squared_z_interval([1.0, 1.0], [1.5, 1.0], [0.0, 1.0]) == (np.inf,) * 2
    assert mean_squared_z([1.0, 1.0], [1.5, 1.0], [0.0, 1.0]) == np.inf
    assert squared_z_skewness([1.0, 1.0], [1.5, 1.0], [0.0, 1.0]) == 1.0
    assert mean_squared_z_interval([1.0, 1.0], [2.0, 0.0], [1.0, 1.0]) == (1.0, 1.0)
    assert squared_z_skewness([1.0, 1.0], [2.0, 0.0], [1.0, 1.0]) == 0.0


def test_ends_of_extreme_confidence():
    y = np.zeros(50)
    y[0] = 10.0
    for errors in (y, 10.0 - y):
        before = [mean_squared_z(*plain(errors))] * 2
        for confidence in (0.5, 0.9, 0.999, 1 - 1e-12):
            low, high = mean_squared_z_interval(*plain(errors), confidence=confidence)
            assert 0.0 <= low <= before[0] <= before[1] <= high
            before = low, high
        assert low == 0.0
    assert high < 110.0
    assert mean_squared_z_interval(*plain(y), confidence=1 - 1e-12)[1] == np.inf
    with pytest.raises(ValueError, match="Got confidence=95, expected"):
        mean_squared_z_interval(*plain(y), confidence=95)


def test_interval_and_weights_outputs_and_units():
    args = make_prediction(60)
    weights = np.random.default_rng(1).uniform(size=60)
    want = mean_squared_z_interval(*args, sample_weight=weights)
    got = mean_squared_z_interval(*args, sample_weight=1e3 * weights)
    assert_allclose(got, want)
    assert not np.allclose(want, mean_squared_z_interval(*args))
    some = weights > 0.4
    got = mean_squared_z_interval(*args, sample_weight=some)
    assert_allclose(got, mean_squared_z_interval(*(a[some] for a in args)))
    assert_allclose(
        mean_squared_z_interval(*(8.0 * a for a in args)),
        mean_squared_z_interval(*args),
    )
    # Outputs that are equal tell no more than one.
    twice = [np.column_stack([a, a]) for a in args]
    assert_allclose(mean_squared_z_interval(*twice), mean_squared_z_interval(*args))


@pytest.mark.parametrize(
    ("dof", "want"), [(np.inf, 0.64), (10, 0.69), (5, 0.76), (4, 0.79), (3, 0.86)]
)
def test_skewness_of_known_tails(dof, want):
    square = stats.f(1, dof) if dof < np.inf else stats.chi2(1)
    median, mean = square.median(), square.mean()
    below, _ = integrate.quad(lambda x: (median - x) * square.pdf(x), 0, median)
    assert_allclose((mean - median) / (mean - median + 2 * below), want, atol=0.006)
    z = np.sqrt(square.ppf((np.arange(200_000) + 0.5) / 200_000))
    assert_allclose(squared_z_skewness(*plain(z)), want, atol=0.015)
