"""Test encoded batches, their affine target maps and the standardisation."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._gp.encoded import Encoded, scales

rng = np.random.default_rng(0)


@pytest.mark.parametrize("with_output", [False, True])
@pytest.mark.parametrize("extensive", [False, True])
def test_target_map_is_affine_and_has_its_density(with_output, extensive):
    offset = rng.normal(size=(5, 2)) if with_output else None
    scale = rng.integers(1, 9, size=(5, 1)).astype(float) if extensive else None
    encoded = Encoded(np.zeros((5, 3)), offset, scale)
    target = encoded.target_map(np.array([3.0, -1.0]), np.array([2.0, 0.5]))
    y = rng.normal(size=(5, 2))
    t = target.forward(y)
    assert_allclose(target.mean(t), y, rtol=1e-13)
    std = target.std(np.ones((5, 1)))
    weights = np.arange(5.0)
    want = weights @ stats.norm.logpdf(y, target.mean(0 * t), std).sum(axis=1)
    got = weights @ stats.norm.logpdf(t).sum(axis=1) - target.log_det(weights)
    assert_allclose(got, want, rtol=1e-12)


def test_values_of_valid_samples_are_put_in_their_places():
    encoded = Encoded(np.zeros((2, 1)), index=np.array([0, 2]), n_all=3)
    assert_array_equal(encoded.pick(np.arange(3)), [0, 2])
    assert_array_equal(encoded.scatter_rows(np.array([1.0, 2.0])), [1, np.nan, 2])
    square = encoded.scatter_rows(np.ones((2, 2)), 2)
    assert np.isnan(square).sum() == 5
    assert square[0, 2] == 1


@pytest.mark.parametrize(("dtype", "constant"), [(np.float32, True), (float, False)])
def test_columns_are_constant_at_the_resolution_of_their_type(dtype, constant):
    rounding = 1e3 + 1e-4 * rng.normal(size=200)
    X = np.column_stack([rng.normal(size=200), rounding])
    _, scale = scales(X, np.ones(200), dtype=dtype)
    assert bool(scale[1] == 1.0) is constant
    X = X.astype(dtype)
    model = VGPRegressor(random_state=0, max_iter=2).fit(X, X[:, 0])
    X[:, 1] += dtype(2e-4)  # the last digit of float32
    assert np.abs(model.predict(X) - X[:, 0]).max() < 0.1
