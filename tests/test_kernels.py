"""Test kernel shorthand."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as gpk
from sklearn.model_selection import GridSearchCV

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.kernels import KERNEL_NAMES, OnFeatures, TFPKernel, make_kernel

X = np.random.default_rng(0).normal(size=(6, 3))
LEAVES = {
    "rbf": gpk.RBF,
    "matern12": gpk.Matern,
    "matern32": gpk.Matern,
    "matern52": gpk.Matern,
    "rational_quadratic": gpk.RationalQuadratic,
    "linear": gpk.DotProduct,
}


def leaves(kernel):
    if isinstance(kernel, gpk.KernelOperator):
        return leaves(kernel.k1) + leaves(kernel.k2)
    return [kernel]


def test_every_name_is_tested_here():
    assert set(LEAVES) == set(KERNEL_NAMES)


@pytest.mark.parametrize("name", KERNEL_NAMES)
def test_name_is_a_variance_times_the_kernel(name):
    variance, kernel = leaves(make_kernel(name, 3))
    assert type(variance) is gpk.ConstantKernel
    assert type(kernel) is LEAVES[name]
    assert not variance.hyperparameter_constant_value.fixed
    expected_nu = {"matern12": 0.5, "matern32": 1.5, "matern52": 2.5}
    if name in expected_nu:
        assert kernel.nu == expected_nu[name]
    if hasattr(kernel, "length_scale"):
        assert np.ndim(kernel.length_scale) == 0
    assert np.linalg.eigvalsh(make_kernel(name, 3)(X)).min() > -1e-10


@pytest.mark.parametrize("name", ["rbf", "matern12", "matern32", "matern52"])
def test_ard_has_a_length_scale_per_feature(name):
    kernel = leaves(make_kernel(f"{name}_ard", 3))[1]
    assert np.shape(kernel.length_scale) == (3,)
    isotropic = make_kernel(name, 3)
    assert_allclose(make_kernel(f"{name}_ard", 3)(X), isotropic(X))


def test_times_binds_tighter_than_plus_and_spaces_do_not_count():
    spaced = make_kernel(" rbf * linear + matern12", 3)
    assert spaced == make_kernel("rbf*linear+matern12", 3)
    assert type(spaced) is gpk.Sum
    kinds = [type(leaf).__name__ for leaf in leaves(spaced)]
    constant = "ConstantKernel"
    assert kinds == [constant, "RBF", "DotProduct", constant, "Matern"]


def test_kernel_objects_are_returned_as_they_are():
    kernel = gpk.RBF(2.0) + gpk.WhiteKernel()
    assert make_kernel(kernel, 3) is kernel
    assert isinstance(make_kernel(None, 3), gpk.Kernel)


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        ("RBF", "'RBF'"),
        ("rbf + matern", "'matern'"),
        ("linear_ard", "'linear_ard'"),
        ("rational_quadratic_ard", "'rational_quadratic_ard'"),
        ("rbf +", "''"),
        ("", "''"),
    ],
)
def test_unknown_names_are_named(kernel, name):
    with pytest.raises(ValueError, match=f"Got the kernel name {name}.*'matern52'"):
        make_kernel(kernel, 3)


@pytest.mark.parametrize("kernel", [3, ["rbf"], gpk.RBF])
def test_other_types_raise(kernel):
    with pytest.raises(
        TypeError, match=r"Got kernel=.* of type .*, expected an object"
    ):
        make_kernel(kernel, 3)


# --- kernels on some of the features ------------------------------------------------

RBF, Dot, C = gpk.RBF, gpk.DotProduct, gpk.ConstantKernel
rng = np.random.default_rng(1)
FEATURES = rng.normal(size=(60, 5)) * [1.0, 3.0, 0.5, 10.0, 1.0]
TARGET = np.sin(FEATURES[:, 0]) + 0.1 * FEATURES[:, 3] + 0.05 * rng.normal(size=60)


@pytest.mark.parametrize("columns", [slice(1, 3), [1, 2], [2, 0], 1, [-1]])
def test_kernel_on_features_is_that_of_the_columns(columns):
    kernel = OnFeatures(RBF(0.8), columns)
    some = X[:, columns].reshape(len(X), -1)
    K, gradient = kernel(X, eval_gradient=True)
    want, want_gradient = RBF(0.8)(some, eval_gradient=True)
    assert_allclose(K, want)
    assert_allclose(gradient, want_gradient)
    assert_allclose(kernel(X, X[:2]), want[:, :2])
    assert_allclose(kernel.diag(X), 1.0)
    assert kernel.is_stationary()
    assert not OnFeatures(Dot(), columns).is_stationary()


def test_kernel_on_features_has_the_contract_of_scikit_learns_kernels():
    kernel = C(2.0) * OnFeatures(RBF([1.0, 2.0]), [0, 1])
    kernel = kernel + OnFeatures(Dot(), slice(2, 5), "together")
    assert clone(kernel) == kernel
    assert "OnFeatures(RBF(length_scale=[1, 2]), [0, 1])" in repr(kernel)
    assert "DotProduct(sigma_0=1), slice(2, 5, None), 'together')" in repr(kernel)
    names = [h.name for h in kernel.hyperparameters]
    assert names[1:] == ["k1__k2__kernel__length_scale", "k2__kernel__sigma_0"]
    moved = kernel.clone_with_theta(kernel.theta + 0.1)
    assert_allclose(moved.theta, kernel.theta + 0.1)
    assert moved != kernel
    assert moved.bounds.shape == (4, 2)
    changed = clone(kernel).set_params(k2__kernel__sigma_0=3.0, k2__columns=[4])
    assert changed.k2.kernel.sigma_0 == 3.0
    assert changed.k2.columns == [4]
    assert pickle.loads(pickle.dumps(kernel)) == kernel
    arrays = OnFeatures(RBF(np.array([1.0, 2.0])), [0, 1])
    assert clone(arrays) == arrays


def test_regressor_and_scikit_learns_agree_on_blocks_of_features():
    kernel = C(1.0) * OnFeatures(RBF([1.0, 1.0]), [0, 3])
    kernel = kernel + 0.3 * OnFeatures(Dot(), slice(2, 5)) + gpk.WhiteKernel(0.1)
    model = VGPRegressor(kernel, mean="zero").fit(FEATURES, TARGET)
    scaled = (FEATURES - FEATURES.mean(axis=0)) / FEATURES.std(axis=0)
    scikit = GaussianProcessRegressor(model.kernel_, optimizer=None, normalize_y=True)
    scikit.fit(scaled, TARGET)
    mean, std = model.predict(FEATURES[:9], return_std=True)
    assert_allclose(mean, scikit.predict(scaled[:9]), rtol=1e-5, atol=1e-6)
    witness = model.predict_dist(FEATURES[:9])
    assert_allclose(witness.mean(), mean, rtol=1e-6)
    assert_allclose(witness.stddev(), std, rtol=1e-5)


def test_columns_scaled_together_share_one_scale():
    kernel = OnFeatures(Dot(0.0, "fixed"), slice(0, 4), "together") + gpk.WhiteKernel()
    fractions = FEATURES.copy()
    fractions[:, 2] = 0.0  # an element that no training sample has
    model = VGPRegressor(kernel, max_iter=0).fit(fractions, TARGET)
    scale = np.sqrt(np.mean(fractions[:, :4].var(axis=0)))
    scaled = (FEATURES - fractions.mean(axis=0)) / scale
    *_, epistemic, _ = model.predict_components(FEATURES)
    # Prior and posterior variance of a linear model on the scaled columns
    A = (fractions - fractions.mean(axis=0))[:, :4] / scale
    precision = np.eye(4) + A.T @ A
    want = np.einsum(
        "ij,ij->i", scaled[:, :4] @ np.linalg.inv(precision), scaled[:, :4]
    )
    assert_allclose(epistemic**2 / TARGET.var(), want, rtol=1e-6)


def test_names_of_columns_are_those_of_the_frame():
    frame = pd.DataFrame(FEATURES, columns=list("abcde"))
    by_name = VGPRegressor("rbf_ard[a, d] + linear[c]", random_state=0)
    by_place = VGPRegressor("rbf_ard[0, 3] + linear[2:3]", random_state=0)
    by_name.fit(frame, TARGET)
    by_place.fit(FEATURES, TARGET)
    assert_allclose(by_name.kernel_.theta, by_place.kernel_.theta)
    assert by_name.kernel_.k1.k2.columns == [0, 3]
    objects = C(1.0) * OnFeatures(RBF(), ["a", "b"])
    assert VGPRegressor(objects).fit(frame, TARGET).kernel_.k2.columns == slice(0, 2)
    assert objects.k2.columns == ["a", "b"]


@pytest.mark.filterwarnings("ignore:The fit ended at")
def test_columns_are_searched():
    kernel = OnFeatures(RBF(), [0]) + gpk.WhiteKernel(0.1, "fixed")
    grid = {"kernel__k1__columns": [[1, 2], [0, 3]]}
    search = GridSearchCV(VGPRegressor(kernel), grid, cv=3).fit(FEATURES, TARGET)
    assert search.best_params_ == {"kernel__k1__columns": [0, 3]}


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("rbf[density]", r"'density' is not a known name. Names: \['a', 'b', 'c'"),
        ("rbf[7]", r"columns \[7\] in a kernel on 5 features, expected"),
        ("rbf[0, 0]", "contain a column twice"),
        ("rbf[3:3]", "contain no column"),
        ("rbf[0:2", "columns in one pair of brackets"),
        (OnFeatures(RBF(), [True, False]), "turns a mask into positions"),
        (OnFeatures(RBF(), 0.5), "columns 0.5 in a kernel on 5 features"),
        (OnFeatures(RBF(), [0], "none"), "scaling='none'.*'each', 'together'"),
        (OnFeatures(RBF() + OnFeatures(RBF(), [0]), [0]), "inside another one"),
    ],
)
def test_wrong_columns_are_named(kernel, message):
    frame = pd.DataFrame(FEATURES, columns=list("abcde"))
    with pytest.raises(ValueError, match=message):
        VGPRegressor(kernel).fit(frame, TARGET)


# --- kernels of TFP -----------------------------------------------------------------


def tfp_kernels():
    import tensorflow_probability as tfp

    return tfp.math.psd_kernels


def test_tfp_kernel_is_fitted_as_scikit_learns():
    tfpk = tfp_kernels()
    ours = VGPRegressor(1.0 * gpk.Matern(1.0, nu=2.5)).fit(FEATURES, TARGET)
    theirs = VGPRegressor(tfpk.MaternFiveHalves(1.0, 1.0)).fit(FEATURES, TARGET)
    assert_allclose(theirs.elbo_, ours.elbo_, rtol=1e-4)
    assert_allclose(theirs.kernel_.values[1], ours.kernel_.k2.length_scale, rtol=0.01)
    mean, std = theirs.predict(FEATURES[:5], return_std=True)
    joint = theirs.predict_dist(FEATURES[:5])
    assert_allclose(joint.mean(), mean, rtol=1e-6)
    assert_allclose(joint.stddev(), std, rtol=1e-6)


def test_tfp_kernel_has_the_contract_of_scikit_learns_kernels():
    tfpk = tfp_kernels()
    scaled = tfpk.FeatureScaled(tfpk.MaternOneHalf(1.5), np.ones(3, "f"))
    kernel = TFPKernel(scaled + tfpk.Linear(0.5) * tfpk.Polynomial(exponent=2.0))
    # amplitude, three scales, amplitude of the bias: the exponent is fixed
    assert_allclose(kernel.values, [1.5, 1.0, 1.0, 1.0, 0.5])
    moved = kernel.clone_with_theta(kernel.theta + np.arange(5))
    assert_allclose(moved.theta, kernel.theta + np.arange(5))
    assert_allclose(kernel.values, [1.5, 1.0, 1.0, 1.0, 0.5])
    assert moved.bounds.shape == (5, 2)
    for twin in (copy.deepcopy(moved), pickle.loads(pickle.dumps(moved))):
        assert_allclose(twin(X), moved(X))
        assert_allclose(np.diag(twin(X)), moved.diag(X))
    _, gradient = moved(X, eval_gradient=True)
    step = 1e-4 * np.eye(5)[1]
    above, below = (moved.clone_with_theta(moved.theta + s)(X) for s in (step, -step))
    assert_allclose(gradient[..., 1], (above - below) / 2e-4, rtol=1e-5, atol=1e-8)


def test_tfp_kernel_beside_others():
    tfpk = tfp_kernels()
    kernel = C(1.0) * OnFeatures(
        TFPKernel(tfpk.RationalQuadratic(1.0, 1.0, None, 2.0)), 0
    )
    model = clone(VGPRegressor(kernel + Dot())).fit(FEATURES, TARGET)
    joint = model.predict_dist(FEATURES[:5])
    assert_allclose(joint.mean(), model.predict(FEATURES[:5]), rtol=1e-5)
    same = pickle.loads(pickle.dumps(model))
    assert_allclose(same.predict(FEATURES[:5]), model.predict(FEATURES[:5]))
