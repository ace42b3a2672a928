"""Error and uncertainty by group, and the labels of structures."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from predictions import make_prediction
from pymatgen.core import Composition, Lattice, Molecule, Structure
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from sklearn_unlocknn.metrics import (
    gaussian_nll,
    group_labels,
    interval_coverage,
    uq_by_group,
)

TWO = np.ones((4, 2))


def rocksalt(cation="Na", anion="Cl"):
    primitive = Lattice(2.82 * (np.ones((3, 3)) - np.eye(3)))
    return Structure(primitive, [cation, anion], [[0] * 3, [0.5] * 3])


def test_each_row_of_the_table_has_the_metrics_of_its_samples():
    y_true, y_pred, y_std = make_prediction(60)
    groups = np.random.default_rng(1).choice(["a", "b", "c"], len(y_true))
    table = uq_by_group(y_true, y_pred, y_std, groups)
    assert sorted(table.index) == ["a", "b", "c"]
    assert table.index.name == "group"
    for label, row in table.iterrows():
        part = [values[groups == label] for values in (y_true, y_pred, y_std)]
        z = (part[0] - part[1]) / part[2]
        assert row["n"] == len(z)
        assert_allclose(row["mae"], mean_absolute_error(*part[:2]))
        assert_allclose(row["rmse"], root_mean_squared_error(*part[:2]))
        assert_allclose(row["mean_std"], part[2].mean())
        assert_allclose(row["nll"], gaussian_nll(*part))
        assert_allclose(row["coverage_95"], interval_coverage(*part))
        assert_allclose([row["z_mean"], row["z_std"]], [z.mean(), z.std(ddof=1)])
    table = uq_by_group([1.0], [1.5], [0.5], ["a"])
    assert_allclose(table.loc["a", ["z_mean", "z_std"]], [-1.0, np.nan])


def test_labels_are_any_text_of_python():
    """A lone surrogate is none of Arrow, which pandas may take for its strings."""
    table = uq_by_group(*make_prediction(4), ["a", "\ud800", "a", "\ud800"])
    assert sorted(table.index) == ["a", "\ud800"]
    assert table.index.dtype == object
    assert uq_by_group(*make_prediction(4), [1, 2, 1, 2]).index.dtype == int


def test_the_worst_group_comes_first():
    prediction = make_prediction(60)
    groups = np.arange(60) % 7
    table = uq_by_group(*prediction, groups)
    assert table["mae"].is_monotonic_decreasing
    table = uq_by_group(*prediction, groups, sort_by="z_std")
    assert table["z_std"].is_monotonic_decreasing
    table = uq_by_group(*prediction, np.where(groups == 6, 10, groups), sort_by="group")
    assert table.index.tolist() == [0, 1, 2, 3, 4, 5, 10]


def test_a_sample_with_a_set_of_labels_counts_in_each_group():
    prediction = make_prediction(6)
    groups = [{"a", "b"}, ("a",), "b", ["b", "c", "c"], frozenset("c"), "a"]
    table = uq_by_group(*prediction, groups, sort_by="group")
    assert table["n"].to_dict() == {"a": 3, "b": 3, "c": 2}
    rows = [0, 2, 3]
    expected = mean_absolute_error(prediction[0][rows], prediction[1][rows])
    assert_allclose(table.loc["b", "mae"], expected)


def test_missing_predictions_and_small_groups_are_left_out():
    y_true, y_pred, y_std = make_prediction(6)
    y_pred[[1, 5]] = y_std[[1, 5]] = np.nan
    groups = ["a", "a", "a", "b", "b", "c"]
    table = uq_by_group(y_true, y_pred, y_std, groups, sort_by="group")
    assert table["n"].tolist() == [2, 2, 0]
    assert table["n_missing"].tolist() == [1, 0, 1]
    assert_allclose(table.loc["a", "mae"], abs(y_true - y_pred)[[0, 2]].mean())
    assert table.loc["c"].iloc[2:].isna().all()
    table = uq_by_group(y_true, y_pred, y_std, groups, min_count=1)
    assert set(table.index) == {"a", "b"}
    # a min_count above all groups leaves an empty table
    prediction = make_prediction(6)
    groups = pd.Series(list("aaabbc"), index=range(10, 16), dtype="category")
    assert uq_by_group(*prediction, groups, min_count=2)["n"].min() == 2
    table = uq_by_group(*prediction, groups, min_count=9)
    assert len(table) == 0
    assert table.columns.tolist() == uq_by_group(*prediction, groups).columns.tolist()


def test_metrics_by_name_and_by_function():
    y_true, y_pred, y_std = make_prediction(20)
    groups = ["a"] * 20
    table = uq_by_group(y_true, y_pred, y_std, groups, metrics=["sharpness", "crps"])
    assert table.columns.tolist() == ["n", "n_missing", "sharpness", "crps"]
    bias = {"bias": lambda y_true, y_pred, y_std: (y_pred - y_true).mean()}
    table = uq_by_group(y_true, y_pred, y_std, groups, metrics=bias)
    assert_allclose(table.loc["a", "bias"], (y_pred - y_true).mean())
    by_name = uq_by_group(y_true, y_pred, y_std, groups, metrics=["mean_error"])
    assert_allclose(table.loc["a", "bias"], by_name.loc["a", "mean_error"])


def test_samples_without_a_label_are_left_out_with_a_warning():
    prediction = make_prediction(5)
    groups = pd.Series(["a", None, np.nan, "b", pd.NA], dtype=object)
    with pytest.warns(UserWarning, match="3 of 5 samples have no group"):
        table = uq_by_group(*prediction, groups)
    assert table["n"].to_dict() == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"metrics": ["mea"]}, "Got metrics=.*expected a list of names among"),
        ({"metrics": "mae"}, "Got metrics='mae'"),
        ({"metrics": {"mae": 1}}, "expected functions by name"),
        ({"metrics": []}, "Got metrics="),
        ({"min_count": -1}, "Got min_count=-1"),
        ({"min_count": 1.5}, "Got min_count=1.5"),
        ({"sort_by": "mea"}, "Got sort_by='mea'"),
        ({"by": "colour"}, "Got by='colour', expected one of"),
        ({"groups": ["a"]}, "Got groups of 1 samples, expected 4"),
        ({"groups": [None] * 4}, "Got no label for any of 4 samples"),
        ({"y_pred": [np.nan] * 4}, "Got NaN for all 4 predictions"),
        ({"y_std": [-1, 1, 1, 1]}, "Got a negative y_std"),
        ({"y_true": TWO, "y_pred": TWO, "y_std": TWO}, "Got 2 outputs"),
    ],
)
def test_bad_input_is_named(kwargs, match):
    good = {"y_true": [1, 2, 3, 4], "y_pred": [1, 2, 3, 4], "y_std": [1, 1, 1, 1]}
    good["groups"] = ["a", "a", "b", "b"]
    with pytest.raises(ValueError, match=match):
        uq_by_group(**{**good, **kwargs})


def test_labels_of_structures():
    crystals = [rocksalt(), rocksalt("Mg", "O")]
    assert group_labels(crystals, "element") == [("Na", "Cl"), ("O", "Mg")]
    assert group_labels(crystals, "chemical_system") == ["Cl-Na", "Mg-O"]
    assert group_labels(crystals, "space_group") == ["Fm-3m", "Fm-3m"]
    frame = pd.DataFrame({"structure": crystals}, index=["x", "y"])
    assert group_labels(frame, "chemical_system") == ["Cl-Na", "Mg-O"]


def test_labels_of_all_that_names_elements(tmp_path):
    path = tmp_path / "salt.cif"
    rocksalt().to(filename=path)
    text = path.read_text(encoding="utf-8")
    graph = {"atom": [17, 11, 17], "bond": [1.0], "index1": [0], "index2": [1]}
    disordered = Structure(Lattice.cubic(3), [{"Na+": 0.5, "K+": 0.5}], [[0] * 3])
    items = [path, str(path), text, graph, "NaCl", Composition("NaCl"), disordered]
    labels = group_labels(items, "element")
    assert labels == [("Na", "Cl")] * 6 + [("Na", "K")]
    water = Molecule(["O", "D", "H"], [[0, 0, 0], [0, 0, 1], [0, 1, 0]])
    assert group_labels([water], "chemical_system") == ["H-O"]


def test_a_structure_without_a_label_is_named():
    items = ["NaCl", "missing.cif"]
    with pytest.raises(ValueError, match=r"Structure 1 .*missing.cif.*failed for 1 of"):
        group_labels(items, "element")
    with pytest.warns(UserWarning, match="1 of 2 structures have no element"):
        assert group_labels(items, "element", on_error="none") == [("Na", "Cl"), None]
    water = Molecule(["O"], [[0, 0, 0]])
    with pytest.raises(ValueError, match="got a Molecule, expected a periodic"):
        group_labels([water], "space_group", on_error="none")
    with pytest.raises(ValueError, match=r"is X0\+, expected chemical elements"):
        group_labels([Structure(Lattice.cubic(3), ["X"], [[0] * 3])], "element")
    with pytest.raises(ValueError, match="Got on_error='nan'"):
        group_labels(items, "element", on_error="nan")


def test_tables_of_structures():
    X = [rocksalt(*pair) for pair in itertools.product(("Na", "K", "Rb"), ("F", "Cl"))]
    prediction = make_prediction(6)
    for by in ("element", "chemical_system", "space_group"):
        table = uq_by_group(*prediction, X, by=by)
        pd.testing.assert_frame_equal(
            table, uq_by_group(*prediction, group_labels(X, by))
        )
    assert table["n"].to_dict() == {"Fm-3m": 6}


def test_unreadable_structures_warn_once():
    y_true, y_pred, y_std = make_prediction(3)
    y_pred[1] = y_std[1] = np.nan
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = uq_by_group(
            y_true, y_pred, y_std, ["NaCl", "gone.cif", "KCl"], by="element"
        )
    assert len(caught) == 1
    assert table["n"].to_dict() == {"Na": 1, "Cl": 2, "K": 1}
