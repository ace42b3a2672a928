"""Test statistics, bounds and posteriors against the formulas of `reference`."""

import dataclasses

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process import kernels as gpk

from sklearn_unlocknn._gp import linalg, moving
from sklearn_unlocknn._gp import posterior as vi
from sklearn_unlocknn._gp.covariance import Covariance
from sklearn_unlocknn._gp.moving import collapsed_bound
from sklearn_unlocknn._gp.samples import GroupedSamples, Samples
from sklearn_unlocknn._gp.training import log_marginal_likelihood

D, N = 2, 18
KERNEL = (
    gpk.ConstantKernel(1.5) * gpk.Matern([0.9, 1.6], nu=2.5)
    + gpk.ConstantKernel(0.2) * gpk.DotProduct(0.7)
    + gpk.WhiteKernel(0.08)
)
# The reference inverts matrices of condition 1e4 or less: twelve of sixteen digits
# remain, and a bound near 30 has an absolute error.
CLOSE = {"rtol": 1e-8, "atol": 1e-8}


class Problem:
    """Samples, inducing points and new samples, with or without weights and mean."""

    def __init__(self, n_outputs=1, mean="zero", weighted=False, kernel=KERNEL):
        rng = np.random.default_rng(1)
        self.kernel = kernel
        self.translated = Covariance(kernel, D)
        self.theta = self.translated.theta
        self.noise = self.translated.noise(self.theta)
        self.X, self.X_new = rng.normal(size=(N, D)), rng.normal(size=(5, D))
        self.Y = np.sin(self.X @ rng.normal(size=(D, n_outputs))) + 0.5
        self.Y += 0.2 * rng.normal(size=self.Y.shape)
        self.Z = self.X[:6] + 0.05
        self.counts = rng.integers(1, 4, size=N) if weighted else np.ones(N, dtype=int)
        self.weights = self.counts.astype(float)
        self.k, self.mean = n_outputs, mean
        self.H, self.H_new = self.basis(self.X), self.basis(self.X_new)
        self.T = np.hstack([self.Y, self.H])

    def basis(self, X):
        constant_and_linear = np.column_stack([np.ones(len(X)), X])
        return constant_and_linear[:, : {"zero": 0, "constant": 1}.get(self.mean)]

    def repeated(self):
        return reference.repeat(self.counts, self.X, self.Y, self.H)

    @property
    def rows(self):
        return Samples(self.X, self.T, self.weights, self.k)

    def groups(self):
        return GroupedSamples.of(self.rows)

    def statistics(self, rows=slice(None), Z=None):
        Z = self.Z if Z is None else Z
        Lz, _ = linalg.cholesky(self.translated.matrix(self.theta, Z, Z))
        return vi.collect_statistics(
            self.translated, self.theta, Z, Lz, self.rows.take(rows)
        )

    def posterior(self, statistics=None, Z=None):
        Z = self.Z if Z is None else Z
        Lz, jitter = linalg.cholesky(self.translated.matrix(self.theta, Z, Z))
        statistics = self.statistics(Z=Z) if statistics is None else statistics
        return vi.sparse_posterior(
            self.translated, self.theta, Z, Lz, statistics, self.k, jitter
        )

    def reference(self):
        return reference.Sparse(self.kernel, *self.repeated(), self.Z)


@pytest.fixture(
    params=[
        (1, "zero", False),
        (1, "constant", True),
        (1, "linear", False),
        (2, "zero", True),
        (2, "constant", False),
        (3, "linear", True),
    ],
    ids=lambda param: f"{param[0]} outputs, {param[1]} mean, weighted {param[2]}",
)
def problem(request):
    return Problem(*request.param)


def assert_same_statistics(got, want, **close):
    assert_allclose(np.tril(got.Phi), np.tril(want.Phi), **close)
    for name in ("b", "TT", "trace", "count", "log_ratio"):
        assert_allclose(getattr(got, name), getattr(want, name), **close)


def assert_predicts(posterior, mean, covariance, problem):
    """Check all predictions of a posterior at the new samples."""
    arguments = problem.X_new, problem.H_new
    assert_allclose(posterior.mean(*arguments), mean, **CLOSE)
    got_mean, got_variance = posterior.mean_and_variance(*arguments)
    assert_allclose(got_mean, mean, **CLOSE)
    assert_allclose(got_variance, np.diag(covariance), **CLOSE)
    assert_allclose(posterior.covariance(problem.X_new), covariance, **CLOSE)


def assert_same_posterior(got, want, problem, **close):
    assert_allclose(got.elbo, want.elbo, **close)
    assert_allclose(got.beta, want.beta, **close)
    for at in ((problem.X_new, problem.H_new), (problem.X, problem.H)):
        both = zip(got.mean_and_variance(*at), want.mean_and_variance(*at), strict=True)
        for one, other in both:
            assert_allclose(one, other, **close)


# --- the reference itself -------------------------------------------------------


def test_reference_log_density_is_scipys(problem):
    C = reference.latent(KERNEL, problem.X) + problem.noise * np.eye(N)
    want = reference.log_density(problem.Y, np.zeros_like(problem.Y), C)
    assert_allclose(reference.log_normal(problem.Y, C), want)


# --- statistics -----------------------------------------------------------------


def test_statistics_are_their_definitions(problem):
    got = problem.statistics()
    Kuu = reference.latent(KERNEL, problem.Z)
    A = np.linalg.inv(np.linalg.cholesky(Kuu)) @ reference.latent(
        KERNEL, problem.Z, problem.X
    )
    W = np.diag(problem.weights)
    assert_allclose(np.tril(got.Phi), np.tril(A @ W @ A.T), **CLOSE)
    assert_allclose(got.b, A @ W @ problem.T, **CLOSE)
    assert_allclose(got.TT, problem.T.T @ W @ problem.T, **CLOSE)
    assert_allclose(got.trace, np.trace(W @ reference.latent(KERNEL, problem.X)))
    assert got.count == problem.weights.sum()


def test_statistics_add_up_over_samples(problem):
    parts = [problem.statistics(rows) for rows in np.array_split(np.arange(N), 4)]
    total = problem.statistics()
    assert_same_statistics(
        parts[0] + parts[1] + parts[2] + parts[3], total, rtol=1e-12, atol=1e-12
    )


def test_chunks_change_nothing(monkeypatch):
    problem = Problem(2, "linear")
    problem.X = np.tile(problem.X, (40, 1))
    problem.X += np.random.default_rng(0).normal(size=problem.X.shape)
    problem.H = problem.basis(problem.X)
    problem.T = np.hstack([np.tile(problem.Y, (40, 1)), problem.H])
    problem.weights = np.ones(len(problem.X))

    def everything():
        bound = collapsed_bound(
            problem.translated, problem.theta, problem.Z, problem.rows
        )
        posterior = problem.posterior()
        predictions = posterior.mean_and_variance(problem.X, problem.H)
        mean = posterior.mean(problem.X, problem.H)
        return [*bound, *predictions, mean]

    whole = everything()
    for module in (vi, moving):
        monkeypatch.setattr(module, "CHUNK", (1, 64))
    assert len(list(vi.blocks(len(problem.X), 6, *vi.CHUNK))) > 2
    for got, want in zip(everything(), whole, strict=True):
        # Sums in another order; gradients are differences of terms near 1e4.
        assert_allclose(got, want, rtol=1e-9, atol=1e-9)


# --- sparse posterior -----------------------------------------------------------


def test_sparse_posterior_is_titsias(problem):
    got, want = problem.posterior(), problem.reference()
    assert_allclose(got.elbo, want.bound, **CLOSE)
    assert_allclose(got.beta, want.beta, **CLOSE)
    Kuu = reference.latent(KERNEL, problem.Z)
    assert_allclose(Kuu @ got.alpha, want.q_mean, **CLOSE)
    # q(u) has covariance Lz (Lb Lb')^-1 Lz'
    factor = np.linalg.solve(np.tril(got.Lb), np.tril(got.Lz).T)
    assert_allclose(factor.T @ factor, want.q_cov, **CLOSE)
    mean, covariance = want.predict(problem.X_new, problem.H_new)
    assert_predicts(got, mean, covariance, problem)


def test_collinear_basis_functions_change_nothing():
    problem = Problem(2, "linear")
    want = problem.posterior()
    problem.H = np.column_stack([problem.H, 3.0 * problem.H[:, 1], problem.H[:, 0]])
    old = problem.H_new
    new = np.column_stack([old, 3.0 * old[:, 1], old[:, 0]])
    problem.T = np.hstack([problem.Y, problem.H])
    got, X = problem.posterior(), problem.X_new
    assert_allclose(got.elbo, want.elbo, rtol=1e-9)
    assert_allclose(got.mean(X, new), want.mean(X, old), rtol=1e-8)


# --- exact posterior ------------------------------------------------------------


@pytest.mark.parametrize("repeated", [False, True])
def test_exact_posterior_is_the_textbooks(problem, repeated):
    if repeated:  # samples with the same features and other targets are grouped
        problem.X[9:] = problem.X[:9]
        problem.H = problem.basis(problem.X)
        problem.T = np.hstack([problem.Y, problem.H])
    groups = problem.groups()
    assert len(groups.X) == (9 if repeated else N)
    assert_allclose(groups.weights.sum(), problem.weights.sum())
    got = vi.exact_posterior(problem.translated, problem.theta, groups)
    lml, mean, covariance, beta = reference.exact(
        KERNEL, *problem.repeated(), problem.X_new, problem.H_new
    )
    assert_allclose(got.elbo, lml, **CLOSE)
    assert_allclose(got.beta, beta, **CLOSE)
    assert_predicts(got, mean, covariance, problem)


def test_exact_and_sparse_posterior_at_all_samples_agree(problem):
    exact = vi.exact_posterior(problem.translated, problem.theta, problem.groups())
    sparse = problem.posterior(Z=problem.X)
    # The sparse one has a jitter of 2e-10, amplified by 1 / noise = 12.
    assert_same_posterior(sparse, exact, problem, rtol=1e-6, atol=1e-6)


def test_statistics_of_a_posterior_are_those_it_was_made_of(problem):
    sparse = problem.posterior()
    statistics, Lz, _ = sparse.statistics()
    assert Lz is sparse.Lz
    assert_same_statistics(statistics, problem.statistics(), rtol=1e-10, atol=1e-10)

    exact = vi.exact_posterior(problem.translated, problem.theta, problem.groups())
    statistics, _, _ = exact.statistics()
    want = problem.statistics(Z=exact.Z)
    # One multiplies by the factor of a matrix, the other divides by it.
    assert_same_statistics(statistics, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["sparse", "exact"])
def test_update_is_the_posterior_of_all_samples(problem, kind):
    first, second = slice(0, 10), slice(10, N)
    if kind == "sparse":
        start = problem.posterior(problem.statistics(first))
        want = problem.posterior()
    else:
        groups = GroupedSamples.of(problem.rows.take(first))
        start = vi.exact_posterior(problem.translated, problem.theta, groups)
        want = problem.posterior(Z=groups.X)
    before = {name: np.copy(value) for name, value in vars(start).items()}
    got = start.update(problem.rows.take(second))
    assert_same_posterior(got, want, problem, rtol=1e-6, atol=1e-6)
    for name, value in before.items():
        assert_array_equal(getattr(start, name), value)


# --- gradients ------------------------------------------------------------------

# Central differences with step 1e-5 of bounds near 1e2: rounding 1e-14 1e2 / 1e-5.
NEAR = {"rtol": 1e-5, "atol": 1e-6}
GRADIENT_KERNELS = {
    "matern 5/2 + linear": KERNEL,
    "matern 1/2": gpk.Matern(1.1, nu=0.5) + gpk.WhiteKernel(0.1),
    "matern 3/2": gpk.Matern(1.1, nu=1.5) + gpk.WhiteKernel(0.1),
    "noise in a product": gpk.ConstantKernel(0.9)
    * (gpk.RBF(0.8) + gpk.WhiteKernel(0.2)),
    "fixed noise": gpk.RBF(0.9) + gpk.WhiteKernel(0.1, "fixed"),
}


@pytest.mark.parametrize("kernel", GRADIENT_KERNELS.values(), ids=GRADIENT_KERNELS)
def test_exact_bound_and_gradient(problem, kernel):
    problem = Problem(problem.k, problem.mean, np.any(problem.counts > 1), kernel)
    problem.X[N // 2 :] = problem.X[: N // 2]
    problem.H = problem.basis(problem.X)
    problem.T = np.hstack([problem.Y, problem.H])
    groups = problem.groups()
    value, gradient = log_marginal_likelihood(problem.translated, problem.theta, groups)

    def lml(theta):
        return reference.exact(kernel.clone_with_theta(theta), *problem.repeated())[0]

    assert_allclose(value, lml(problem.theta), **CLOSE)
    want = reference.finite_differences(lml, problem.theta)
    assert_allclose(gradient, want, **NEAR)


@pytest.mark.parametrize("kernel", GRADIENT_KERNELS.values(), ids=GRADIENT_KERNELS)
def test_collapsed_bound_and_gradients(problem, kernel):
    problem = Problem(problem.k, problem.mean, np.any(problem.counts > 1), kernel)

    value, by_theta, by_Z = collapsed_bound(
        problem.translated, problem.theta, problem.Z, problem.rows
    )
    data = problem.repeated()

    def bound(theta, Z):
        return reference.Sparse(kernel.clone_with_theta(theta), *data, Z).bound

    assert_allclose(value, bound(problem.theta, problem.Z), **CLOSE)
    differences = reference.finite_differences
    want = differences(lambda theta: bound(theta, problem.Z), problem.theta)
    assert_allclose(by_theta, want, **NEAR)
    want = differences(lambda Z: bound(problem.theta, Z), problem.Z)
    assert_allclose(by_Z, want, **NEAR)


# --- numerics -------------------------------------------------------------------


def test_jitter_is_the_first_that_works():
    K = np.diag([1.0, 1.0, 1.0, 1.0])
    L, jitter = linalg.cholesky(K)
    assert jitter == 1e-10
    assert_allclose(L @ L.T, K, atol=2e-10)
    assert_array_equal(K, np.eye(4))
    assert linalg.cholesky(K, jitters=(0.0, 1e-4))[1] == 0.0
    assert linalg.cholesky(np.zeros((2, 2)))[1] == 1e-10  # relative to 1
    for negative, jitter in ((5e-10, 1e-8), (5e-8, 1e-6), (5e-6, 1e-4)):
        K = np.diag([4.0, 4.0, 4.0, -4.0 * negative])
        scale = np.trace(K) / 4
        assert_allclose(linalg.cholesky(K)[1], jitter * scale)


def test_only_the_lower_triangle_of_fortran_order_is_read():
    K = reference.latent(gpk.RBF(1.0), np.linspace(0, 3, 5)[:, None])
    lower = np.tril(K).copy(order="F")
    assert_array_equal(linalg.cholesky(lower)[0], linalg.cholesky(K)[0])


def test_matrix_that_no_jitter_mends_raises():
    with pytest.raises(np.linalg.LinAlgError, match=r"\(3, 3\).*even with 1e-04"):
        linalg.cholesky(np.diag([1.0, 1.0, -0.5]))
    with pytest.raises(np.linalg.LinAlgError, match="features are finite"):
        linalg.cholesky(np.full((2, 2), np.nan))


def test_large_jitter_warns_with_the_reason(recwarn):
    vi.warn_about_jitter(1e-8, np.ones(2))
    assert not recwarn
    with pytest.warns(RuntimeWarning, match="2 inducing points .*1e-06 of its mean"):
        vi.warn_about_jitter(1e-6, np.ones(2))


@pytest.mark.parametrize("distance", [1e-3, 1e-5, 1e-7])
def test_points_that_nearly_coincide_cost_no_accuracy(distance):
    kernel = gpk.RBF(1.3) + gpk.WhiteKernel(1e-3)
    problem = Problem(kernel=kernel)
    problem.Z = np.vstack([problem.X[:5], problem.X[:5] + distance])
    posterior = problem.posterior()
    assert posterior.jitter == 1e-10

    def K(X, Z):
        return problem.translated.matrix(problem.theta, X, Z)

    jittered = K(problem.Z, problem.Z) + posterior.jitter * np.eye(10)
    bound, mean, variance = reference.high_precision(
        jittered, K(problem.Z, problem.X), np.ones(5), K(problem.X_new, problem.Z),
        np.ones(N), problem.Y, problem.noise,
    )  # fmt: skip
    got_mean, got_variance = posterior.mean_and_variance(problem.X_new, problem.H_new)
    # Whitened: eps sqrt(cond Kuu) N / noise = 2e-16 3e5 2e4. The textbook's formula has
    # eps cond Kuu and loses every digit of the mean.
    assert_allclose(posterior.elbo, bound, rtol=1e-6)
    assert_allclose(got_mean[:, 0], mean, rtol=1e-6, atol=1e-6)
    assert_allclose(got_variance, variance, rtol=1e-6, atol=1e-6)
    textbook = reference.Sparse(
        kernel, problem.X, problem.Y, problem.H, problem.Z, posterior.jitter
    )
    textbook_mean, _ = textbook.predict(problem.X_new, problem.H_new)
    assert np.abs(textbook_mean[:, 0] - mean).max() > 1e-4


@pytest.mark.parametrize("length_scale", [1.0, 30.0])
def test_all_samples_twice_as_points_are_the_exact_posterior(length_scale):
    kernel = gpk.RBF(length_scale) + gpk.WhiteKernel(0.01)
    problem = Problem(kernel=kernel)
    Z = np.vstack([problem.X, problem.X + 1e-9])
    sparse = problem.posterior(Z=Z)
    exact = vi.exact_posterior(problem.translated, problem.theta, problem.groups())
    # The bound loses at most N jitter / (2 noise) = 18 1e-10 / .02.
    assert_allclose(sparse.elbo, exact.elbo, rtol=0, atol=1e-6)
    assert_same_posterior(sparse, exact, problem, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "kernel",
    [gpk.RBF(50.0) + gpk.WhiteKernel(1e-6), gpk.RBF(0.5) + gpk.WhiteKernel(1e-18)],
    ids=["singular", "determined"],  # the latter is negative by rounding
)
def test_variance_is_never_negative(kernel):
    problem = Problem(kernel=kernel)
    exact = vi.exact_posterior(problem.translated, problem.theta, problem.groups())
    for posterior in (exact, problem.posterior(Z=problem.X)):
        _, variance = posterior.mean_and_variance(problem.X, problem.H)
        assert np.all(variance >= 0.0)
        assert np.all(variance < 1e-5)


def test_statistics_of_other_points_raise():
    problem = Problem()
    statistics = problem.statistics()
    statistics = dataclasses.replace(statistics, Phi=-3.0 * statistics.Phi)
    with pytest.raises(np.linalg.LinAlgError, match="statistics do not come"):
        problem.posterior(statistics)


# --- grouping -------------------------------------------------------------------


def test_groups_hold_weighted_means_and_scatter():
    X = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    T = np.array([[1.0, 1.0], [5.0, 1.0], [2.0, 1.0], [7.0, 1.0]])
    groups = GroupedSamples.of(Samples(X, T, np.array([1.0, 2.0, 2.0, 1.0]), 1))
    assert_array_equal(groups.X, [[0.0, 0.0], [1.0, 0.0]])
    assert_array_equal(groups.weights, [2.0, 4.0])
    assert_allclose(groups.T, [[5.0, 1.0], [3.0, 1.0]])
    # (1-3)^2 + 2 (2-3)^2 + (7-3)^2; the constant does not scatter
    assert_allclose(groups.within, [[22.0, 0.0], [0.0, 0.0]])
