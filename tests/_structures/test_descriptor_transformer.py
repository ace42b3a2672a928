"""Test the transformer of structures to descriptors."""

import pickle

import numpy as np
import pandas as pd
import pytest
from _structures.crystals import NACL
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.utils.estimator_checks import (
    check_estimator_repr,
    check_get_params_invariance,
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
    check_set_params,
)

from sklearn_unlocknn import StructureDescriptors
from sklearn_unlocknn._structures.descriptors import DESCRIPTOR_GROUPS
from sklearn_unlocknn.datasets import make_ionic_crystals


def test_names_units_and_groups(structures):
    every = StructureDescriptors(DESCRIPTOR_GROUPS).fit(structures)
    names = every.get_feature_names_out()
    assert len(set(names)) == len(names) == len(every.units_) == every.n_features_out_
    units = dict(zip(names, every.units_, strict=True))
    assert units["density"] == "g/cm3"
    assert units["mean ionization energy"] == "eV"
    assert units["mean nearest-neighbour distance"] == "angstrom"
    X = every.transform(structures)
    start = 0
    for group in DESCRIPTOR_GROUPS:
        part = StructureDescriptors([group]).fit_transform(structures)
        assert_array_equal(part, X[:, start : start + part.shape[1]])
        start += part.shape[1]
    assert start == X.shape[1]


def test_containers_and_set_output(structures):
    transformer = StructureDescriptors().set_output(transform="pandas")
    series = pd.Series(structures, index=np.arange(100, 100 + len(structures)))
    frame = transformer.fit_transform(series)
    assert list(frame.index) == list(series.index)
    assert_array_equal(frame.columns, transformer.get_feature_names_out())
    want = StructureDescriptors().fit_transform(structures)
    assert_array_equal(frame, want)
    assert_array_equal(transformer.transform(pd.DataFrame({"s": series})), want)


def test_two_processes_return_the_same():
    X = make_ionic_crystals(30, random_state=0).data
    X = np.tile(X, 20)
    want = StructureDescriptors().fit_transform(X)
    assert_array_equal(StructureDescriptors(n_jobs=2).fit_transform(X), want)


def test_transformer_contract(structures):
    transformer = StructureDescriptors()
    for check in (
        check_estimator_repr,
        check_get_params_invariance,
        check_no_attributes_set_in_init,
        check_set_params,
    ):
        check("StructureDescriptors", transformer)
    check_parameters_default_constructible("StructureDescriptors", transformer)
    fitted = clone(transformer).fit(structures)
    before = dict(vars(fitted))
    want = fitted.transform(structures)
    assert vars(fitted) == before
    again = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(again.transform(structures), want)
    assert_array_equal(fitted.transform(structures[3:4]), want[3:4])
    assert clone(fitted).get_params() == transformer.get_params()


@pytest.mark.parametrize(
    ("params", "X", "error", "message"),
    [
        (
            {"groups": ("bonds",)},
            [NACL],
            ValueError,
            r"Got `groups`=\('bonds',\), exp",
        ),
        (
            {"groups": "geometry"},
            [NACL],
            ValueError,
            "expected a list of one or more",
        ),
        ({"groups": ()}, [NACL], ValueError, "expected a list of one or more"),
        ({"groups": ("geometry",) * 2}, [NACL], ValueError, "each once"),
        ({"on_error": "skip"}, [NACL], ValueError, "expected 'raise' or 'nan'"),
        ({}, [], ValueError, "Got an empty list"),
        ({}, NACL, TypeError, "Got a single Structure"),
    ],
)
def test_wrong_arguments(params, X, error, message):
    with pytest.raises(error, match=message):
        StructureDescriptors(**params).fit(X)
