"""Test the behaviour that every GP regressor must have, on any kind of features.

Each ``check_*`` takes an unfitted regressor of 4 numeric columns, quick to fit and
with ``random_state`` set. Parametrise over ``CHECKS``, a dict by name.
scikit-learn's own checks (`test_common`) are not repeated here.
"""

import copy
import pickle

import battery_inputs
import numpy as np
import pytest
from battery_inputs import SAME, X_NEW, X, Y, assert_sound, predictions, y
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import clone
from sklearn.gaussian_process import kernels as gpk
from sklearn.model_selection import GridSearchCV

from sklearn_unlocknn.metrics import prob_scoring

# --- copies ---------------------------------------------------------------------


def check_pickle_predicts_and_fits_the_same(model):
    unfitted = pickle.loads(pickle.dumps(model))
    model.fit(X, y)
    loaded = pickle.loads(pickle.dumps(model))
    # A posterior that is computed again when loaded: the same to rounding.
    assert_allclose(predictions(loaded), predictions(model), rtol=1e-10, atol=1e-12)
    assert_allclose(predictions(loaded.fit(X, y)), predictions(model), **SAME)
    assert_allclose(predictions(unfitted.fit(X, y)), predictions(model), **SAME)


def check_deepcopy_predicts_the_same_and_is_apart(model):
    model.fit(X, y)
    before = predictions(model)
    copied = copy.deepcopy(model)
    assert_array_equal(predictions(copied), before)
    copied.partial_fit(X, -y)
    assert_array_equal(predictions(model), before)


def check_clone_is_unfitted_and_fits_the_same(model):
    before = dict(vars(model))
    clone(model)
    assert vars(model) == before
    model.fit(X, y)
    before = dict(vars(model))
    copied = clone(model)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())
    assert not [name for name in vars(copied) if name.endswith("_")]
    assert copied.get_params().keys() == model.get_params().keys()
    assert_array_equal(predictions(copied.fit(X, y)), predictions(model))


def check_parameters_are_left_as_they_are(model):
    model.set_params(kernel=gpk.RBF(1.0) + gpk.WhiteKernel(0.1))
    before = dict(vars(model))
    theta = model.kernel.theta.copy()
    model.fit(X, y)
    for name, value in before.items():
        if not name.startswith("_"):
            assert getattr(model, name) is value
    assert_array_equal(model.kernel.theta, theta)
    assert not np.array_equal(model.kernel_.theta, theta)


def check_refit_is_a_fresh_fit(model):
    fresh = predictions(clone(model).fit(X, y))
    model.fit(X[:11, ::-1], Y[:11]).partial_fit(X, Y)
    assert_array_equal(predictions(model.fit(X, y)), fresh)


def check_same_seed_same_bits(model):
    sparse_model = model.set_params(n_inducing_points=9, hyper_subset_size=20)
    first = clone(sparse_model).fit(X, y)
    second = clone(sparse_model).fit(X, y)
    assert_array_equal(first.inducing_points_, second.inducing_points_)
    assert_array_equal(first.kernel_.theta, second.kernel_.theta)
    assert_array_equal(predictions(first), predictions(second))
    assert first.elbo_ == second.elbo_


def check_global_random_state_is_left_alone(model):
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.rand()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    model.fit(X, y).sample_y(X_NEW)
    assert np.random.rand() == expected  # noqa: NPY002


# --- inside scikit-learn --------------------------------------------------------


def check_grid_search_by_probabilistic_scores(model):
    search = GridSearchCV(
        model,
        {"kernel": ["rbf", "linear"], "n_inducing_points": [5, 0.9]},
        scoring=prob_scoring(["neg_nll", "neg_crps"]),
        refit="neg_nll",
        cv=2,
    ).fit(X, y)
    scores = search.cv_results_["mean_test_neg_nll"]
    assert np.all(np.isfinite(scores))
    assert search.best_index_ == np.argmax(scores)
    expected = clone(model).set_params(**search.best_params_).fit(X, y)
    assert_array_equal(predictions(search.best_estimator_), predictions(expected))


def check_kernel_parameters_in_a_search(model):
    kernel = gpk.ConstantKernel(1.0, "fixed") * gpk.RBF(1.0, "fixed")
    model.set_params(kernel=kernel + gpk.WhiteKernel(0.1, "fixed"))
    assert model.get_params()["kernel__k1__k2__length_scale"] == 1.0
    values = [0.5, 4.0]
    search = GridSearchCV(model, {"kernel__k1__k2__length_scale": values}, cv=2)
    search.fit(X, y)
    assert search.best_estimator_.kernel_.k1.k2.length_scale in values
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0


# --- several outputs ------------------------------------------------------------


def check_shapes_follow_the_target(model):
    for target, tail in ((y, ()), (y[:, None], (1,)), (Y, (2,))):
        fitted = clone(model).fit(X, target)
        assert fitted.predict(X_NEW).shape == (7, *tail)
        assert_sound(fitted, shape=tail)
        assert fitted.predict(X_NEW, return_cov=True)[1].shape == (7, 7, *tail)
        assert fitted.predict_interval(X_NEW).shape == (7, 2, *tail)
        assert fitted.predict_quantiles(X_NEW, [0.1, 0.5, 0.9]).shape == (7, 3, *tail)
        assert fitted.predict_quantiles(X_NEW, 0.5).shape == (7, 1, *tail)
        assert [part.shape for part in fitted.predict_components(X_NEW)] == [
            (7, *tail)
        ] * 3
        assert fitted.sample_y(X_NEW, 5).shape == (7, *tail, 5)
        assert np.shape(fitted.noise_std_) == tail
        assert np.isfinite(fitted.score(X, target))


def check_outputs_of_one_kernel_are_fits_side_by_side(model):
    kernel = gpk.RBF(2.0, "fixed") + gpk.WhiteKernel(0.1, "fixed")
    model.set_params(kernel=kernel)
    both = clone(model).fit(X, Y)
    ones = [clone(model).fit(X, column) for column in Y.T]
    mean, std = both.predict(X_NEW, return_std=True)
    for column, one in enumerate(ones):
        want_mean, want_std = one.predict(X_NEW, return_std=True)
        assert_allclose(mean[:, column], want_mean, **SAME)
        assert_allclose(std[:, column], want_std, **SAME)
    assert_allclose(both.elbo_, sum(one.elbo_ for one in ones), **SAME)


# --- weights and updates --------------------------------------------------------


def check_weights_are_repetitions(model):
    counts = np.arange(40) % 3
    # All 26 distinct samples are points, then the same 20 of them: rounding, which
    # differs with the batch of a network, decides between candidates.
    few = {"n_inducing_points": 20, "inducing_init": "greedy", "max_iter": 0}
    for params in ({}, few):
        model.set_params(**params)
        weighted = clone(model).fit(X, y, sample_weight=counts)
        if params:
            model.set_params(inducing_init=weighted.inducing_points_)
        repeated = clone(model).fit(np.repeat(X, counts, 0), np.repeat(y, counts))
        # The steps of the two L-BFGS runs agree to rounding.
        assert_allclose(predictions(weighted), predictions(repeated), rtol=1e-4)
        assert_allclose(weighted.elbo_, repeated.elbo_, rtol=1e-4)


def check_zero_weight_leaves_samples_out(model):
    weights = (np.arange(40) < 25).astype(float)
    spoiled = y.copy()
    spoiled[25:] = 1e9
    weighted = clone(model).fit(X, spoiled, sample_weight=weights)
    got, want = predictions(weighted), predictions(model.fit(X[:25], y[:25]))
    if getattr(model, "network", None) is None:
        assert_array_equal(got, want)
    else:  # a network's float32 features of a sample differ with its batch
        assert_allclose(got, want, rtol=1e-5)


def check_bad_weights_are_named(model):
    for weights, message in [
        (np.ones(39), r"sample_weight of shape \(39,\), expected \(40,\)"),
        (np.ones((40, 1)), r"sample_weight of shape \(40, 1\)"),
        (np.zeros(40), "sample_weight of zero for all samples"),
        (np.linspace(-1, 1, 40), "sample_weight with -1.0 in it"),
        (np.full(40, np.nan), "sample_weight contains NaN"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.fit(X, y, sample_weight=weights)


def check_partial_fit_in_any_split(model):
    for params in ({}, {"n_inducing_points": 6}):
        start = clone(model).set_params(**params).fit(X[:15], y[:15])
        kernel, points = start.kernel_, start.inducing_points_
        parts = np.split(np.arange(15, 40), [1, 9])
        models = [copy.deepcopy(start) for _ in range(3)]
        models[0].partial_fit(X[15:], y[15:])
        for part in parts:
            models[1].partial_fit(X[part], y[part])
        for part in reversed(parts):
            models[2].partial_fit(X[part], y[part])
        for updated in models:
            assert updated.kernel_ == kernel
            if len(points) < 15:
                assert_allclose(updated.inducing_points_, points)
            else:  # an exact GP stays one: all samples are its points
                assert updated.n_inducing_points_ == len(np.unique(X, axis=0))
            assert_allclose(predictions(updated), predictions(models[0]), **SAME)
            assert_allclose(updated.elbo_, models[0].elbo_, **SAME)
        std = [m.predict(X[15:], return_std=True)[1].mean() for m in (start, models[0])]
        assert std[1] < std[0]


def check_partial_fit_first_is_fit(model):
    first = clone(model).partial_fit(X, y)
    assert_array_equal(predictions(first), predictions(model.fit(X, y)))


def check_partial_fit_weights_are_repetitions(model):
    start = model.fit(X[:15], y[:15])
    counts = np.arange(25) % 3
    weighted = copy.deepcopy(start).partial_fit(X[15:], y[15:], sample_weight=counts)
    repeated = start.partial_fit(
        np.repeat(X[15:], counts, 0), np.repeat(y[15:], counts)
    )
    assert_allclose(predictions(weighted), predictions(repeated), **SAME)


# --- the predict family ---------------------------------------------------------


def check_predictions_agree(model):
    for target, params in ((y, {}), (Y, {"n_inducing_points": 6})):
        fitted = clone(model).set_params(**params).fit(X, target)
        mean, std = fitted.predict(X_NEW, return_std=True)
        close = {"rtol": 1e-9, "atol": 1e-9}
        assert_allclose(fitted.predict(X_NEW), mean, **close)

        components = fitted.predict_components(X_NEW)
        assert_array_equal(components[0], mean)
        assert_allclose(components[1] ** 2 + components[2] ** 2, std**2, rtol=1e-12)
        assert_allclose(components[2], np.broadcast_to(fitted.noise_std_, mean.shape))

        cov_mean, covariance = fitted.predict(X_NEW, return_cov=True)
        assert_allclose(cov_mean, mean, **close)
        diagonal = np.einsum("ii...->i...", covariance)
        assert_allclose(diagonal, std**2, rtol=1e-7)
        assert_allclose(covariance, np.swapaxes(covariance, 0, 1))

        levels, dof = [0.1, 0.5, 0.975], fitted.dof_
        assert 3.0 <= dof <= len(X)  # few samples: a Student t
        own = stats.t(dof, mean, std * np.sqrt(1.0 - 2.0 / dof))
        quantiles = fitted.predict_quantiles(X_NEW, levels)
        for column, level in enumerate(levels):
            want = own.ppf(level)
            assert_allclose(quantiles[:, column], want, **close)
        interval = fitted.predict_interval(X_NEW, coverage=0.9)
        assert_allclose(interval, fitted.predict_quantiles(X_NEW, [0.05, 0.95]))
        lower, upper = interval[:, 0], interval[:, 1]
        assert_allclose(own.cdf(upper) - own.cdf(lower), 0.9)


def check_batch_does_not_change_predictions(model):
    model.fit(X, y)
    alone = [predictions(model, row[None]) for row in X_NEW]
    # A network computes in float32; the order of its sums depends on the batch.
    together = predictions(model).reshape(2, 7).T
    assert_allclose(alone, together, rtol=1e-4, atol=1e-5)


def check_samples_have_the_predicted_moments(model):
    n_samples = 4000
    for target in (y, Y):
        model.fit(X, target)
        draws = model.sample_y(X_NEW, n_samples, random_state=1)
        mean, covariance = model.predict(X_NEW, return_cov=True)
        mean, covariance = mean.reshape(7, -1), covariance.reshape(7, 7, -1)
        for output, sample in enumerate(
            np.moveaxis(draws.reshape(7, -1, n_samples), 1, 0)
        ):
            C = covariance[:, :, output]
            std = np.sqrt(np.diag(C))
            # Five standard errors
            error = np.abs(sample.mean(axis=1) - mean[:, output])
            assert np.all(error < 5 * std / np.sqrt(n_samples))
            error = np.abs(np.cov(sample) - C)
            assert np.all(error < 5 * np.sqrt(2 / n_samples) * np.outer(std, std))
        again = model.sample_y(X_NEW, n_samples, random_state=1)
        assert_array_equal(again, draws)
        assert not np.array_equal(model.sample_y(X_NEW, n_samples, 2), draws)


def check_predicting_changes_nothing(model):
    model.fit(X, Y)
    before = dict(vars(model))
    arrays = copy.deepcopy(vars(model._head.posterior))
    new = X_NEW.copy()
    model.predict(new, return_std=True)
    model.predict(new, return_cov=True)
    model.predict_interval(new)
    model.sample_y(new, 3)
    model.predict_dist(new).mean()
    assert vars(model).keys() == before.keys()
    for name, value in before.items():
        assert getattr(model, name) is value, name
    for name, value in arrays.items():
        if name != "kernel":
            assert_array_equal(getattr(model._head.posterior, name), value)
    assert_array_equal(new, X_NEW)


def check_bad_arguments_of_predictions_are_named(model):
    model.fit(X, y)
    with pytest.raises(ValueError, match="return_std=True and return_cov=True"):
        model.predict(X_NEW, return_std=True, return_cov=True)
    for coverage in (0, 1, 1.5, "0.9"):
        with pytest.raises(ValueError, match="Got coverage="):
            model.predict_interval(X_NEW, coverage)
    for q in (0, 1, [0.5, 1.2], [[0.5]], np.nan):
        with pytest.raises(ValueError, match="Got q="):
            model.predict_quantiles(X_NEW, q)


def check_uncertainty_grows_away_from_the_data(model):
    model.set_params(kernel="rbf").fit(X, y)
    _, near, noise = model.predict_components(X)
    far = model.predict_components(np.full((1, 4), 40.0))[1]
    assert far[0] > near.max()
    assert np.ptp(noise) == 0.0


def check_fitted_attributes(model):
    model.set_params(n_inducing_points=10).fit(X, y)
    assert isinstance(model.kernel_, gpk.Kernel)
    assert model.n_inducing_points_ == len(model.inducing_points_) == 10
    assert isinstance(model.noise_std_, float)
    assert isinstance(model.elbo_, float)
    assert model.elbo_curve_.shape == (model.n_iter_ + 1,)
    assert model.n_features_in_ == 4


CHECKS = {
    name: value
    for name, value in {**vars(battery_inputs), **globals()}.items()
    if name.startswith("check_")
}
