"""A fit that ends at a bound warns, as GaussianProcessRegressor's does."""

import re
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as gpk

from sklearn_unlocknn import VGPRegressor

rng = np.random.default_rng(0)
X = rng.normal(size=(80, 2))
SMOOTH = np.sin(X[:, 0]) + X[:, 1]
NOISE = 0.3 * rng.normal(size=80)
IRRELEVANT = np.sin(3.0 * X[:, 0]) + NOISE
NARROW_ARD = gpk.RBF([1.0, 1.0], (0.1, 3.0)) + gpk.WhiteKernel(0.1)


def bounds_named(estimator, X, y):
    """Return (side, hyperparameter) of the bounds that a fit warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        estimator.fit(X, y)
    text = "\n".join(str(one.message) for one in caught)
    ours = re.findall(r"the (lower|upper) bound \S+ of (\w+)", text)
    theirs = re.findall(r"parameter (\w+) is close to the specified (\w+) bound", text)
    return {*ours, *((side, name) for name, side in theirs)}


# --- kernel objects: as scikit-learn ----------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "y"),
    [
        (1.0 * gpk.RBF() + gpk.WhiteKernel(), SMOOTH),
        (1.0 * gpk.RBF() + gpk.WhiteKernel(), SMOOTH + NOISE),
        (gpk.RBF(1.0, (0.99, 1.01)) + gpk.WhiteKernel(0.3, (0.25, 0.3)), SMOOTH),
        (NARROW_ARD, IRRELEVANT),
        (gpk.ConstantKernel(1.0, "fixed") * gpk.RBF() + gpk.WhiteKernel(), SMOOTH),
    ],
    ids=["no noise", "noise", "narrow", "irrelevant feature", "fixed"],
)
def test_bounds_of_a_kernel_object_are_those_that_scikit_learn_names(kernel, y):
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    theirs = GaussianProcessRegressor(kernel, normalize_y=True, alpha=0)
    want = bounds_named(theirs, Z, y)
    model = VGPRegressor(kernel, max_iter=200, mean="zero")
    assert bounds_named(model, X, y) == want


def test_message_has_bound_name_and_remedy_at_the_callers_line():
    message = (
        r"ended at the upper bound 3\.0 of k1__length_scale \(1 of 2\) in the "
        r"kernel RBF.*kernel with wider bounds.*\"fixed\" as"
    )
    with pytest.warns(ConvergenceWarning, match=message) as caught:
        VGPRegressor(NARROW_ARD).fit(X, IRRELEVANT)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_clipped_start_is_named():
    """A level below the default bound of WhiteKernel is raised to it by a fit."""
    kernel = 1.0 * gpk.RBF() + gpk.WhiteKernel(1e-8)
    model = VGPRegressor(kernel)
    assert ("lower", "k2__noise_level") in bounds_named(model, X, SMOOTH)


def test_no_warning_where_nothing_is_fitted():
    kernel = gpk.RBF(1.0, (1.0, 2.0)) + gpk.WhiteKernel(0.1, (0.1, 1.0))
    assert not bounds_named(VGPRegressor(kernel, max_iter=0), X, SMOOTH)


# --- names: only bounds that limit --------------------------------------------------


@pytest.mark.parametrize("kernel", [None, "rbf_ard", "rational_quadratic"])
@pytest.mark.parametrize(
    "y", [SMOOTH, SMOOTH + NOISE, NOISE, IRRELEVANT, np.full(80, 3.0)],
    ids=["no noise", "noise", "noise alone", "irrelevant feature", "constant"],
)  # fmt: skip
def test_terms_that_vanish_do_not_warn(kernel, y):
    assert not bounds_named(VGPRegressor(kernel, max_iter=200), X, y)


def test_variance_of_a_name_does_not_warn():
    """Fit a linear function by a length scale and a variance that grow without end."""
    X = np.random.default_rng(0).normal(size=(200, 3))
    y = X @ [5.0, 10.0, 15.0] + 0.5 * np.random.default_rng(1).normal(size=200)
    model = VGPRegressor("rbf", normalize_y=False)  # without a prior of the variance
    assert not bounds_named(model, X, y)
    assert model.kernel_.k1.constant_value > 9e3


@pytest.mark.parametrize(
    ("scale", "side"), [(1e3, "upper"), (1e-4, "lower")], ids=["large", "small"]
)
def test_targets_far_from_unit_scale_warn_without_standardisation(scale, side):
    y = scale * (SMOOTH + NOISE)
    model = VGPRegressor("rbf", normalize_y=False)
    with pytest.warns(ConvergenceWarning, match="normalize_y=True"):
        model.fit(X, y)
    assert (side, "noise_level") in bounds_named(model, X, y)
    assert not bounds_named(VGPRegressor("rbf"), X, y)


def test_noise_that_is_added_to_a_kernel_object_follows_the_rule_of_names():
    kernel = gpk.ConstantKernel(1.0, (1e-9, 1e9)) * gpk.RBF(1.0, "fixed")
    assert not bounds_named(VGPRegressor(kernel), X, SMOOTH)
    model = VGPRegressor(kernel, normalize_y=False)
    assert ("upper", "noise_level") in bounds_named(model, X, 1e3 * (SMOOTH + NOISE))
