"""Test the choice of inducing points."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.cluster import MiniBatchKMeans
from sklearn.gaussian_process import kernels as gpk
from sklearn.metrics import pairwise_distances_argmin_min
from small_fits import fit, make_data

from sklearn_unlocknn._gp import inducing
from sklearn_unlocknn._gp.covariance import Covariance
from sklearn_unlocknn._gp.samples import Samples


@pytest.fixture(scope="module")
def data():
    return make_data()


GREEDY_KERNEL = gpk.RBF(0.6) + gpk.ConstantKernel(0.1) * gpk.DotProduct(1.0)


def greedy_rows(block, n_points=20, kernel=GREEDY_KERNEL, n=120, **kwargs):
    X = np.random.default_rng(3).normal(size=(n, 2))
    translated = Covariance(kernel, 2)
    order = inducing.greedy_order(
        translated, translated.theta, X, n_points, block=block, **kwargs
    )
    return X, order


def test_greedy_is_the_naive_loop():
    X, order = greedy_rows(block=1)
    assert_array_equal(order, reference.greedy(GREEDY_KERNEL, X, 20))


@pytest.mark.parametrize("block", [4, 7, 128])
def test_blocks_leave_nearly_the_least_variance(block):
    X, order = greedy_rows(block, n_points=30)
    assert len(set(order.tolist())) == 30
    left = reference.conditional_variance(GREEDY_KERNEL, X, list(order)).sum()
    naive = reference.greedy(GREEDY_KERNEL, X, 30)
    least = reference.conditional_variance(GREEDY_KERNEL, X, naive).sum()
    random = reference.conditional_variance(GREEDY_KERNEL, X, list(range(30))).sum()
    assert left < 1.25 * least
    assert left < 0.6 * random


@pytest.mark.parametrize("block", [1, 5, 128])
def test_greedy_takes_each_sample_once_and_stops_at_the_rank(block):
    _, order = greedy_rows(block, n_points=40, n=40, kernel=gpk.RBF(0.1))
    assert_array_equal(np.sort(order), np.arange(40))
    # A linear kernel has rank 3 in two features.
    _, order = greedy_rows(block, n_points=40, kernel=gpk.DotProduct(1.0))
    assert len(order) == 3


@pytest.mark.parametrize("init", ["greedy", "kmeans", "random"])
def test_a_kernel_of_noise_alone_has_points_too(data, init):
    X, y = data
    model = fit(
        data, kernel=gpk.WhiteKernel(0.5), mean="constant", inducing_init=init,
        n_inducing_points=3, max_iter=0,
    )  # fmt: skip
    mean, std = model.predict(X, return_std=True)
    assert_allclose(mean, y.mean())
    assert_allclose(std, np.sqrt(0.5) * y.std())


@pytest.mark.parametrize("init", ["greedy", "kmeans", "random"])
def test_named_inits_cover_the_samples(data, init):
    X, _ = data
    model = fit(data, inducing_init=init, n_inducing_points=15, max_iter=5)
    points = model.inducing_points_
    assert points.shape == (model.n_inducing_points_, 2) == (15, 2)
    assert len(np.unique(points, axis=0)) == 15
    assert np.all(points >= X.min(axis=0) - 1e-9)
    assert np.all(points <= X.max(axis=0) + 1e-9)
    if init != "kmeans":
        distance = np.abs(points[:, None] - X[None]).max(axis=2).min(axis=1)
        assert_allclose(distance, 0.0, atol=1e-12)


@pytest.mark.parametrize("n_features", [1, 3, 60, 500])
def test_cluster_centres_are_means_of_all_features(n_features):
    """Compare the centres of clusters found in fewer dimensions with their means."""
    rng = np.random.default_rng(0)
    corners = 50.0 * np.arange(4)[:, None] + rng.normal(size=(4, n_features))
    label = np.arange(120) % 4
    X = corners[label] + 0.5 * rng.normal(size=(120, n_features))
    centres = inducing.cluster_centres(X, 4, seed=0)
    means = np.array([X[label == k].mean(axis=0) for k in range(4)])
    assert_allclose(centres[np.argsort(centres[:, 0])], means, rtol=1e-10)


def test_cluster_centres_lie_as_near_as_without_projection():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 8)) @ rng.normal(size=(8, 200))
    X += 0.3 * rng.normal(size=X.shape)

    def loss(centres):
        return np.mean(pairwise_distances_argmin_min(X, centres)[1] ** 2)

    plain = MiniBatchKMeans(100, batch_size=1024, n_init=1, max_iter=20, random_state=0)
    projected = inducing.cluster_centres(X, 100, seed=0)
    assert projected.shape == (100, 200)
    assert loss(projected) < 1.02 * loss(plain.fit(X).cluster_centers_)


def test_cluster_centres_spread_across_a_narrow_direction():
    """Choose centres of samples with 99 % of their variance along the diagonal."""
    rng = np.random.default_rng(0)
    along, across = rng.normal(size=(2, 3000)) * [[1.0], [0.1]]
    X = np.column_stack([along + across, along - across])
    centres = inducing.cluster_centres(X, 300, seed=0)
    assert np.std(centres[:, 0] - centres[:, 1]) > 0.9 * np.std(X[:, 0] - X[:, 1])


def test_cluster_centres_of_identical_samples():
    X = np.full((30, 4), 2.5)
    assert_allclose(inducing.cluster_centres(X, 3, seed=0), X[:1])


def test_cluster_centres_without_samples_are_where_samples_are():
    corners = np.array([[0.0, 1, 2, 3], [5, 5, 5, 5], [-9, 1, 0, 0]])
    X = np.repeat(corners, 20, axis=0)
    centres = inducing.cluster_centres(X, 7, seed=0)
    distance = np.abs(centres[:, None] - corners[None]).max(axis=2)
    assert_allclose(distance.min(axis=1), 0.0, atol=1e-12)
    assert_allclose(distance.min(axis=0), 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("init", "n", "read"),
    [
        ("greedy", 8, 8), ("greedy", 9, 8),
        ("kmeans", 10_000, 10_000), ("kmeans", 10_001, 10_000),
    ],
)  # fmt: skip
def test_points_are_chosen_among_some_samples(init, n, read, monkeypatch):
    monkeypatch.setattr(inducing, "POOL_BYTES", 1)
    X = np.random.default_rng(0).normal(size=(n, 1))
    sizes = []

    class Counted(Samples):
        def take(self, index):
            taken = super().take(index)
            sizes.append(len(np.unique(taken.X)))
            return taken

    samples = Counted(X, X, np.ones(n), 1)
    kernel = Covariance(gpk.RBF(0.1), 1)
    rng = np.random.RandomState(0)
    points = inducing.select(kernel, kernel.theta, samples, 4, init, rng)
    assert sizes == [read]
    assert len(points) == 4


def test_given_points_are_in_feature_units(data):
    X, _ = data
    points = X[[3, 8, 20, 33]] + 0.25
    twice = np.vstack([points, points[:1]])
    model = fit(data, inducing_init=twice, n_inducing_points=2, max_iter=5)
    assert model.n_inducing_points_ == 4
    assert_allclose(np.sort(model.inducing_points_, axis=0), np.sort(points, axis=0))
    moved = fit(data, inducing_init=points, max_iter=5, optimize_inducing_points=True)
    assert moved.inducing_points_.shape == (4, 2)
    assert moved.elbo_ > model.elbo_


@pytest.mark.parametrize(("count", "expected"), [(0.1, 8), (0.101, 9), (1.0, 80)])
def test_share_of_samples(data, count, expected):
    model = fit(data, n_inducing_points=count, max_iter=2, kernel=gpk.RBF(0.3))
    assert model.n_inducing_points_ == expected


def test_points_cover_an_outlier():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    X[17] = [9.0, -9.0]
    model = fit((X, X[:, 0]), n_inducing_points=5, max_iter=0, inducing_init="greedy")
    assert np.abs(model.inducing_points_ - X[17]).max(axis=1).min() < 1e-9
