"""Test extraction from networks with several inputs."""

import importlib

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline

from sklearn_unlocknn import KerasFeatureExtractor
from sklearn_unlocknn._keras.graph import InputSpec
from sklearn_unlocknn._keras.inputs import network_inputs


def build_two_inputs(K):
    a = K.Input((3,), name="a")
    b = K.Input((), dtype="int32", name="a_kind")
    embedded = K.layers.Embedding(5, 2)(b)
    joined = K.layers.Concatenate(name="joined")([a, embedded])
    return K.Model([a, b], K.layers.Dense(1)(joined))


@pytest.fixture
def two_inputs(K):
    return build_two_inputs(K)


@pytest.mark.parametrize("value", [-1, 256, 256.0, 0.5])
def test_integers_out_of_range_are_named(value):
    spec = InputSpec("pixels", (2,), "uint8")
    with pytest.raises(ValueError, match=r"'pixels' or exceed the range.*uint8"):
        network_inputs(KerasFeatureExtractor(), [[0, 255], [1, value]], [spec], True)


A = np.random.default_rng(0).normal(size=(6, 3))
B = np.array([0, 4, 1, 1, 2, 3])


def frames():
    plain = pd.DataFrame(A, columns=["a_0", "a_1", "a_2"])
    plain.insert(1, "a_kind", B)
    levels = pd.MultiIndex.from_tuples(
        [("a_kind", "x"), ("a", "x"), ("a", "y"), ("a", "z")]
    )
    nested = pd.DataFrame(np.column_stack([B, A]), columns=levels)
    return {"plain": plain, "nested": nested}


@pytest.mark.parametrize("form", ["list", "tuple", "dict", "array", "plain", "nested"])
def test_several_inputs(two_inputs, form):
    X = {
        "list": [A, B],
        "tuple": (A.tolist(), B),
        "dict": {"a_kind": B, "a": A},
        "array": np.column_stack([A, B]),
        **frames(),
    }[form]
    extractor = KerasFeatureExtractor(two_inputs, layer="joined").fit(X)
    features = extractor.transform(X)
    assert extractor.n_features_in_ == 4
    assert_allclose(features[:, :3], A, rtol=1e-6)
    assert_allclose(features[2, 3:], features[3, 3:])
    assert hasattr(extractor, "feature_names_in_") == (form == "plain")


def test_column_belongs_to_the_input_of_the_longest_prefix(K):
    inputs = [K.Input((2,), name="a"), K.Input((1,), name="a_b")]
    joined = K.layers.Concatenate(name="joined")(inputs)
    net = K.Model(inputs, K.layers.Dense(1)(joined))
    frame = pd.DataFrame([[3.0, 1.0, 2.0]], columns=["a_b_x", "a_0", "a_c"])
    got = KerasFeatureExtractor(net, layer="joined").fit_transform(frame)
    assert_array_equal(got, [[1.0, 2.0, 3.0]])


def test_columns_of_polars_belong_to_inputs_by_name(two_inputs):
    frame = frames()["plain"]
    frame = frame[frame.columns[::-1]]
    extractor = KerasFeatureExtractor(two_inputs, layer="joined").fit(frame)
    assert_array_equal(
        extractor.fit_transform(pl.from_pandas(frame)), extractor.transform(frame)
    )


def test_frame_is_split_by_cross_validation(two_inputs):
    pipe = make_pipeline(KerasFeatureExtractor(two_inputs), Ridge())
    scores = cross_validate(pipe, frames()["plain"], B, cv=3, error_score="raise")
    assert len(scores["test_score"]) == 3


def test_refit_with_arrays_removes_the_names(two_inputs):
    extractor = KerasFeatureExtractor(two_inputs).fit(frames()["plain"])
    extractor.fit([A, B])
    assert not hasattr(extractor, "feature_names_in_")


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([A, B, B], r"Got 3 arrays in X, but the network has 2 inputs"),
        ([A, B[:3]], r"inconsistent numbers of samples"),
        ([A[:, :2], B], r"X has 2 features .*input 'a', which takes 3"),
        ([A, B + 0.5], r"not whole for the network's input 'a_kind'.*int32"),
        ([A * np.nan, B], r"X\['a'\] contains NaN"),
        ({"a": A}, r"keys \['a'\], expected .*\['a', 'a_kind'\]"),
        (A, r"shape \(6, 3\) for the 2 inputs \['a', 'a_kind'\] of sizes \[3, 1\]"),
        (pd.DataFrame(A, columns=["a_0", "a_1", "z"]), r"without columns \['a_kind'\]"),
        (frames()["plain"].drop(columns="a_1"), r"X has 2 features .*which takes 3"),
        (frames()["plain"].assign(extra=1.0), r"columns of no input \['extra'\]"),
    ],
)
def test_errors_of_several_inputs(X, message):
    net = build_two_inputs(importlib.import_module("keras"))
    with pytest.raises(ValueError, match=message):
        KerasFeatureExtractor(net).fit(X)


def test_transform_checks_the_widths_of_arrays_in_a_list(two_inputs):
    extractor = KerasFeatureExtractor(two_inputs).fit([A, B])
    with pytest.raises(ValueError, match=r"X has 3 features.*expecting 4"):
        extractor.transform([A[:, :2], B])
