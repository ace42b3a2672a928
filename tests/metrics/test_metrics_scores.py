"""Proper scores against closed forms, quadrature and their own propriety."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, special, stats

from sklearn_unlocknn.metrics import (
    gaussian_crps,
    gaussian_nll,
    interval_score,
    mean_standardized_log_loss,
)

CASES = [(0.0, 0.0, 1.0), (1.0, -0.5, 0.3), (-2.0, 1.0, 2.5), (3.0, 2.9, 0.05)]


@pytest.mark.parametrize(("y", "mean", "std"), CASES)
def test_nll_is_minus_the_log_density(y, mean, std):
    expected = -stats.norm(mean, std).logpdf(y)
    assert_allclose(gaussian_nll([y], [mean], [std]), expected)


@pytest.mark.parametrize(("y", "mean", "std"), CASES)
def test_crps_is_its_integral(y, mean, std):
    cdf = stats.norm(mean, std).cdf
    below, _ = integrate.quad(lambda t: cdf(t) ** 2, mean - 40 * std, y, limit=200)
    above, _ = integrate.quad(
        lambda t: (1 - cdf(t)) ** 2, y, max(y, mean) + 40 * std, limit=200
    )
    assert_allclose(gaussian_crps([y], [mean], [std]), below + above, rtol=1e-6)


def test_crps_of_a_far_miss_is_the_distance_less_a_constant():
    # z (2 Phi(z) - 1) -> |z|, so CRPS -> |y - mean| - std / sqrt(pi)
    expected = 1e6 - 1 / np.sqrt(np.pi)
    assert_allclose(gaussian_crps([1e6], [0.0], [1.0]), expected, rtol=1e-14)


def student_crps(y, dof):
    """Closed form of Jordan, Krueger and Lerch (2019)."""
    t = stats.t(dof)
    first = y * (2 * t.cdf(y) - 1) + 2 * t.pdf(y) * (dof + y**2) / (dof - 1)
    ratio = special.beta(0.5, dof - 0.5) / special.beta(0.5, dof / 2) ** 2
    return first - 2 * np.sqrt(dof) / (dof - 1) * ratio


def log_normal_crps(y, s):
    """Closed form of Jordan, Krueger and Lerch (2019)."""
    z, normal = np.log(y) / s, stats.norm.cdf
    part = normal(z - s) + normal(s / np.sqrt(2)) - 1
    return y * (2 * normal(z) - 1) - 2 * np.exp(s**2 / 2) * part


FAR = np.concatenate([np.linspace(-6, 6, 241), [-1e3, 40.0, 1e6]])
POSITIVE = np.exp(np.linspace(-4, 4, 161))


@pytest.mark.parametrize(
    ("distribution", "y", "want", "rtol"),
    [
        *[(stats.t(d), FAR, student_crps(FAR, d), 1e-4) for d in (1.5, 2.1, 3, 5, 50)],
        (stats.lognorm(0.5), POSITIVE, log_normal_crps(POSITIVE, 0.5), 1e-4),
        (stats.lognorm(2.0), POSITIVE, log_normal_crps(POSITIVE, 2.0), 3e-4),
    ],
)
@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (1e6, 1e-3)])
def test_crps_by_quantiles_is_its_closed_form(distribution, y, want, rtol, mean, scale):
    def quantiles(q):
        return mean + scale * distribution.ppf(q)[np.newaxis]

    got = [
        gaussian_crps([mean + scale * one], [mean], [scale], quantiles=quantiles)
        for one in y
    ]
    assert_allclose(got, scale * want, rtol=rtol)


def test_crps_of_quantiles_with_two_outputs_and_weights():
    rng = np.random.default_rng(0)
    y, mean, std = rng.normal(size=(3, 30, 2))
    std, weights = np.exp(std), np.arange(30) % 3.0

    def quantiles(q):
        return mean[:, None] + stats.t(4).ppf(q)[:, None] * std[:, None]

    losses = std * student_crps((y - mean) / std, 4)
    got = gaussian_crps(y, mean, std, quantiles=quantiles, sample_weight=weights)
    want = np.average(losses, axis=0, weights=weights).mean()
    assert_allclose(got, want, rtol=1e-4)


def test_crps_of_point_masses_and_infinite_quantiles():
    def point(q):
        return np.zeros((3, len(q)))

    y = np.array([0.0, -2.0, 5.0])
    got = gaussian_crps(y, np.zeros(3), np.zeros(3), quantiles=point)
    assert_allclose(got, np.abs(y).mean(), rtol=1e-10)

    def uniform(q):
        infinite = np.where(np.abs(q - 0.5) > 0.4999, np.copysign(np.inf, q - 0.5), q)
        return np.stack([q, infinite, q])

    y = np.array([0.2, 0.5, 0.9])
    got = gaussian_crps(y, y, y, quantiles=uniform)
    assert_allclose(got, np.mean(y**2 - y + 1 / 3), rtol=1e-3)

    def endless(q):
        return np.tile(np.where(q < 0.5, -np.inf, np.inf), (3, 1))

    assert gaussian_crps(y, y, y, quantiles=endless) == np.inf


def pinball(y, quantile, level):
    return np.where(y >= quantile, level, level - 1) * (y - quantile)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95])
@pytest.mark.parametrize(("y", "mean", "std"), CASES)
def test_interval_score_is_two_pinball_losses(y, mean, std, coverage):
    alpha = 1 - coverage
    low, high = stats.norm(mean, std).interval(coverage)
    losses = pinball(y, low, alpha / 2) + pinball(y, high, 1 - alpha / 2)
    assert_allclose(
        interval_score([y], [mean], [std], coverage=coverage), 2 / alpha * losses
    )


@pytest.mark.parametrize("score", [gaussian_nll, gaussian_crps, interval_score])
def test_proper_the_truth_has_the_lowest_expectation(score):
    # Expectation under N(0, 1) by its quantiles, not by sampling.
    y = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    zero = np.zeros_like(y)
    widths = np.array([0.5, 0.7, 0.85, 0.95, 1.0, 1.05, 1.15, 1.4, 2.0])
    by_width = [score(y, zero, np.full_like(y, width)) for width in widths]
    assert widths[np.argmin(by_width)] == 1.0
    shifts = np.array([-1.0, -0.3, -0.1, 0.0, 0.1, 0.3, 1.0])
    by_shift = [score(y, zero + shift, np.ones_like(y)) for shift in shifts]
    assert shifts[np.argmin(by_shift)] == 0.0


def test_msll_of_the_trivial_prediction_is_zero():
    y = np.random.default_rng(0).normal(3.0, 2.0, 50)
    trivial = np.full_like(y, y.mean()), np.full_like(y, y.std())
    assert_allclose(mean_standardized_log_loss(y, *trivial), 0.0, atol=1e-12)
    given = np.full_like(y, 1.0), np.full_like(y, 4.0)
    value = mean_standardized_log_loss(y, *given, y_train_mean=1.0, y_train_std=4.0)
    assert_allclose(value, 0.0, atol=1e-12)


def test_msll_is_a_difference_of_nll_per_output():
    rng = np.random.default_rng(0)
    y, pred = rng.normal(size=(2, 40, 2))
    std = rng.uniform(0.5, 2.0, (40, 2))
    mean, spread = np.array([0.5, -1.0]), np.array([2.0, 3.0])
    trivial = gaussian_nll(y, np.tile(mean, (40, 1)), np.tile(spread, (40, 1)))
    value = mean_standardized_log_loss(
        y, pred, std, y_train_mean=mean, y_train_std=spread
    )
    assert_allclose(value, gaussian_nll(y, pred, std) - trivial)


def test_msll_without_a_valid_trivial_prediction_is_an_error():
    args = [1.0, 2.0], [1.0, 2.0], [1.0, 1.0]
    with pytest.raises(ValueError, match=r"Got y_train_mean=.*expected one finite"):
        mean_standardized_log_loss(*args, y_train_mean=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="Got y_train_std=nan"):
        mean_standardized_log_loss(*args, y_train_std=np.nan)
    with pytest.raises(ValueError, match="trivial std of -1"):
        mean_standardized_log_loss(*args, y_train_std=-1.0)
    for y in ([0.1, 0.1, 0.1], [7.0]):  # constant
        with pytest.raises(ValueError, match=r"trivial std of 0.*Pass y_train_std"):
            mean_standardized_log_loss(y, y, np.ones(len(y)))


class TestZeroStd:
    @pytest.mark.parametrize(
        ("score", "y_pred", "std", "expected"),
        [
            (gaussian_nll, [1.0, 2.0], [0.0, 1.0], -np.inf),  # a hit
            (gaussian_nll, [1.0, 2.5], [0.0, 0.0], np.inf),  # a miss outweighs it
            (mean_standardized_log_loss, [1.0, 2.0], [0.0, 0.0], -np.inf),
            (mean_standardized_log_loss, [1.0, 2.5], [0.0, 0.0], np.inf),
            (gaussian_crps, [1.0, 2.5], [0.0, 0.0], 0.25),  # the absolute error
            (interval_score, [1.0, 2.5], [0.0, 0.0], 2 / 0.05 * 0.25),  # the penalty
        ],
    )
    def test_value(self, score, y_pred, std, expected):
        assert_allclose(score([1.0, 2.0], y_pred, std), expected)

    def test_a_miss_outweighs_all_hits_unless_it_has_no_weight(self):
        y_true, y_pred = np.ones((2, 2)), np.array([[1.0, 1.0], [1.0, 1.5]])
        assert gaussian_nll(y_true, y_pred, np.zeros((2, 2))) == np.inf
        args = [1.0, 2.0], [1.0, 2.5], [1.0, 0.0]
        value = gaussian_nll(*args, sample_weight=[1.0, 0.0])
        assert_allclose(value, gaussian_nll([1.0], [1.0], [1.0]))

    def test_a_subnormal_std_warns_of_nothing(self):
        tiny = np.nextafter(0.0, 1.0)
        assert gaussian_nll([1.0], [2.0], [tiny]) == np.inf
        assert gaussian_crps([1.0], [2.0], [tiny]) == 1.0
