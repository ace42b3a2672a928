"""Test matrix products by SciPy's BLAS against NumPy's."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from threadpoolctl import threadpool_info, threadpool_limits

from sklearn_unlocknn._gp import linalg
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


def test_blas_leaves_processors_to_busy_processes(monkeypatch):
    def n_threads(busy, n_processors=4):
        monkeypatch.setattr(linalg, "_busy_elsewhere", lambda: busy)
        monkeypatch.setattr(linalg, "cpu_count", lambda: n_processors)
        with threadpool_limits(2, user_api="blas"), linalg.free_threads():
            pools = [p for p in threadpool_info() if p["user_api"] == "blas"]
        return {pool["num_threads"] for pool in pools}

    assert n_threads(0, 1) == n_threads(3) == n_threads(9) == {1}
    assert n_threads(0) == n_threads(2) == {2}


def test_fits_in_threads_leave_the_limit_of_blas_as_it_was(monkeypatch):
    monkeypatch.setattr(linalg, "_busy_elsewhere", lambda: 9)
    with threadpool_limits(2, user_api="blas"):
        one, other = linalg.free_threads(), linalg.free_threads()
        one.__enter__()
        other.__enter__()
        one.__exit__(None, None, None)
        other.__exit__(None, None, None)
        pools = [p for p in threadpool_info() if p["user_api"] == "blas"]
    assert {pool["num_threads"] for pool in pools} == {2}


def test_a_busy_process_is_counted():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        assert any(linalg._busy_elsewhere() for _ in range(1000))
        process.kill()


@pytest.mark.parametrize("k", [1, 2, 5])
def test_solve_lower_is_numpys(k):
    rng = np.random.default_rng(0)
    L = np.asfortranarray(np.tril(rng.normal(size=(9, 9))) + 9.0 * np.eye(9))
    B = np.asfortranarray(rng.normal(size=(9, k)))
    before = B.copy()
    assert_allclose(linalg.solve_lower(L, B), np.linalg.solve(L, B), rtol=1e-12)
    assert_array_equal(B, before)
    got = linalg.solve_lower(L, B, overwrite=True)
    assert_allclose(got, np.linalg.solve(L, before), rtol=1e-12)
