"""Test hard data, kinds of input and invalid input: a part of `battery`."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import kernels as gpk

_rng = np.random.default_rng(0)
X = _rng.normal(size=(40, 4))
X_NEW = _rng.normal(size=(7, 4))
y = np.sin(X[:, 0]) + 0.5 * X[:, 1] + 0.1 * _rng.normal(size=40)
Y = np.column_stack([y, 10.0 * X[:, 2] - 3.0 * y + 50.0])
# Sums in another order, amplified by a covariance of condition 1e6 at most.
SAME = {"rtol": 1e-7, "atol": 1e-7}


def predictions(model, X_new=X_NEW):
    return np.hstack([part.ravel() for part in model.predict(X_new, return_std=True)])


def assert_sound(model, X_new=X_NEW, *, shape=()):
    """Check for finite means and positive stds of the right shape."""
    mean, std = model.predict(X_new, return_std=True)
    assert mean.shape == std.shape == (len(X_new), *shape)
    assert np.all(np.isfinite(mean))
    assert np.all(np.isfinite(std))
    assert np.all(std > 0)


# --- hard data ------------------------------------------------------------------


def check_few_samples(model):
    for n in (1, 2, 3):
        fitted = clone(model).fit(X[:n], y[:n])
        assert_sound(fitted)
        assert fitted.n_inducing_points_ <= n
        if n == 1:
            assert_allclose(fitted.predict(X[:1]), y[:1], atol=1.0)


def check_constant_target(model):
    for value in (7.5, 0.0):
        fitted = clone(model).fit(X, np.full(40, value))
        assert_sound(fitted)
        assert_allclose(fitted.predict(X), value, atol=1e-6)


def check_constant_column(model):
    flat = X.copy()
    flat[:, 2] = 3.1
    model.fit(flat, y)
    assert_sound(model, flat)
    assert np.corrcoef(model.predict(flat), y)[0, 1] > 0.5


def check_repeated_samples(model):
    for same, n_distinct in ((X[:10], 10), (np.ones((1, 4)), 1)):
        fitted = clone(model).fit(np.tile(same, (40 // n_distinct, 1)), y)
        assert fitted.n_inducing_points_ <= n_distinct
        assert_sound(fitted)
        if n_distinct == 1:
            assert_allclose(fitted.predict(np.ones((3, 4))), y.mean(), atol=0.2)
    close = np.vstack([X[:20], X[:20] + 1e-9])
    assert_sound(model.set_params(n_inducing_points=40).fit(close, y))


def check_units_of_the_target_do_not_matter(model):
    small = clone(model).fit(X, y)
    large = clone(model).fit(X, 1e6 * y + 3e7)
    mean, std = small.predict(X_NEW, return_std=True)
    large_mean, large_std = large.predict(X_NEW, return_std=True)
    # Targets agree to 1e-15 3e7 / 1e6, and L-BFGS stops at its own tolerance.
    assert_allclose((large_mean - 3e7) / 1e6, mean, atol=1e-3)
    assert_allclose(large_std / 1e6, std, rtol=1e-2)
    assert_allclose(large.noise_std_ / 1e6, small.noise_std_, rtol=1e-2)
    assert_allclose(large.elbo_, small.elbo_ - 40 * np.log(1e6), atol=1e-2)


# --- kinds of input -------------------------------------------------------------


def check_dtypes(model):
    whole, target = np.round(3 * X), np.round(5 * y)
    want = predictions(clone(model).fit(whole, target), whole[:5])
    for dtype in (np.float32, np.int64, np.int32, object):
        other = whole.astype(dtype)
        got = predictions(clone(model).fit(other, target.astype(dtype)), other[:5])
        assert_array_equal(got, want)
    listed = clone(model).fit(whole.tolist(), target.tolist())
    assert_array_equal(predictions(listed, whole[:5].tolist()), want)


def check_frame_and_series_with_an_index_of_their_own(model):
    want = predictions(clone(model).fit(X, y))
    index = np.arange(40, 0, -1)
    frame = pd.DataFrame(X, columns=list("abcd"), index=index)
    model.fit(frame, pd.Series(y, index=index[::-1]))
    assert_array_equal(model.feature_names_in_, list("abcd"))
    new = pd.DataFrame(X_NEW, columns=list("abcd"))
    assert_array_equal(predictions(model, new), want)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(new[list("bacd")])


def check_bad_input_is_named(model):
    holes = X.copy()
    holes[3, 1] = np.nan
    endless = X.copy()
    endless[3, 1] = np.inf
    bad_y = y.copy()
    bad_y[2] = np.nan
    cases = [
        (holes, y, "NaN"),
        (endless, y, "infinity"),
        (X, bad_y, "y contains NaN"),
        (X, y[:-1], "inconsistent numbers of samples"),
        (X, None, "requires y to be passed"),
        (X[:0], y[:0], "0 sample"),
        (X, np.zeros((40, 0)), "y"),
        (X.astype(str) + "a", y, "could not convert|string|numeric"),
        (sparse.csr_array(X), y, "[Ss]parse"),
    ]
    for bad_X, bad_target, message in cases:
        with pytest.raises((ValueError, TypeError), match=message):
            clone(model).fit(bad_X, bad_target)
    model.fit(X, y)
    for bad_X, message in [
        (holes, "NaN"),
        (endless, "infinity"),
        (X[:, :3], "3 features"),
        (X[0], "2D array|1D|dim"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.predict(bad_X)
        with pytest.raises(ValueError, match=message):
            model.partial_fit(bad_X, y[: len(bad_X)])


def check_failed_fit_leaves_the_model_whole(model):
    failing = clone(model).set_params(kernel="nonsense")
    with pytest.raises(ValueError, match="nonsense"):
        failing.fit(X, Y)
    with pytest.raises(NotFittedError):
        failing.predict(X_NEW)
    model.fit(X, y)
    before = predictions(model)
    model.set_params(kernel="nonsense")
    with pytest.raises(ValueError, match="nonsense"):
        model.fit(X, Y)
    assert_array_equal(predictions(model), before)


def check_failed_update_leaves_the_model_whole(model):
    model.fit(X, y)
    before = predictions(model)
    for rows, target, message in [
        (X, Y, "Got y with 2 outputs, expected 1"),
        (X, y[:-1], "inconsistent"),
        (X[:, :2], y, "2 features"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.partial_fit(rows, target)
    with pytest.raises(ValueError, match=r"sample_weight of shape \(3,\)"):
        model.partial_fit(X, y, sample_weight=np.ones(3))
    assert_array_equal(predictions(model), before)


def check_bad_parameters_are_named(model):
    cases = [
        ({"kernel": "rfb"}, ValueError, "kernel name 'rfb'"),
        ({"kernel": 7}, TypeError, "kernel=7"),
        ({"kernel": gpk.PairwiseKernel()}, ValueError, "type PairwiseKernel"),
        ({"inducing_init": "grid"}, ValueError, "inducing_init='grid'.*'kmeans'"),
        ({"inducing_init": np.ones((3, 99))}, ValueError, r"shape \(3, 99\), expect"),
        ({"mean": "median"}, ValueError, "mean='median'.*'linear'"),
        ({"mean": None}, ValueError, "mean=None"),
        ({"n_inducing_points": 0}, ValueError, "n_inducing_points=0"),
        ({"n_inducing_points": 1.5}, ValueError, "n_inducing_points=1.5"),
        ({"n_inducing_points": True}, ValueError, "n_inducing_points=True"),
        ({"n_inducing_points": "all"}, ValueError, "n_inducing_points='all'"),
        ({"max_iter": -1}, ValueError, "max_iter=-1"),
        ({"max_iter": 2.5}, ValueError, "max_iter=2.5"),
        ({"hyper_subset_size": 1}, ValueError, "hyper_subset_size=1"),
        (
            {"hyper_subset_size": "all"},
            ValueError,
            "hyper_subset_size='all'.*or 'auto'",
        ),
    ]
    for params, error, message in cases:
        wrong = clone(model).set_params(**params)
        with pytest.raises(error, match=message):
            wrong.fit(X, y)


def check_unfitted_model_raises(model):
    methods = ("predict", "predict_components", "predict_interval", "sample_y")
    for method in (*methods, "domain_score", "nearest_training"):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            getattr(model, method)(X)
