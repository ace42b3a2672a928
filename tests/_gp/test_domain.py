"""Test weights, distances, leave-one-out errors and scores against slow versions."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process import kernels as gpk
from sklearn.model_selection import LeaveOneOut

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._gp import domain
from sklearn_unlocknn.model_selection import cross_val_predict_dist

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2))
y = np.sin(2.0 * X[:, 0]) + 0.3 * RNG.normal(size=60)
X_NEW = RNG.normal(size=(7, 2))
KERNEL = (
    gpk.ConstantKernel(1.5, "fixed") * gpk.Matern(1.2, "fixed", nu=1.5)
    + gpk.ConstantKernel(0.2, "fixed") * gpk.DotProduct(0.7, "fixed")
    + gpk.WhiteKernel(0.1, "fixed")
)
FIXED = {"kernel": KERNEL, "max_iter": 0, "normalize_y": False}
POINTS = {"inducing_init": X[::5] + 1e-3, "n_inducing_points": 12}


@pytest.mark.parametrize("mean", ["zero", "constant", "linear"])
@pytest.mark.parametrize("points", [{}, POINTS], ids=["exact", "sparse"])
def test_weight_is_the_change_of_the_mean_with_a_target(points, mean):
    repeated = X.copy()
    repeated[20:23] = repeated[19]
    weights = RNG.integers(0, 3, 60).astype(float)
    weights[19:23] = [1.0, 2.0, 0.0, 1.0]
    model = VGPRegressor(**FIXED, **points, mean=mean)
    model.fit(repeated, y, weights)
    before = model.predict(X_NEW)
    table = model.nearest_training(X_NEW, 60)
    weight = table.pivot(index="sample", columns="index", values="weight")
    assert (weights[weight.columns] > 0).all()
    assert len(weight.columns) > 10
    for j in weight.columns:
        moved = y.copy()
        moved[j] += 1.0
        change = model.fit(repeated, moved, weights).predict(X_NEW) - before
        assert_allclose(weight[j], change, atol=1e-9)


def test_weights_of_a_constant_mean_add_up_to_one():
    model = VGPRegressor("rbf", max_iter=3, random_state=0).fit(X, y)
    total = model.nearest_training(X_NEW, 60).groupby("sample")["weight"].sum()
    assert_allclose(total, 1.0, rtol=1e-9)


@pytest.mark.parametrize("points", [{}, POINTS], ids=["exact", "sparse"])
def test_distance_is_that_of_the_kernel_and_the_nearest_are_listed(points):
    model = VGPRegressor(**FIXED, **points).fit(X, y)
    table = model.nearest_training(X_NEW, 4)
    scaled, new = ((A - X.mean(axis=0)) / X.std(axis=0) for A in (X, X_NEW))
    cross = reference.latent(KERNEL, new, scaled)
    own, others = (np.diag(reference.latent(KERNEL, A)) for A in (new, scaled))
    distance = np.sqrt(own[:, None] + others - 2.0 * cross)
    kept = model._head.record.index
    order = kept[np.argsort(distance[:, kept], axis=1)[:, :4]]
    assert_array_equal(table["index"].to_numpy().reshape(7, 4), order)
    want = np.take_along_axis(distance, order, axis=1)
    assert_allclose(table["distance"].to_numpy().reshape(7, 4), want, rtol=1e-9)
    assert_allclose(table["target"], y[table["index"]])


@pytest.mark.parametrize("points", [{}, POINTS], ids=["exact", "sparse"])
def test_blocks_of_any_size_have_the_weights_of_the_plain_formula(points, monkeypatch):
    monkeypatch.setattr(domain, "CHUNK", (0, 2))
    monkeypatch.setattr(domain, "_SOLVED", (0, 5))
    model = VGPRegressor(**FIXED, **points, mean="zero").fit(X, y)
    scaled, new = ((A - X.mean(axis=0)) / X.std(axis=0) for A in (X, X_NEW))
    Q, K = reference.latent(KERNEL, scaled), reference.latent(KERNEL, new, scaled)
    if points:
        Z = model._head.posterior.Z
        of_Z = np.linalg.inv(reference.latent(KERNEL, Z))
        carried = reference.latent(KERNEL, scaled, Z)
        Q = carried @ of_Z @ carried.T
        K = reference.latent(KERNEL, new, Z) @ of_Z @ carried.T
    weights = K @ np.linalg.inv(Q + 0.1 * np.eye(60))
    table = model.nearest_training(X_NEW, 4)
    want = weights[table["sample"], table["index"]]
    assert_allclose(table["weight"], want, rtol=1e-8, atol=1e-10)
    monkeypatch.undo()
    whole = model.nearest_training(X_NEW, 4)
    assert_array_equal(table["index"], whole["index"])
    assert_allclose(table["distance"], whole["distance"], rtol=1e-12)


def test_samples_of_a_sparse_model_are_nearest_to_its_points(monkeypatch):
    monkeypatch.setattr(domain, "N_RANKED", 4)
    record = VGPRegressor(**FIXED, **POINTS).fit(X, y)._head.record
    # The points lie beside every fifth sample; four others determine the rank.
    want = sorted({*range(0, 60, 5), 0, 19, 39, 59})
    assert_array_equal(record.index, want)
    assert_array_equal(record.index[record.ranked], [0, 19, 39, 59])
    assert_array_equal(record.y[:, 0], y[want])


def test_a_sample_that_repeats_has_distance_zero_and_shares_its_weight():
    repeated = np.vstack([X, X[:1], X[:1]])
    target = np.append(y, [3.0, 4.0])
    weights = np.append(np.ones(60), [2.0, 0.0])
    model = VGPRegressor(**FIXED).fit(repeated, target, weights)
    table = model.nearest_training(X[:1], 3)
    assert table["index"].tolist()[:2] == [0, 60]  # 61 has no weight
    assert table["distance"].tolist()[:2] == [0.0, 0.0]
    assert table["target"].tolist()[:2] == [y[0], 3.0]
    assert_allclose(table["weight"][1], 2.0 * table["weight"][0])


@pytest.mark.parametrize("points", [{}, POINTS], ids=["exact", "sparse"])
def test_score_is_the_formula_and_rank_that_among_samples_left_out(points):
    model = VGPRegressor(**FIXED, **points, mean="zero")
    left_out = cross_val_predict_dist(
        model, X, y, cv=LeaveOneOut(), method="shared_hyperparameters"
    )
    squares = ((y - left_out.mean) / left_out.std) ** 2
    model.fit(X, y)
    score, rank = model.domain_score(X_NEW, return_rank=True)

    def formula(new, std, others):
        index = model.nearest_training(new, 60)["index"].to_numpy()
        index = index.reshape(len(new), -1)
        near = [
            [j for j in row if j != i][:30]
            for row, i in zip(index, others, strict=True)
        ]
        factor = [0.5 + 0.5 * squares[row].mean() for row in near]
        return y.var() / (y.var() + std**2 * factor)

    std = model.predict(X_NEW, return_std=True)[1]
    assert_allclose(score, formula(X_NEW, std, [-1] * 7), rtol=1e-7)
    own = formula(X, left_out.std, np.arange(60))
    want = [(own <= value + 1e-12).mean() for value in score]
    assert_allclose(rank, want)
    assert 0 < np.ptp(rank) <= 1


@pytest.mark.parametrize("n_points", [400, 40])
def test_far_samples_are_outside_and_new_ones_of_the_same_kind_are_not(n_points):
    rng = np.random.default_rng(1)
    train, new = rng.uniform(-2, 2, (400, 2)), rng.uniform(-2, 2, (400, 2))
    noise = 0.1 * rng.normal(size=400)
    model = VGPRegressor("matern52 + linear", n_points, random_state=0)
    model.fit(train, np.sin(2 * train[:, 0]) + train[:, 1] + noise)
    score, rank = model.domain_score(new, return_rank=True)
    assert score.mean() > 0.9
    # Ranks of new samples are uniform where training samples are typical.
    assert_allclose(np.quantile(rank, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.08)
    score, rank = model.domain_score(50.0 * new + 200.0, return_rank=True)
    assert (score < 0.55).all()
    assert (rank < 0.05).all()


def test_neighbours_that_are_predicted_badly_lower_the_score():
    rng = np.random.default_rng(2)
    X = rng.uniform(-1, 1, (300, 1))
    rough = X[:, 0] > 0
    y = X[:, 0] + np.where(rough, 0.5, 0.02) * rng.normal(size=300)
    model = VGPRegressor(
        "rbf", likelihood="gaussian", noise="constant", random_state=0
    ).fit(X, y)
    smooth, rough = model.domain_score([[-0.5], [0.5]])
    _, std = model.predict([[-0.5], [0.5]], return_std=True)
    assert_allclose(std[0], std[1], rtol=0.05)
    assert smooth > rough + 0.05


def test_few_samples_and_a_constant_target_have_finite_scores():
    for n in (1, 2, 5):
        model = VGPRegressor("rbf").fit(X[:n], y[:n])
        score, rank = model.domain_score(X_NEW, return_rank=True)
        assert np.isfinite(score).all()
        assert np.isfinite(rank).all()
        assert len(model.nearest_training(X_NEW, 5)) == 7 * min(n, 5)
    score = VGPRegressor("rbf").fit(X, np.ones(60)).domain_score(X_NEW)
    assert ((score >= 0) & (score <= 1)).all()


def test_record_of_a_large_fit_is_searched_in_part(monkeypatch):
    monkeypatch.setattr(domain, "_SEARCHED", (2, 30))
    monkeypatch.setattr(domain, "N_RANKED", 1)
    model = VGPRegressor(**FIXED, **POINTS).fit(X, y)
    searched = np.linspace(0, 59, 30).astype(int)
    assert set(model._head.record.index) <= set(searched)
