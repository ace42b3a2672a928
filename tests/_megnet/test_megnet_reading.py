"""Test that a structure is refused in the same way wherever it is read."""

import numpy as np
import pandas as pd
import pytest
from _megnet.megnet_nets import quick
from numpy.testing import assert_array_equal

from sklearn_unlocknn import MEGNetFeatureExtractor
from sklearn_unlocknn._structures.read import StructureError
from sklearn_unlocknn.metrics import group_labels

VASP_4 = "salt\n1\n5.6 0 0\n0 5.6 0\n0 0 5.6\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n"

GUESSED = (
    "data_x\n_cell_length_a 3\n_cell_length_b 3\n_cell_length_c 3\n"
    "_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n"
    "_chemical_formula_sum 'Na Cl'\nloop_\n_atom_site_label\n_atom_site_fract_x\n"
    "_atom_site_fract_y\n_atom_site_fract_z\nNA1 0 0 0\nCL1 0.5 0.5 0.5\n"
)


@pytest.fixture
def bad(crystals, tmp_path):
    """Return structures to refuse, their names and reasons."""
    twice = crystals[0].copy()
    twice.append(twice[0].specie, np.add(twice[0].frac_coords, [0, 0, 0.001]))
    formula = twice.composition.reduced_formula
    (tmp_path / "two.cif").write_text(2 * crystals[0].to(fmt="cif"))
    return {
        "object": (twice, formula, "one atom written twice"),
        "dictionary": (twice.as_dict(), "dict", "one atom written twice"),
        "text": (VASP_4, "text", "no chemical symbols"),
        "file": (str(tmp_path / "two.cif"), "two.cif", "holds 2 structures"),
        "record": ({"id": 1}, "dict", "sites"),
    }


@pytest.mark.parametrize("kind", ["object", "dictionary", "text", "file", "record"])
def test_the_same_refusal_everywhere(kind, bad, crystals, tiny_frozen, tmp_path):
    item, name, reason = bad[kind]
    X = [*crystals[:3], item, crystals[3]]
    y = np.arange(5.0)
    fitted = quick(tiny_frozen).fit(crystals, np.arange(24.0))
    cached = quick(tiny_frozen, memory=tmp_path / "cache").fit(
        crystals, np.arange(24.0)
    )
    both = quick(tiny_frozen, n_jobs=2, extract_batch_size=2)
    both.fit(crystals, np.arange(24.0))
    seen = set()
    for call in (
        lambda: quick(tiny_frozen).fit(X, y),
        lambda: quick(tiny_frozen).fit(pd.DataFrame({"structure": X}), y),
        lambda: quick(tiny_frozen).fit_stream([(X, y)]),
        lambda: fitted.predict(X),
        lambda: fitted.predict(X),
        lambda: cached.predict(X),
        lambda: cached.predict(X),
        lambda: both.predict(X),
        lambda: list(fitted.predict_stream(iter(X))),
        lambda: MEGNetFeatureExtractor(tiny_frozen).fit_transform(X),
    ):
        with pytest.raises(StructureError) as caught:
            call()
        seen.add(str(caught.value))
    (text,) = seen
    assert text.startswith(f"Structure 3 ({name}): ")
    assert reason in text
    with pytest.raises(ValueError, match=reason):
        group_labels(X, "element")


def test_failed_structures_are_an_attribute(bad, crystals, tiny_frozen):
    items, names, reasons = zip(*bad.values(), strict=True)
    X, y = [*crystals, *items], np.arange(24.0 + len(items))
    model = quick(tiny_frozen, on_error="nan")
    with pytest.warns(UserWarning, match="5 of 29 samples have no features"):
        model.fit(X, y)
    assert list(model.failed_) == list(range(24, 29))
    for (i, error), name, reason in zip(
        model.failed_.items(), names, reasons, strict=True
    ):
        assert isinstance(error, StructureError)
        assert (error.index, error.name) == (i, name)
        assert reason in error.reason
    assert_array_equal(np.isnan(model.predict(X)), np.arange(29) >= 24)
    assert list(model.failed_) == list(range(24, 29))

    pieces = [(X[i : i + 10], y[i : i + 10]) for i in range(0, 29, 10)]
    with pytest.warns(UserWarning, match="5 of 29 samples"):
        streamed = quick(tiny_frozen, on_error="nan").fit_stream(pieces)
    assert {i: str(e) for i, e in streamed.failed_.items()} == {
        i: str(e) for i, e in model.failed_.items()
    }
    with pytest.warns(UserWarning, match="1 of 2 samples"):
        model.partial_fit([items[0], crystals[0]], [0.0, 1.0])
    assert list(model.failed_) == [0]
    assert model.fit(crystals, y[:24]).failed_ == {}


def test_a_note_of_the_reader_outlives_the_cache(crystals, tiny_frozen, tmp_path):
    X = [crystals[0], GUESSED, crystals[1], GUESSED]
    model = quick(tiny_frozen, memory=tmp_path / "cache")
    model.fit(crystals, np.arange(24.0))
    read, found = (model._encoder.encode(model, X) for _ in range(2))
    assert_array_equal(read.features, found.features)
    assert list(read.notes) == [1, 3]
    assert "NA1 parsed as Na" in read.notes[1]
    assert found.notes == read.notes
