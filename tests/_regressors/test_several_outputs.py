"""Error bars of several outputs, of which each has noise of its own."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_unlocknn import ModelFileError, VGPRegressor, load_model, save_model

RNG = np.random.default_rng(0)
X, X_NEW = RNG.uniform(-2.0, 2.0, (2, 400, 2))
NOISE = np.array([0.3, 0.02, 1.0])


def target(X):
    function = np.sin(2 * X[:, 0]) * X[:, 1]
    return np.column_stack([function, X[:, 0], 0.0 * function])


Y, Y_NEW = (target(x) + NOISE * RNG.normal(size=(400, 3)) for x in (X, X_NEW))


def held(model):
    """Return how many new targets of each output 90 % intervals hold."""
    low, high = np.moveaxis(model.predict_interval(X_NEW, 0.9), 1, 0)
    return np.mean((low <= Y_NEW) & (high >= Y_NEW), axis=0)


@pytest.mark.parametrize("n_points", ["auto", 80])
def test_each_output_has_its_own_width(n_points):
    model = VGPRegressor(n_inducing_points=n_points, random_state=0).fit(X, Y)
    assert np.all(np.abs(held(model) - 0.9) < 0.08)
    mean, std = model.predict(X_NEW, return_std=True)
    z = (Y_NEW - mean) / std
    assert_allclose(np.sqrt(np.mean(z**2, axis=0)), 1.0, atol=0.25)
    _, covariance = model.predict(X_NEW[:5], return_cov=True)
    assert_allclose(np.einsum("iij->ij", covariance), std[:5] ** 2, rtol=1e-6)
    draws = model.sample_y(X_NEW[:5], 4000, random_state=0)
    assert_allclose(draws.std(axis=2), std[:5], rtol=0.15)
    assert_allclose(model.predict_dist(X_NEW[:5]).mean(), mean[:5].T, rtol=1e-6)


def test_domain_of_outputs_with_heavy_tails_has_a_uniform_rank():
    rng = np.random.default_rng(1)
    model = VGPRegressor(random_state=0)
    model.fit(X, target(X) + NOISE * rng.standard_t(3, (400, 3)))
    assert np.mean(np.square(model._head.errors.output_scales)) < 0.7
    _, rank = model.domain_score(X_NEW, return_rank=True)
    assert np.mean(rank < 0.05) < 0.12
    assert np.mean(rank < 0.5) == pytest.approx(0.5, abs=0.12)


def test_scales_are_of_the_family_that_is_chosen():
    """Tails alone are not noise that varies."""
    rng = np.random.default_rng(0)
    Y = target(X)[:, :2] + NOISE[:2] * rng.standard_t(4, (400, 2))
    model = VGPRegressor(likelihood="gaussian", random_state=0).fit(X, Y)
    assert model.noise_ == "constant"
    mean, std = model.predict(X, return_std=True)
    rms = np.sqrt(np.mean((Y - mean) ** 2, axis=0))
    assert_allclose(std.mean(axis=0), rms, rtol=0.3)


def test_scales_are_kept_in_model_files(tmp_path):
    model = VGPRegressor(n_inducing_points=30, random_state=0).fit(X, Y)
    save_model(model, tmp_path / "model.unlocknn")
    loaded = load_model(tmp_path / "model.unlocknn")
    want = model.predict(X_NEW, return_std=True)
    assert_array_equal(loaded.predict(X_NEW, return_std=True), want)
    head = model._head
    head.errors = dataclasses.replace(head.errors, output_scales=(1.0, 2.0))
    save_model(model, tmp_path / "model.unlocknn")
    with pytest.raises(ModelFileError, match="2 scales for"):
        load_model(tmp_path / "model.unlocknn")


def test_outputs_of_equal_noise_share_their_width():
    Y = np.column_stack([target(X)[:, 0]] * 2) + 0.3 * RNG.normal(size=(400, 2))
    model = VGPRegressor(random_state=0).fit(X, Y)
    assert model._head.errors.output_scales is None


@pytest.mark.parametrize("settings", [{}, {"noise": "constant"}])
def test_a_constant_output_keeps_the_shape_of_the_errors_of_others(settings):
    model = VGPRegressor(random_state=0, **settings)
    with pytest.warns(UserWarning, match=r"y is constant in the outputs \[1\]"):
        model.fit(X, np.column_stack([Y[:, 0], np.ones(400)]))
    low, high = model.predict_interval(X_NEW, 0.9)[:, :, 0].T
    assert 0.82 < np.mean((low <= Y_NEW[:, 0]) & (high >= Y_NEW[:, 0])) < 0.97
