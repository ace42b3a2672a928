"""Test kernel shorthand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.gaussian_process import kernels as gpk

from sklearn_unlocknn.kernels import KERNEL_NAMES, make_kernel

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
