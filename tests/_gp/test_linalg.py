"""Test matrix products by SciPy's BLAS against NumPy's."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_unlocknn._gp.linalg import product

ORDERS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": lambda A: np.repeat(A, 2, axis=-1)[..., ::2],
}


@pytest.mark.parametrize("right", ORDERS)
@pytest.mark.parametrize("left", ORDERS)
@pytest.mark.parametrize(
    ("n", "k", "m"), [(7, 5, 3), (7, 5, 1), (1, 5, 3), (7, 1, 3), (7, 5, None)]
)
def test_product_is_numpy_s(left, right, n, k, m):
    rng = np.random.default_rng(0)
    A = ORDERS[left](rng.normal(size=(n, k)))
    B = ORDERS[right](rng.normal(size=k if m is None else (k, m)))
    before = A.copy(), B.copy()
    C = product(A, B, -2.0)
    assert C.shape == (A @ B).shape
    assert C.flags.c_contiguous
    assert_allclose(C, -2.0 * A @ B, rtol=1e-13, atol=1e-14)
    assert_array_equal(A, before[0])
    assert_array_equal(B, before[1])


@pytest.mark.parametrize("n", [1, 2, 23, 24, 100])
def test_product_of_a_row_does_not_depend_on_the_other_rows(n):
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(101, 333)), rng.normal(size=333)
    assert_array_equal(product(A[:n], b), product(A, b)[:n])
    assert_array_equal(product(A[-n:], b), product(A, b)[-n:])
