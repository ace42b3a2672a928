"""Test encoded batches, their affine target maps and the standardisation."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._gp import encoded as gp_encoded
from sklearn_unlocknn._gp.encoded import Encoded, Standardisation, blocks, scales
from sklearn_unlocknn._gp.samples import RawSamples

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
    assert_allclose(target.scale * t + target.shift, y, rtol=1e-13)
    weights = np.arange(5.0)
    want = weights @ stats.norm.logpdf(y, *target).sum(axis=1)
    got = weights @ stats.norm.logpdf(t).sum(axis=1) - target.log_det(weights)
    assert_allclose(got, want, rtol=1e-12)


def test_values_of_valid_samples_are_put_in_their_places():
    encoded = Encoded(np.zeros((2, 1)), index=np.array([0, 2]), n=3)
    assert_array_equal(encoded.pick(np.arange(3)), [0, 2])
    assert_array_equal(encoded.scatter_rows(np.array([1.0, 2.0])), [1, np.nan, 2])
    square = encoded.scatter_rows(np.ones((2, 2)), 2)
    assert np.isnan(square).sum() == 5
    assert square[0, 2] == 1


@pytest.mark.parametrize(("dtype", "constant"), [(np.float32, True), (float, False)])
def test_columns_are_constant_at_the_resolution_of_their_type(dtype, constant):
    rounding = 1e3 + 1e-4 * rng.normal(size=200)
    X = np.column_stack([rng.normal(size=200), rounding])
    _, scale, _ = scales(X, np.ones(200), dtype=dtype)
    assert bool(scale[1] == 1.0) is constant
    X = X.astype(dtype)
    model = VGPRegressor(random_state=0).fit(X, X[:, 0])
    X[:, 1] += dtype(2e-4)  # the last digit of float32
    assert np.abs(model.predict(X) - X[:, 0]).max() < 0.1


def test_blocks_hold_all_rows_in_order():
    for n in (0, 1, 7, 8, 9):
        parts = [np.arange(n)[part] for part in blocks(n, 2, 8 * 2 * 4, least=1)]
        assert_array_equal(np.concatenate(parts), np.arange(n))
        assert [len(part) for part in parts[:-1]] == [4] * (len(parts) - 1)
        assert len(parts) == max(1, -(-n // 4))
    assert [part.stop for part in blocks(9, 100, 8, least=3)] == [3, 6, 9]
    assert [part.stop for part in blocks(9, 0, 8 * 5, least=1)] == [5, 9]
    assert list(blocks(1, 1, 8, least=1)) == [slice(0, 1)]
    assert len(list(blocks(1025, 10**9))) == 2


@pytest.mark.parametrize("n_bytes", [1, 2**25])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scales_are_weighted_means_and_stds(n_bytes, dtype, monkeypatch):
    monkeypatch.setattr(gp_encoded, "BLOCK_BYTES", n_bytes)
    shift = np.array([0.0, 1e-9, 1e10, 0.1, 1e6 + 0.1])
    values = rng.normal(size=(2500, 5)) * [1.0, 1e-9, 1e9, 0.0, 0.0] + shift
    values = values.astype(dtype)
    index = rng.permutation(2500)[:2100]
    weights = rng.uniform(0.1, 3.0, size=2100)
    mean, scale, largest = scales(values, weights, index, dtype)
    some = values[index].astype(np.float64)
    want = np.average(some, axis=0, weights=weights)
    variance = np.average((some - want) ** 2, axis=0, weights=weights)
    assert_allclose(mean[0], want[0], atol=1e-12)
    assert_allclose(mean[1:], want[1:], rtol=1e-12)
    assert_allclose(scale[:3], np.sqrt(variance[:3]), rtol=1e-9)
    assert_array_equal(mean[3:], some[0, 3:])  # constant columns
    assert_array_equal(scale[3:], 1.0)
    again = scales(values[index], weights, dtype=dtype)
    assert_array_equal(again, (mean, scale, largest))


def test_missing_values_are_left_out_of_the_scales():
    values = rng.normal([0.0, 5.0, 0.0], size=(50, 3))
    values[:20, 1] = np.nan
    values[:, 2] = np.nan
    weights = rng.uniform(0.1, 3.0, size=50)
    mean, scale, largest = scales(values, weights, gaps=True)
    want = np.average(values[20:, 1], weights=weights[20:])
    variance = np.average((values[20:, 1] - want) ** 2, weights=weights[20:])
    assert_allclose([mean[1], scale[1]], [want, np.sqrt(variance)])
    assert_allclose(largest[1], np.abs(values[20:, 1] - want).max())
    # a column without any value has no effect, whatever new samples have there
    scaling = Standardisation(mean, scale, "zero", gaps=True)
    new = scaling.features(np.array([[0.0, np.nan, 1e9]]))
    assert_allclose(new[0, 1:], 0.0, atol=1e-200)


@pytest.mark.parametrize("indexed", [False, True])
def test_raw_samples_are_standardised_when_they_are_taken(indexed):
    features, t = rng.normal(size=(9, 2)), rng.normal(size=(9, 1))
    index = np.array([8, 1, 5, 3]) if indexed else None
    where = slice(None) if index is None else index
    n = 4 if indexed else 9
    scaling = Standardisation(np.array([1.0, 2.0]), np.array([3.0, 0.5]), "linear")
    samples = RawSamples(features, t[:n], np.arange(n) + 1.0, 1, scaling, index)
    X = (features[where] - [1.0, 2.0]) / [3.0, 0.5]
    T = np.column_stack([t[:n], np.ones(n), X])
    for some in (slice(1, 3), np.array([3, 0])):
        got = samples.take(some)
        assert_allclose(got.X, X[some])
        assert_allclose(got.T, T[some])
        assert_array_equal(got.weights, (np.arange(n) + 1.0)[some])
        part = samples.part(some).take(slice(None))
        assert_array_equal(part.X, got.X)
        assert_array_equal(part.T, got.T)
        assert_array_equal(part.weights, got.weights)
