"""Test inducing points moved in batches: the bound, its gradients, the optimum."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose
from sklearn.gaussian_process import kernels as gpk
from small_fits import fit

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._gp import minibatch, moving
from sklearn_unlocknn._gp.covariance import Covariance
from sklearn_unlocknn._gp.moving import collapsed_bound
from sklearn_unlocknn._gp.samples import Samples


class Batches:
    """Standardised samples, a q(u) that is not optimal and mean coefficients."""

    def __init__(self, n_outputs, q):
        rng = np.random.default_rng(2)
        kernel = gpk.ConstantKernel(1.2) * gpk.Matern([0.8, 1.4], nu=1.5)
        self.kernel = kernel + gpk.DotProduct(0.5) + gpk.WhiteKernel(0.2)
        self.translated = Covariance(self.kernel, 2)
        self.theta, self.k = self.translated.theta, n_outputs
        X = rng.normal(size=(12, 2))
        T = rng.normal(size=(12, n_outputs + q))
        weights = rng.uniform(0.5, 2.0, size=12)
        self.rows = Samples(X, T, weights, n_outputs)
        self.Z = rng.normal(size=(4, 2))
        self.beta = rng.normal(size=(q, n_outputs))
        root = rng.normal(size=(4, 4))
        self.precision = np.eye(4) + root @ root.T
        self.shift = rng.normal(size=(4, n_outputs))

    def fast(self, rows, scale, rate=0.0):
        state = minibatch.Variational(self.precision.copy(), self.shift.copy())
        value, gradients = minibatch.batch_bound(
            self.translated, self.theta, self.Z, self.beta, rows, state, scale, rate,
            wrt_samples=True,
        )  # fmt: skip
        return value, gradients, state

    def reference(self, theta, Z, beta, rows, scale):
        """Return the bound at the same whitened q: Kuu scales mean and covariance."""
        kernel = self.kernel.clone_with_theta(theta)
        Lz = np.linalg.cholesky(reference.latent(kernel, Z))
        S = np.linalg.inv(self.precision)
        return reference.stochastic_bound(
            kernel, rows.X, rows.T[:, : self.k], rows.T[:, self.k :], Z, beta,
            Lz @ S @ self.shift, Lz @ S @ Lz.T, rows.weights, scale,
        )  # fmt: skip


@pytest.mark.parametrize(("n_outputs", "q"), [(1, 0), (1, 1), (2, 3)])
def test_batch_bound_and_gradients(n_outputs, q):
    problem = Batches(n_outputs, q)
    batch = problem.rows.take(np.arange(5))
    value, (by_theta, by_beta, by_Z, by_X, by_T), _ = problem.fast(batch, scale=2.4)
    # jitter 1e-10 under a condition near 1e2
    at = problem.theta, problem.Z, problem.beta, batch.X, batch.T

    def bound(theta, Z, beta, X, T):
        rows = Samples(X, T, batch.weights, n_outputs)
        return problem.reference(theta, Z, beta, rows, 2.4)

    assert_allclose(value, bound(*at), rtol=1e-7)
    for which, gradient in enumerate((by_theta, by_Z, by_beta, by_X, by_T)):

        def of_one(x, which=which):
            return bound(*at[:which], x, *at[which + 1 :])

        want = reference.finite_differences(of_one, at[which])
        assert_allclose(gradient, want, rtol=1e-5, atol=1e-5)


def test_batch_bound_is_unbiased():
    problem = Batches(2, 1)
    problem.rows.weights[:] = 1.0
    order = np.random.default_rng(0).permutation(12)
    parts = [problem.rows.take(index) for index in order.reshape(4, 3)]
    values = [problem.fast(part, scale=4.0)[0] for part in parts]
    gradients = [problem.fast(part, scale=4.0)[1] for part in parts]
    value, gradient, _ = problem.fast(problem.rows, scale=1.0)
    assert np.std(values) > 1.0
    assert_allclose(np.mean(values), value, rtol=1e-10)
    for which in range(3):
        mean = np.mean([part[which] for part in gradients], axis=0)
        assert_allclose(mean, gradient[which], rtol=1e-8, atol=1e-10)


def test_full_natural_step_is_the_collapsed_optimum():
    problem = Batches(2, 0)
    value, gradients, _ = problem.fast(problem.rows, scale=1.0, rate=1.0)
    bound, by_theta, by_Z = collapsed_bound(
        problem.translated, problem.theta, problem.Z, problem.rows
    )
    assert_allclose(value, bound, rtol=1e-9)
    # At the best q(u) the partial gradient is the total one (the envelope theorem).
    assert_allclose(gradients[0], by_theta, rtol=1e-6, atol=1e-7)
    assert_allclose(gradients[2], by_Z, rtol=1e-6, atol=1e-7)


def test_natural_steps_raise_the_bound():
    problem = Batches(1, 1)
    values = [problem.fast(problem.rows, 1.0, rate)[0] for rate in (0, 0.1, 0.5, 1)]
    assert np.all(np.diff(values) > 0)


def test_bound_rises_while_the_mean_of_a_window_does():
    rises = minibatch._rises
    assert rises([], 2)
    assert rises([3.0, 2.0, 1.0], 2)  # too few epochs to compare
    for least, level in ((1e-4, 0.0), (1e-4, 0.5), (1e-2, 100.0), (1e-2, -100.0)):
        before = [level - 1.0, level + 1.0]
        for factor, expected in ((0.9, False), (1.1, True), (-1.1, False)):
            after = level + factor * least
            assert rises([9e9, *before, after + 2.0, after - 2.0], 2) == expected


def test_adam_is_its_formulas():
    """Compare with the algorithm of Kingma and Ba, with moments debiased."""
    gradients = np.random.default_rng(0).normal(size=(12, 3)) * [1.0, 1e-6, 1e3]
    optimizer = minibatch.Adam(3, rate=0.1)
    for t in range(1, 13):
        ages = np.arange(t)[::-1, None]
        m = 0.1 * np.sum(0.9**ages * gradients[:t], axis=0) / (1 - 0.9**t)
        v = 0.001 * np.sum(0.999**ages * gradients[:t] ** 2, axis=0) / (1 - 0.999**t)
        want = 0.1 * m / (np.sqrt(v) + 1e-8)
        assert_allclose(optimizer.step(gradients[t - 1]), want, rtol=1e-9)


def test_steps_of_adam_up_a_constant_slope_are_equal():
    optimizer = minibatch.Adam(1, rate=0.1)
    steps = [optimizer.step(np.full(1, 3.0)) for _ in range(1500)]
    assert_allclose(steps, 0.1, rtol=1e-8)


def test_points_moved_in_batches_come_near_those_moved_on_all_samples(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = np.sin(2 * X[:, 0]) + 0.5 * X[:, 1] + 0.2 * rng.normal(size=300)
    params = {"n_inducing_points": 12, "mean": "constant"}
    moved = {**params, "optimize_inducing_points": True}
    collapsed = fit((X, y), **moved)
    start = fit((X, y), **params, hyper_subset_size=60)
    monkeypatch.setattr(moving, "MOVED_BY_BATCH", 299)
    monkeypatch.setattr(minibatch, "BATCH_SIZE", 50)
    stochastic = fit((X, y), **moved, hyper_subset_size=60, max_iter=60)
    # Better than its start, the hyperparameters of 60 samples; with the steps of Adam
    # they stay within a few per cent of the optimum.
    assert stochastic.elbo_ > start.elbo_
    # The curves end at the bounds that were maximised, the models at another noise.
    reached = stochastic.elbo_curve_[-1] / 300, collapsed.elbo_curve_[-1] / 300
    assert reached[0] > reached[1] - 0.05
    difference = stochastic.predict(X) - collapsed.predict(X)
    assert np.sqrt(np.mean(difference**2)) < 0.5 * collapsed.noise_std_
    assert len(stochastic.elbo_curve_) == stochastic.n_iter_ + 1
    assert 5 < stochastic.n_iter_ <= 60


def test_batches_are_for_moved_points_of_many_samples(monkeypatch):
    stages = []
    monkeypatch.setattr(
        VGPRegressor, "_report", lambda self, stage, *values: stages.append(stage)
    )
    X = np.linspace(0.0, 1.0, 20_001)[:, None]
    y = np.sin(9.0 * X[:, 0])
    for n, moved, batches in (
        (20_000, True, False),
        (20_001, True, True),
        (20_001, False, False),
    ):
        stages.clear()
        VGPRegressor(
            "rbf", 3, optimize_inducing_points=moved, max_iter=1, random_state=0
        ).fit(X[:n], y[:n])
        assert ("minibatch epoch" in stages) == batches
