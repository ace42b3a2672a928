"""Test `domain_score` and `nearest_training` of the regressors."""

import pickle

import numpy as np
import pytest
from _megnet.megnet_nets import quick
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process import kernels as gpk

from sklearn_unlocknn import ProbNNRegressor, VGPRegressor
from sklearn_unlocknn._gp import domain

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3))
Y = np.column_stack([np.sin(X[:, 0]), 10.0 * X[:, 1]]) + 0.1 * RNG.normal(size=(50, 2))
y = Y[:, 0]


class Cosine(gpk.StationaryKernelMixin, gpk.NormalizedKernelMixin, gpk.Kernel):
    """The cosine of the difference of the first column."""

    def __init__(self):
        pass

    def __call__(self, X, Y=None, eval_gradient=False):
        K = np.cos(X[:, None, 0] - (X if Y is None else Y)[None, :, 0])
        return (K, np.empty((*K.shape, 0))) if eval_gradient else K


@pytest.mark.parametrize("n_points", [4000, 10])
def test_a_pickle_scores_and_lists_the_same(n_points):
    model = VGPRegressor("rbf", n_points, random_state=0).fit(X, y)
    loaded = pickle.loads(pickle.dumps(model))
    score, rank = model.domain_score(X[:5] + 0.1, return_rank=True)
    again = pickle.loads(pickle.dumps(model))
    for other in (loaded, again):
        other_score, other_rank = other.domain_score(X[:5] + 0.1, return_rank=True)
        assert_allclose(other_score, score, rtol=1e-7)
        assert_array_equal(other_rank, rank)
        table = other.nearest_training(X[:5] + 0.1)
        want = model.nearest_training(X[:5] + 0.1)
        assert_array_equal(table["index"], want["index"])
        assert_allclose(table["weight"], want["weight"], rtol=1e-6)


def test_the_record_is_small_in_a_pickle():
    many = np.random.default_rng(0).normal(size=(5000, 20))
    model = VGPRegressor("rbf", 50, max_iter=1, hyper_subset_size=100, random_state=0)
    model.fit(many, many[:, 0])
    model.domain_score(many[:1])
    # Some 550 samples of 20 numbers, the points, a triangle of 50 x 50, and vectors.
    assert len(pickle.dumps(model._head)) < 160_000


def test_a_score_changes_no_prediction():
    model = VGPRegressor("rbf", random_state=0).fit(X, y)
    before = model.predict(X, return_std=True)
    model.domain_score(X)
    model.nearest_training(X)
    for one, other in zip(before, model.predict(X, return_std=True), strict=True):
        assert_array_equal(one, other)


def test_several_targets_have_a_column_each():
    table = VGPRegressor("rbf", random_state=0).fit(X, Y).nearest_training(X[:4], 2)
    names = ["sample", "rank", "index", "distance", "weight", "target_0", "target_1"]
    assert table.columns.tolist() == names
    assert_array_equal(table["rank"], [1, 2] * 4)
    assert_array_equal(table["index"][::2], np.arange(4))
    assert_allclose(table[["target_0", "target_1"]], Y[table["index"]])
    assert VGPRegressor("rbf").fit(X, Y).domain_score(X).shape == (50,)


@pytest.mark.parametrize("n_points", [4000, 10])
def test_added_samples_are_listed_with_the_next_positions(n_points):
    model = VGPRegressor("rbf", n_points, random_state=0).fit(X[:30], y[:30])
    model.partial_fit(X[30:40], y[30:40], [1.0] * 9 + [0.0])
    model.partial_fit(X[40:], y[40:])
    table = model.nearest_training(X[30:], 1)
    found = table["index"].to_numpy()
    assert_array_equal(np.delete(found, 9), np.delete(np.arange(30, 50), 9))
    assert found[9] != 39  # of weight 0
    assert_allclose(table["target"], y[found])
    assert model._head.record.n_seen == 50
    assert_allclose(model._head.record.high, np.delete(y, 39).max())


def test_added_samples_are_kept_up_to_a_number(monkeypatch):
    monkeypatch.setattr(domain, "LEAST_KEPT", 35)
    model = VGPRegressor("rbf", 10, random_state=0).fit(X[:30], y[:30])
    model.partial_fit(X[30:], y[30:]).partial_fit(X[:10], y[:10])
    assert_array_equal(model._head.record.index, np.arange(35))
    assert model._head.record.n_seen == 60


def test_scores_follow_added_samples():
    far = X + 8.0
    model = VGPRegressor("rbf", random_state=0).fit(X, y)
    assert (model.domain_score(far) < 0.55).all()
    model.fit(
        np.vstack([X, far]), np.append(y, y), np.append(np.ones(50), np.zeros(50))
    )
    assert (model.domain_score(far) < 0.55).all()
    points = np.vstack([X, far])
    model.set_params(inducing_init=points, n_inducing_points=100).fit(X, y)
    before = model.domain_score(far).mean()
    assert model.partial_fit(far, y).domain_score(far).mean() > before + 0.2


def test_added_samples_of_the_same_kind_leave_the_rank_uniform():
    rng = np.random.default_rng(0)
    X = rng.uniform(-2.0, 2.0, (1400, 2))
    target = np.sin(3 * X[:, 0]) * X[:, 1] + 0.01 * rng.normal(size=1400)
    model = VGPRegressor(random_state=0).fit(X[:200], target[:200])
    model.partial_fit(X[200:300], target[200:300])
    assert model.n_inducing_points_ == 300
    _, rank = model.domain_score(X[400:], return_rank=True)
    assert np.mean(rank < 0.05) < 0.1
    assert np.mean(rank < 0.5) == pytest.approx(0.5, abs=0.1)


def test_a_kernel_of_the_users_own_has_distances():
    model = VGPRegressor(Cosine(), random_state=0).fit(X, y)
    table = model.nearest_training(X[:1], 3)
    scaled = (X[:, 0] - X[:, 0].mean()) / X[:, 0].std()
    other = scaled[table["index"][2]]
    distance = np.sqrt(2.0 - 2.0 * np.cos(scaled[0] - other))
    assert_allclose(table["distance"][2], distance, rtol=1e-6)
    assert np.isfinite(model.domain_score(X)).all()


def test_a_keras_network_has_distances_of_its_features(keras3_net):
    model = ProbNNRegressor(keras3_net, kernel="rbf", random_state=0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, *keras3_net.input_shape[1:])).astype(np.float32)
    model.fit(X, X[:, 0])
    assert_array_equal(model.nearest_training(X[:6], 1)["index"], np.arange(6))
    assert model.domain_score(X).shape == (30,)


def test_bad_numbers_of_neighbours_are_named():
    model = VGPRegressor("rbf").fit(X, y)
    for bad in (0, 2.5, True, "all"):
        with pytest.raises(ValueError, match=f"n_neighbors={bad!r}, expected an int"):
            model.nearest_training(X, bad)


# --- structures ---------------------------------------------------------------------


def test_structures_are_listed_with_formulas(tiny_frozen, crystals):
    target = np.arange(24.0)
    model = quick(tiny_frozen, on_error="nan", descriptors="auto")
    bad = [*crystals[:10], "no file.cif", *crystals[10:]]
    with pytest.warns(UserWarning, match="1 of 25"):
        model.fit(bad, np.insert(target, 10, 0.0))
    loaded = pickle.loads(pickle.dumps(model))
    table = loaded.nearest_training([*crystals[8:12], "no file.cif"], 1)
    assert_array_equal(table["sample"], np.arange(4))
    assert_array_equal(table["index"], [8, 9, 11, 12])
    assert_array_equal(table["target"], target[8:12])
    names = [crystal.composition.reduced_formula for crystal in crystals[8:12]]
    assert table["formula"].tolist() == names
    score, rank = loaded.domain_score([*crystals[8:10], "no file.cif"], True)
    assert np.isfinite(score[:2]).all()
    assert np.isnan(score[2])
    assert np.isnan(rank[2])


def test_streams_and_added_structures_have_formulas(tiny_frozen, crystals):
    target = np.arange(24.0)
    names = [crystal.composition.reduced_formula for crystal in crystals]
    model = quick(tiny_frozen, descriptors="auto")
    model.fit_stream((crystals[i : i + 8], target[i : i + 8]) for i in (0, 8))
    model.partial_fit(crystals[16:], target[16:])
    table = model.nearest_training(crystals, 1)
    assert_array_equal(table["index"], np.arange(24))
    assert table["formula"].tolist() == names


def test_features_without_element_fractions_have_no_formulas(tiny_frozen, crystals):
    model = quick(tiny_frozen, descriptors=None).fit(crystals, np.arange(24.0))
    assert "formula" not in model.nearest_training(crystals[:2])
