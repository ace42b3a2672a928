"""Test how training samples are grouped."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_unlocknn._gp.samples import distinct_rows


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
