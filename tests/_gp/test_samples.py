"""Test how training samples are grouped."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_unlocknn._gp.encoded import Standardisation
from sklearn_unlocknn._gp.samples import RawSamples, distinct_rows


@pytest.mark.parametrize("unit", [5e-324, 1e-300, 1.0, 0.1, 1e300])
@pytest.mark.parametrize("shape", [(1, 1), (60, 1), (60, 2), (60, 3), (500, 5)])
def test_distinct_rows_equal_those_of_numpy(shape, unit):
    rng = np.random.default_rng(0)
    X = unit * rng.integers(-3, 4, size=shape)
    X[rng.random(shape) < 0.1] = -0.0
    distinct, index = distinct_rows(X)
    want, where = np.unique(X, axis=0, return_inverse=True)
    assert_array_equal(distinct, want)
    assert_array_equal(index, where.ravel())
    assert_array_equal(distinct[index], X)


def test_copies_are_counted_among_all_samples():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, (3000, 2)).astype(np.float32)
    t = rng.integers(0, 2, (3000, 2)).astype(float)
    weights = rng.uniform(0.5, 2.0, 3000)
    scaling = Standardisation(np.zeros(2), np.ones(2), "zero")
    index = np.array([5, 2999, 0, 1200])
    some = RawSamples(X, t, weights, 2, scaling).with_copies(index)
    for i, got in zip(index, some.copies, strict=True):
        same = (X[i] == X).all(axis=1) & (t == t[i]).all(axis=1)
        assert got == pytest.approx(weights[same].sum() / weights[i])
    assert_array_equal(some.take([1, 3]).copies, some.copies[[1, 3]])


def test_samples_with_gaps_are_counted():
    X = np.tile([[np.nan, 1.0], [2.0, 1.0], [3.0, 1.0]], (4, 1))
    scaling = Standardisation(np.zeros(2), np.ones(2), "zero", gaps=True)
    raw = RawSamples(X, np.zeros((12, 1)), np.ones(12), 1, scaling)
    assert_array_equal(raw.with_copies(np.arange(3)).copies, [4.0, 4.0, 4.0])
