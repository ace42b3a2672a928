"""Test the translation of scikit-learn's kernels against scikit-learn itself."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import kernels as gpk

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._gp import covariance, kernel_blocks
from sklearn_unlocknn._gp.covariance import Covariance
from sklearn_unlocknn.kernels import OnFeatures

C, White, RBF, Matern = gpk.ConstantKernel, gpk.WhiteKernel, gpk.RBF, gpk.Matern
RQ, Dot = gpk.RationalQuadratic, gpk.DotProduct
D = 3
ARD = [0.5, 1.3, 2.0]


class ScaledRBF(RBF):
    """A kernel of the user's own class, with a diagonal other than 1."""

    def __call__(self, X, Y=None, eval_gradient=False):
        found = super().__call__(X, Y, eval_gradient)
        return (2 * found[0], 2 * found[1]) if eval_gradient else 2 * found

    def diag(self, X):
        return 2 * super().diag(X)


KERNELS = {
    "rbf": RBF(0.8),
    "rbf ard": RBF(ARD),
    "rbf one length in a vector": RBF([0.7]),
    "matern 1/2": Matern(1.2, nu=0.5),
    "matern 3/2": Matern(1.2, nu=1.5),
    "matern 5/2": Matern(1.2, nu=2.5),
    "matern inf": Matern(1.2, nu=np.inf),
    "matern 1/2 ard": Matern(ARD, nu=0.5),
    "matern 3/2 ard": Matern(ARD, nu=1.5),
    "matern 5/2 ard": Matern(ARD, nu=2.5),
    "rational quadratic": RQ(0.9, 1.7),
    "dot product": Dot(0.6),
    "constant": C(2.5),
    "scaled": C(2.5) * RBF(0.8),
    "sum": RBF(0.8) + Dot(0.5),
    "product": Matern(ARD, nu=2.5) * RQ(0.9, 1.7),
    "power": RBF(0.8) ** 2,
    "power of a sum": (Dot(0.5) + C(0.3)) ** 3,
    "numbers": 2.0 * RBF(0.8) + 0.5,
    "constants": C(2.0) * C(3.0) + C(0.5),
    "constants without a logarithm": C(0.0, "fixed") * Matern(1.2, nu=1.5)
    + RBF(0.8) * C(-0.5, "fixed")
    + C(2.0) * RBF(ARD),
    "constant times a sum": C(1.5) * (Matern(ARD, nu=1.5) + Dot(0.5) + C(0.3)),
    "nested": C(0.5) * (RBF(ARD) + C(0.2) * Matern(1.1, nu=1.5)) ** 2
    + RQ(0.9, 1.7) * Dot(0.4),
    "noise": C(2.0) * RBF(0.8) + White(0.3),
    "scaled noise": RBF(0.8) + C(2.0) * White(0.3),
    "noise inside a product": C(2.0) * (RBF(0.8) + White(0.3)),
    "noise inside a power": (RBF(0.8) + White(0.3)) ** 2,
    "noise times noise": White(0.3) * White(0.5) + RBF(0.8),
    "noise times rbf": White(0.3) * (C(2.0) * RBF(0.8)) + Matern(1.0, nu=0.5),
    "two noises": White(0.3) + RBF(0.8) + White(0.2),
    "noise alone": White(0.3),
    "fixed": C(2.0, "fixed") * RBF(ARD) + White(0.3, "fixed"),
    "fixed ard": C(2.0) * RBF(ARD, "fixed") + Dot(0.7, "fixed"),
    "on features": OnFeatures(Matern(ARD[:2], nu=1.5), [2, 0]),
    "blocks": C(2.0) * OnFeatures(RBF(ARD[:2]), slice(0, 2)) * Matern(1.2, nu=2.5)
    + C(0.3) * OnFeatures(Dot(0.6), [1]) * OnFeatures(Dot(0.4), [0, 2], "together")
    + OnFeatures(C(0.5) * RQ(0.9, 1.7) + White(0.3), [0, 2]) ** 2,
    "own class": C(0.5) * ScaledRBF(0.8) * RBF(ARD) + Dot(0.5),
    "own class on features": OnFeatures(ScaledRBF(0.8) + Dot(0.4), [0, 2]),
    "own class fixed": C(0.5) * ScaledRBF(0.8, "fixed") ** 2,
    "all fixed": C(2.0, "fixed") * RBF(0.8, "fixed") + White(0.3, "fixed"),
}
parametrize_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)

rng = np.random.default_rng(0)
X, Z = rng.normal(size=(7, D)), rng.normal(size=(4, D))
COTANGENT = rng.normal(size=(7, 4))


@parametrize_kernel
def test_values_are_scikit_learns(kernel):
    translated = Covariance(kernel, D)
    theta = translated.theta
    # TFP computes squared distances by another formula; the square root in the Matern
    # kernels amplifies its rounding near 0.
    got = translated.matrix(theta, X, Z)
    assert got.shape == (7, 4)
    assert_allclose(got, reference.latent(kernel, X, Z), rtol=1e-10, atol=1e-12)
    latent = reference.latent(kernel, X)
    assert_allclose(translated.diagonal(theta, X), np.diag(latent), rtol=1e-12)


@parametrize_kernel
def test_matrix_of_one_array_is_scikit_learns(kernel):
    translated = Covariance(kernel, D)
    K = translated.matrix(translated.theta, X, X)
    # The distance of a sample to itself is 1e-8 in TFP, the square root of rounding.
    assert_allclose(K, reference.latent(kernel, X), rtol=1e-7, atol=1e-9)
    assert np.linalg.eigvalsh(0.5 * (K + K.T)).min() >= -1e-7 * np.trace(K)


@parametrize_kernel
def test_white_noise_is_split_off(kernel):
    translated = Covariance(kernel, D)
    level = translated.noise(translated.theta)
    if translated.has_noise:
        assert_allclose(level, reference.noise(kernel, X), rtol=1e-12)
        assert translated.template == kernel
    else:
        assert reference.noise(kernel, X) == 0.0
        assert_allclose(level, translated.template.k2.noise_level)


@parametrize_kernel
def test_theta_has_scikit_learns_order_and_bounds(kernel):
    translated = Covariance(kernel, D)
    template = translated.template
    assert_allclose(translated.theta, template.theta)
    assert_array_equal(translated.bounds, template.bounds.reshape(-1, 2))
    theta = template.theta + np.linspace(-0.5, 0.5, len(template.theta))
    moved = template.clone_with_theta(theta)
    got, want = translated.matrix(theta, X, Z), reference.latent(moved, X, Z)
    assert_allclose(got, want, rtol=1e-10, atol=1e-12)
    assert_allclose(translated.noise(theta), reference.noise(moved, X), rtol=1e-12)
    fitted = translated.fitted_kernel(theta)
    assert type(fitted) is type(kernel)
    assert_allclose(reference.latent(fitted, X), reference.latent(moved, X))


@parametrize_kernel
def test_gradients_by_theta_are_scikit_learns(kernel):
    translated = Covariance(kernel, D)
    theta, template = translated.theta, translated.template
    cotangent = np.tril(rng.normal(size=(7, 7)))
    _, pull_back = translated.lower_vjp(theta, X)
    got = pull_back(cotangent)
    got = got + np.trace(cotangent) * translated.noise_gradient(theta)
    _, derivative = template(X, eval_gradient=True)
    want = np.einsum("ij,ijp->p", cotangent, derivative)
    # scikit-learn's own derivatives of Exponentiation and nu=inf are analytic too.
    assert got.shape == theta.shape
    assert_allclose(got, want, rtol=1e-6, atol=1e-7)


PERIODIC = C(1.5) * gpk.ExpSineSquared(0.9, 2.1) + White(0.1)


@pytest.mark.parametrize(
    ("kernel", "d"),
    [
        *((KERNELS[name], D) for name in list(KERNELS)[:14]),
        (KERNELS["nested"], D),
        (KERNELS["on features"], D),
        (KERNELS["blocks"], D),
        (KERNELS["noise alone"], D),
        (PERIODIC, 1),
    ],
)
def test_gradients_by_inputs_are_finite_differences(kernel, d):
    translated = Covariance(kernel, d)
    theta, weights = translated.theta, np.linspace(-1, 1, 7)
    some, other = X[:, :d].copy(), Z[:, :d].copy()
    K, pull_back = translated.vjp(theta, some, other)
    assert_array_equal(K, translated.matrix(theta, some, other))
    by_theta, by_X, by_Z = pull_back(COTANGENT, weights)

    def value(theta, X, Z):
        total = np.sum(COTANGENT * translated.matrix(theta, X, Z))
        return total + weights @ translated.diagonal(theta, X)

    differences = reference.finite_differences
    # Central differences: error step^2 |f'''| + rounding / step, 1e-10 of values ~ 10
    close = {"rtol": 1e-6, "atol": 1e-7}
    want = differences(lambda t: value(t, some, other), theta)
    assert_allclose(by_theta, want, **close)
    assert_allclose(by_X, differences(lambda x: value(theta, x, other), some), **close)
    assert_allclose(by_Z, differences(lambda z: value(theta, some, z), other), **close)


def test_periodic_kernel_is_scikit_learns():
    translated = Covariance(PERIODIC, 1)
    theta, column, other = translated.theta, X[:, :1], Z[:, :1]
    got = translated.matrix(theta, column, other)
    assert_allclose(got, PERIODIC(column, other), rtol=1e-10)
    assert_allclose(translated.diagonal(theta, column), 1.5)


@pytest.mark.parametrize("nu", [0.5, 1.5, 2.5, np.inf])
def test_gradient_by_coincident_points_is_finite(nu):
    translated = Covariance(Matern(1.0, nu=nu), D)
    twice = np.vstack([Z, Z])
    _, pull_back = translated.vjp(translated.theta, twice, twice)
    _, left, right = pull_back(np.ones((8, 8)))
    # The gradients by the two points of a pair are opposite.
    assert np.all(np.isfinite(left + right))
    assert_allclose((left + right).sum(axis=0), 0.0, atol=1e-9)


def test_lower_triangle_in_blocks(monkeypatch):
    monkeypatch.setattr(covariance, "BLOCK_ROWS", 3)
    translated = Covariance(KERNELS["nested"], D)
    theta = translated.theta
    K, pull_back = translated.lower_vjp(theta, X)
    assert_array_equal(K, translated.lower(theta, X))
    assert K.flags.f_contiguous
    assert_allclose(np.tril(K), np.tril(translated.matrix(theta, X, X)), rtol=1e-12)
    assert np.count_nonzero(np.triu(K, 1)) == 0
    cotangent = np.tril(rng.normal(size=(7, 7)))
    _, pull_back_all = translated.vjp(theta, X, X)
    assert_allclose(pull_back(cotangent), pull_back_all(cotangent)[0], rtol=1e-10)


def test_no_samples():
    translated = Covariance(RBF(1.0), D)
    assert translated.matrix(translated.theta, X[:0], Z).shape == (0, 4)
    assert translated.diagonal(translated.theta, X[:0]).shape == (0,)


def test_hyperparameters_outside_their_bounds_are_kept_until_fitted():
    kernel = RBF(5.0, (0.1, 2.0)) + White(1e-9, (1e-3, 1.0))
    assert_allclose(np.exp(Covariance(kernel, D).theta), [5.0, 1e-9])
    given = VGPRegressor(kernel, max_iter=0).fit(X, X[:, 0])
    assert_allclose(np.exp(given.kernel_.theta), [5.0, 1e-9])
    with pytest.warns(ConvergenceWarning, match="bound 2.0 of k1__length_scale"):
        fitted = VGPRegressor(kernel, max_iter=2).fit(X, X[:, 0])
    assert np.all(fitted.kernel_.theta <= kernel.bounds[:, 1] + 1e-12)
    assert np.all(fitted.kernel_.theta >= kernel.bounds[:, 0] - 1e-12)


def test_vectors_are_the_free_lengths_of_ard():
    kernel = C(1.0) * RBF(ARD) + Dot(1.0, "fixed") * Matern(ARD, "fixed")
    kernel = kernel + C(0.1) * Matern(ARD, nu=0.5)
    translated = Covariance(kernel, D)
    vectors = [np.exp(translated.theta[part]) for part in translated.vectors]
    assert_allclose(vectors, [ARD, ARD])


UNTRANSLATABLE = {
    "PairwiseKernel": (gpk.PairwiseKernel(metric="laplacian"), "PairwiseKernel"),
    "CompoundKernel": (gpk.CompoundKernel([RBF(), RBF()]), "CompoundKernel"),
    "noise times own class": (White() * ScaledRBF(), "WhiteKernel times a ScaledRBF"),
    "columns": (OnFeatures(RBF(), [0, 3]), r"\[0, 3\].* on 3 features"),
    "length scales of columns": (OnFeatures(RBF(ARD), [0, 1]), "3 length scales for 2"),
    "nu": (Matern(nu=2.0), r"Matern\(length_scale=1, nu=2\) with nu=2.0"),
    "periodic": (gpk.ExpSineSquared(), r"ExpSineSquared.* for 3 features"),
    "fractional power": (RBF() ** 1.5, r"exponent 1.5, expected a positive integer"),
    "power zero": (RBF() ** 0, "exponent 0, expected a positive integer"),
    "noise times linear": (White() * Dot(), "WhiteKernel times a DotProduct"),
    "linear times noise": (Dot() * (RBF() + White()), "WhiteKernel times a DotPr"),
    "power of noisy linear": ((White() + Dot()) ** 2, "product or the power"),
    "length scales": (RBF([1.0, 2.0]), "2 length scales for 3 features"),
    "matern length scales": (Matern([1.0, 2.0]), "2 length scales for 3 features"),
}


@pytest.mark.parametrize(
    ("kernel", "message"), UNTRANSLATABLE.values(), ids=UNTRANSLATABLE
)
def test_kernel_that_cannot_be_translated_is_named(kernel, message):
    with pytest.raises(ValueError, match=message):
        Covariance(kernel, D)


def test_derivatives_by_samples_of_a_kernel_of_own_class_are_refused():
    translated = Covariance(KERNELS["own class"], D)
    _, pull_back = translated.vjp(translated.theta, X, Z)
    with pytest.raises(ValueError, match="ScaledRBF, whose derivatives by the samples"):
        pull_back(COTANGENT)
    model = VGPRegressor(
        ScaledRBF(), n_inducing_points=3, optimize_inducing_points=True
    )
    with pytest.raises(ValueError, match="Pass optimize_inducing_points=False"):
        model.fit(X, X[:, 0])


@pytest.mark.parametrize("n_inducing_points", [4000, 10])
def test_kernel_of_own_class_is_the_built_in_one(n_inducing_points):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(40, D))
    y = np.sin(X[:, 0]) + 0.1 * rng.normal(size=40)
    options = {"n_inducing_points": n_inducing_points, "random_state": 0}
    own = VGPRegressor(ScaledRBF(1.0), **options).fit(X, y)
    built_in = C(2.0, "fixed") * RBF(1.0)
    built_in = VGPRegressor(built_in, **options).fit(X, y)
    assert_allclose(own.elbo_, built_in.elbo_, rtol=1e-6)
    for mine, theirs in zip(
        own.predict(X, return_std=True), built_in.predict(X, return_std=True),
        strict=True,
    ):  # fmt: skip
        assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)
    joint = own.predict_dist(X[:5])  # by its moments, as TFP has no such kernel
    assert_allclose(joint.stddev(), own.predict(X[:5], return_std=True)[1])


def test_power_one_of_noisy_linear_is_translated():
    kernel = RBF() + (White(0.3) + C(2.0)) ** 1 * C(0.5)
    translated = Covariance(kernel, D)
    assert_allclose(translated.noise(translated.theta), 0.15)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_what_is_kept_of_points_is_that_of_the_same_points_and_values(kernel):
    rng = np.random.default_rng(7)
    X, Z, others = (rng.normal(size=(n, D)) for n in (4, 6, 6))
    covariance = Covariance(kernel, D)
    theta = covariance.theta
    first, second = (Z, theta), (Z, theta - 0.1)
    for points, at in (first, first, (others, theta), first, second, (X, theta)):
        want = Covariance(kernel, D).matrix(at, X, points.copy())
        assert_array_equal(covariance.matrix(at, X, points), want)


def test_terms_of_the_same_points_are_computed_once(monkeypatch):
    covariance, computed = Covariance(RBF(0.8), D), []
    X, Z = np.zeros((3, D)), np.ones((2, D))
    scaled = kernel_blocks._scaled

    def counted(points):
        computed.append(points)
        return scaled(points)

    monkeypatch.setattr(kernel_blocks, "_scaled", counted)
    for points, shift, count in ((Z, 0.0, 1), (Z, 0.0, 1), (Z, 0.1, 2)):
        covariance.matrix(covariance.theta + shift, X, points)
        assert len(computed) == count
    # whose values may be others
    covariance.matrix(covariance.theta + 0.1, X, Z.copy())
    assert len(computed) == 3
