"""Test posteriors without a fold against the formulas of the other samples."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process import kernels as gpk

from sklearn_unlocknn._gp import leave_out as _folds
from sklearn_unlocknn._gp import posterior as vi
from sklearn_unlocknn._gp.covariance import Covariance
from sklearn_unlocknn._gp.leave_out import predict_left_out
from sklearn_unlocknn._gp.samples import GroupedSamples, Samples

D, N = 2, 24
# Explicit inverses of matrices of condition 1e4 keep twelve of sixteen digits.
CLOSE = {"rtol": 1e-8, "atol": 1e-8}


def kernel(noise=0.08):
    return (
        gpk.ConstantKernel(1.5) * gpk.Matern([0.9, 1.6], nu=2.5)
        + gpk.ConstantKernel(0.2) * gpk.DotProduct(0.7)
        + gpk.WhiteKernel(noise)
    )


class Problem:
    """Samples, some repeated, with the posterior of those of positive weight."""

    def __init__(
        self, n_outputs=1, n_basis=1, weighted=False, n_points=None, noise=0.08
    ):
        rng = np.random.default_rng(0)
        self.kernel = kernel(noise)
        self.translated = Covariance(self.kernel, D)
        self.theta = self.translated.theta
        X = rng.normal(size=(N, D))
        X[10:13] = X[0:3]
        X[13] = X[0]
        Y = np.sin(X @ rng.normal(size=(D, n_outputs))) + 0.5
        Y += np.sqrt(noise) * rng.normal(size=Y.shape)
        H = np.column_stack([np.ones(N), X])[:, :n_basis]
        self.counts = rng.integers(0, 4, size=N) if weighted else np.ones(N, dtype=int)
        weights = self.counts.astype(float)
        self.rows = Samples(X, np.hstack([Y, H]), weights, n_outputs)
        self.Z = None if n_points is None else rng.normal(size=(n_points, D))

    def posterior(self, index=slice(None)):
        """Return the posterior of some samples, by the fast code."""
        index = np.arange(N)[index]
        rows = self.rows.take(index[self.counts[index] > 0])
        if self.Z is None:
            groups = GroupedSamples.of(rows)
            return vi.exact_posterior(self.translated, self.theta, groups)
        posterior_at = vi.optimal_posterior(self.translated, self.theta, self.Z, rows)
        return posterior_at(self.theta)

    def left_out(self, folds):
        return predict_left_out(self.posterior(), self.rows, folds)

    def assert_left_out(self, folds):
        """Compare all folds with the reference; return their means."""
        mean, variance = self.left_out(folds)
        for fold in folds:
            want_mean, want_variance = self.slowly(fold)
            assert_allclose(mean[fold], want_mean, **CLOSE)
            assert_allclose(variance[fold], want_variance, **CLOSE)
        return mean

    def slowly(self, fold):
        """Return mean and variance of a fold given the others, by explicit inverses."""
        k, X, T = self.rows.n_outputs, self.rows.X, self.rows.T
        train = np.setdiff1d(np.arange(N), fold)
        X_train, T_train = reference.repeat(self.counts[train], X[train], T[train])
        data = self.kernel, X_train, T_train[:, :k], T_train[:, k:]
        new = X[fold], T[fold, k:]
        if self.Z is None:
            _, mean, covariance, _ = reference.exact(*data, *new)
        else:
            model = reference.Sparse(*data, self.Z, self.posterior().jitter)
            mean, covariance = model.predict(*new)
        return mean, np.diag(covariance)


def folds_of(n_folds):
    return np.array_split(np.random.default_rng(1).permutation(N), n_folds)


@pytest.mark.parametrize("n_folds", [2, 5, N])
# Five points and five folds: folds of four and of five samples take either branch.
@pytest.mark.parametrize("n_points", [None, 5, 9], ids=lambda m: f"{m} points")
@pytest.mark.parametrize(
    ("n_outputs", "n_basis", "weighted"),
    [(1, 0, False), (1, 1, True), (1, 3, False), (2, 1, False), (3, 3, True)],
)
def test_equals_the_posterior_of_the_other_samples(
    n_outputs, n_basis, weighted, n_points, n_folds
):
    problem = Problem(n_outputs, n_basis, weighted, n_points)
    mean = problem.assert_left_out(folds_of(n_folds))
    assert mean.shape == (N, n_outputs)


def test_large_folds_are_read_in_blocks(monkeypatch):
    monkeypatch.setattr(vi, "CHUNK", (1, 3))
    Problem(n_basis=2, weighted=True, n_points=5).assert_left_out(folds_of(3))


@pytest.mark.parametrize("n_samples", [1, 3, 1000])
def test_small_folds_share_passes(n_samples, monkeypatch):
    monkeypatch.setattr(_folds, "_PASS_SAMPLES", n_samples)
    folds = folds_of(11)
    passes = list(_folds._batches(folds))
    assert [len(fold) for batch in passes for fold in batch] == list(map(len, folds))
    sizes = [sum(map(len, batch)) for batch in passes]
    assert min(sizes[:-1], default=n_samples) >= n_samples
    assert all(sum(map(len, batch[:-1])) < n_samples for batch in passes)
    Problem(2, 3, weighted=True, n_points=9).assert_left_out(folds)


@pytest.mark.parametrize("n_points", [None, 5, 9], ids=lambda m: f"{m} points")
@pytest.mark.parametrize("noise", [1e-10, 1e-6, 10.0])
def test_no_digits_are_lost_to_little_or_much_noise(noise, n_points):
    problem = Problem(1, 3, noise=noise, n_points=n_points)
    for folds in (folds_of(5), folds_of(N)):
        mean, variance = problem.left_out(folds)
        for fold in folds:
            rest = problem.posterior(np.setdiff1d(np.arange(N), fold))
            X, H = problem.rows.X[fold], problem.rows.T[fold, 1:]
            want = rest.mean_and_variance(X, H)
            assert_allclose(mean[fold], want[0], atol=1e-7)
            assert_allclose(np.sqrt(variance[fold]), np.sqrt(want[1]), atol=1e-6)


@pytest.mark.parametrize("n_points", [None, 5], ids=lambda m: f"{m} points")
def test_fold_without_weight_has_the_posterior_of_all_samples(n_points):
    problem = Problem(2, 1, weighted=True, n_points=n_points)
    unfitted = np.flatnonzero(problem.counts == 0)
    assert len(unfitted)
    mean, variance = problem.left_out([unfitted, np.array([], dtype=int)])
    X, T = problem.rows.X[unfitted], problem.rows.T[unfitted]
    want = problem.posterior().mean_and_variance(X, T[:, 2:])
    assert_allclose(mean[unfitted], want[0], **CLOSE)
    assert_allclose(variance[unfitted], want[1], **CLOSE)
    assert_array_equal(np.isnan(mean[:, 0]), problem.counts > 0)
    assert_array_equal(np.isnan(variance), problem.counts > 0)


@pytest.mark.parametrize("n_points", [None, 2, 5], ids=lambda m: f"{m} points")
def test_coefficient_that_only_the_fold_determines(n_points):
    # Without the fold the second basis function is zero on all samples.
    problem = Problem(1, 2, n_points=n_points)
    fold = np.array([4, 5])
    problem.rows.T[:, 2] = 0.0
    problem.rows.T[fold, 2] = [1.0, 2.0]
    mean, _ = problem.left_out([fold])
    rest = problem.posterior(np.setdiff1d(np.arange(N), fold))
    assert rest.beta[1, 0] == 0.0
    X, H = problem.rows.X[fold], problem.rows.T[fold, 1:]
    want, _ = rest.mean_and_variance(X, H)
    assert_allclose(mean[fold], want, **CLOSE)


@pytest.mark.parametrize("n_points", [None, 5], ids=lambda m: f"{m} points")
def test_fold_of_all_samples_is_an_error(n_points):
    problem = Problem(n_points=n_points, weighted=True)
    fitted = np.flatnonzero(problem.counts)
    with pytest.raises(ValueError, match="Fold 1 holds all samples that can be fitted"):
        problem.left_out([np.flatnonzero(problem.counts == 0), fitted])
