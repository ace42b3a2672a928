"""ProbTransformedTargetRegressor of regressors whose distribution is no Gaussian."""

import numpy as np
import pytest
from compose.transformed import LOG, given
from numpy.testing import assert_allclose, assert_array_equal
from predictions import Given
from scipy import integrate, stats
from sklearn.linear_model import BayesianRidge
from sklearn.preprocessing import (
    PowerTransformer,
    QuantileTransformer,
    StandardScaler,
)

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.calibration import CalibratedProbRegressor
from sklearn_unlocknn.compose import ProbTransformedTargetRegressor
from sklearn_unlocknn.metrics import prob_scoring

# --- shapes other than a Gaussian -----------------------------------------------


class Shaped(Given):
    """Predicts a Student t, or a skewed distribution, of the given mean and std."""

    shape = stats.t(4)

    def predict_quantiles(self, X, q):
        mean, std = self.predict(X, return_std=True)
        z = (self.shape.ppf(q) - self.shape.mean()) / self.shape.std()
        return mean[:, None] + z.reshape(-1, *[1] * (mean.ndim - 1)) * std[:, None]


class Skewed(Shaped):
    shape = stats.gamma(2)


CUBE_ROOT = {"func": np.cbrt, "inverse_func": lambda t: t**3}
FALLING = {"func": lambda y: -np.log(y), "inverse_func": lambda t: np.exp(-t)}


@pytest.mark.parametrize("regressor", [Shaped(), Skewed()])
@pytest.mark.parametrize(
    ("params", "mean", "std"),
    [(LOG, 0.3, 0.4), (CUBE_ROOT, 1.0, 0.5), (FALLING, 0.0, 0.5)],
    ids=["log", "root", "falling"],
)
def test_moments_are_of_the_regressors_own_shape(regressor, params, mean, std):
    y = np.exp(np.linspace(-2, 2, 30))
    model = ProbTransformedTargetRegressor(regressor, **params)
    model.fit(np.zeros((30, 2)), y)
    X = np.array([[mean, std], [mean + 0.2, 0.01]])
    got = model.predict(X, return_std=True)
    # by its own quantiles, and by samples of the regressor's distribution
    levels = 0.0005 + 0.999 * (np.arange(200_000) + 0.5) / 200_000
    values = model.predict_quantiles(X, levels)
    assert_allclose(got[0], values.mean(axis=1), rtol=2e-5)
    assert_allclose(got[1], values.std(axis=1), rtol=2e-4)
    z = regressor.shape.ppf(levels)
    t = X[:, :1] + X[:, 1:] * (z - regressor.shape.mean()) / regressor.shape.std()
    drawn = params["inverse_func"](t)
    assert_allclose(got[0], drawn.mean(axis=1), rtol=2e-5)
    assert_allclose(got[1], drawn.std(axis=1), rtol=2e-4)


def test_moments_of_several_outputs_missing_and_endless_predictions():
    Y = np.exp(np.random.default_rng(0).normal(size=(30, 2)))
    model = ProbTransformedTargetRegressor(Shaped(), **LOG).fit(np.zeros((30, 4)), Y)
    X = np.array([[0.0, 1.0, 0.3, 0.5], [np.nan, 1.0, 0.3, 0.5], [0.0, 1.0, 0.0, 1e4]])
    mean, std = model.predict(X, return_std=True)
    one = ProbTransformedTargetRegressor(Shaped(), **LOG)
    one.fit(np.zeros((30, 2)), Y[:, 1])
    want = one.predict(X[:, [1, 3]], return_std=True)
    assert_allclose([mean[:, 1], std[:, 1]], want)
    assert_array_equal(np.isnan(mean[:, 0]), [False, True, False])
    assert_array_equal(np.isnan(std), np.isnan(mean))
    assert_allclose([mean[2, 0], std[2, 0]], [1.0, 0.0], atol=1e-12)
    assert mean[2, 1] == std[2, 1] == np.inf


def test_moments_of_quantiles_outside_the_domain_are_clipped():
    roots = {"func": np.sqrt, "inverse_func": np.square}
    model = ProbTransformedTargetRegressor(Shaped(), **roots)
    model.fit(np.zeros((50, 2)), np.linspace(0.01, 4, 50))
    with pytest.warns(UserWarning, match=r"1 of 2 predictions .* \(up to 5%\)"):
        mean, std = model.predict([[0.3, 0.2], [1.5, 0.1]], return_std=True)
    levels = 0.0005 + 0.999 * (np.arange(100_000) + 0.5) / 100_000
    values = model.predict_quantiles([[0.3, 0.2]], levels)
    assert_allclose(mean[0], values.mean(), rtol=1e-3)
    assert_allclose(std[0], values.std(), rtol=1e-3)


def test_moments_of_a_head_and_of_recalibrated_errors(skewed):
    X, y = skewed
    head = VGPRegressor("linear", likelihood="student_t", random_state=0)
    for inner in (
        head,
        CalibratedProbRegressor(BayesianRidge(), method="isotonic"),
        CalibratedProbRegressor(BayesianRidge(), method="conformal"),
    ):
        model = ProbTransformedTargetRegressor(inner, **LOG).fit(X[:120], y[:120])
        mean, std = model.predict(X[120:], return_std=True)
        levels = np.linspace(0.02, 0.98, 97)
        values = model.predict_quantiles(X[120:], levels)
        assert_allclose(mean, values.mean(axis=1), rtol=0.03)
        assert np.all(std > values.std(axis=1))
        assert_allclose(std, values.std(axis=1), rtol=0.35)


class WithDensity(Shaped):
    """A regressor of this package has the log density of its shape."""

    def _predict_distribution(self, X):
        mean, std = self.predict(X, return_std=True)
        unit = std / self.shape.std()
        return (
            mean, std, lambda q: self.predict_quantiles(X, q),
            lambda y: self.shape.logpdf((y - mean) / unit) - np.log(unit),
        )  # fmt: skip


@pytest.mark.parametrize("regressor", [Given(), WithDensity()])
@pytest.mark.parametrize(
    "params",
    [
        LOG, CUBE_ROOT, FALLING, {"transformer": PowerTransformer("box-cox")},
        {"transformer": StandardScaler()},
    ],
)  # fmt: skip
def test_density_is_that_of_quantiles_and_moments(regressor, params):
    y = np.exp(np.linspace(-2, 2, 30))
    model = ProbTransformedTargetRegressor(regressor, **params)
    model.fit(np.zeros((30, 2)), y)
    X = np.array([[1.0, 0.1]])
    ends = model.predict_quantiles(X, [0.0005, 0.9995])[0]
    grid = np.linspace(*ends, 100_001)
    density = np.exp(model.predict_log_density(np.repeat(X, len(grid), axis=0), grid))
    assert_allclose(integrate.trapezoid(density, grid), 0.999, rtol=1e-4)
    mean, std = model.predict(X, return_std=True)
    got = integrate.trapezoid(grid * density, grid) / 0.999
    square = integrate.trapezoid((grid - got) ** 2 * density, grid) / 0.999
    # A Gaussian, and what is affine, are integrated to the end.
    assert_allclose(got, mean[0], rtol=0.01)
    assert_allclose(np.sqrt(square), std[0], rtol=0.05)
    below = integrate.cumulative_trapezoid(density, grid, initial=0.0) + 0.0005
    for level in (0.05, 0.5, 0.9):
        quantile = model.predict_quantiles(X, [level])[0, 0]
        assert_allclose(np.interp(quantile, grid, below), level, atol=1e-4)
    logs = model.predict_log_density(np.repeat(X, 30, axis=0), y)
    score = prob_scoring(["neg_nll"])(model, np.repeat(X, 30, axis=0), y)
    assert_allclose(score["neg_nll"], logs.mean())


def test_density_of_a_log_normal_outputs_and_impossible_targets(skewed):
    y = np.array([0.1, 1.0, 10.0])
    model = given(y, **LOG)
    X = np.array([[0.0, 1.0], [0.5, 0.2], [0.0, 1.0], [1.0, 0.0]])
    targets = np.array([0.7, 2.0, -1.0, 5.0])
    want = [stats.lognorm(1.0).logpdf(0.7)]
    want.append(stats.lognorm(0.2, scale=np.exp(0.5)).logpdf(2.0))
    got = model.predict_log_density(X, targets)
    assert_allclose(got, [*want, -np.inf, -np.inf], rtol=1e-8)
    both = given(np.column_stack([y, y[::-1]]), **LOG)
    both_X = np.column_stack([X[:2, 0], X[:2, 0], X[:2, 1], X[:2, 1]])
    twice = both.predict_log_density(both_X, np.tile(targets[:2, None], (1, 2)))
    assert_allclose(twice, np.tile(np.reshape(want, (2, 1)), (1, 2)), rtol=1e-8)
    # beyond the training targets, where the transformer clips
    X, y = skewed
    ranks = ProbTransformedTargetRegressor(
        transformer=QuantileTransformer(n_quantiles=50, output_distribution="normal")
    ).fit(X, y)
    logs = ranks.predict_log_density(X, y)
    assert np.isfinite(logs[(y > y.min()) & (y < y.max())]).all()
    tied = ProbTransformedTargetRegressor(
        transformer=QuantileTransformer(n_quantiles=50), check_inverse=False
    ).fit(X, np.minimum(y, np.median(y)))
    assert tied.predict_log_density(X[:1], [np.median(y)]) == -np.inf
    assert np.all(ranks.predict_log_density(X, y + 1.1 * np.ptp(y)) == -np.inf)


class Quantiles(BayesianRidge):
    """Has quantiles of its own, but no density."""

    def predict_quantiles(self, X, q):
        return self.predict(X)[:, None] + np.asarray(q)


def test_density_needs_that_of_the_regressor_and_one_target_each(skewed):
    X, y = skewed
    model = ProbTransformedTargetRegressor(Quantiles(), **LOG).fit(X, y)
    with pytest.raises(TypeError, match="expected one with predict_log_density"):
        model.predict_log_density(X, y)
    inner = CalibratedProbRegressor(BayesianRidge(), method="isotonic")
    model = ProbTransformedTargetRegressor(inner, **LOG).fit(X, y)
    want = model.regressor_.predict_log_density(X, np.log(y)) - np.log(y)
    assert_allclose(model.predict_log_density(X, y), want)
    model = ProbTransformedTargetRegressor(BayesianRidge(), **LOG).fit(X, y)
    with pytest.raises(ValueError, match=r"y of shape \(3,\), expected \(150,\)"):
        model.predict_log_density(X, y[:3])
    head = VGPRegressor("linear", likelihood="student_t", random_state=0)
    model = ProbTransformedTargetRegressor(head, **LOG).fit(X, y)
    want = model.regressor_.predict_log_density(X, np.log(y)) - np.log(y)
    assert_allclose(model.predict_log_density(X, y), want)
