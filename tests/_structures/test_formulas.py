"""Test formulas from element fractions."""

import numpy as np
from pymatgen.core import Composition

from sklearn_unlocknn._structures.descriptors import describe_structures
from sklearn_unlocknn._structures.element_data import N_ELEMENTS
from sklearn_unlocknn._structures.formulas import formulas_of
from sklearn_unlocknn.datasets import make_ionic_crystals


def fractions(*formulas):
    table = np.zeros((len(formulas), N_ELEMENTS))
    for row, formula in zip(table, formulas, strict=True):
        composition = Composition(formula)
        for element in composition:
            row[element.Z - 1] = composition.get_atomic_fraction(element)
    return table.round(9)


def test_formulas_of_whole_numbers_are_pymatgens():
    names = ["Fe2O3", "NaCl", "Si", "He", "Mg3Al2(SiO4)3", "Y3Al5O12", "Al12(B2O5)9"]
    assert formulas_of(fractions(*names)).tolist() == [
        Composition(name).reduced_formula for name in names
    ]
    crystals = make_ionic_crystals(12, random_state=0).data
    made = formulas_of(describe_structures(list(crystals), ("element_fractions",)))
    assert made.tolist() == [c.composition.reduced_formula for c in crystals]


def test_other_fractions_are_written():
    (name,) = formulas_of(fractions("Fe0.123456O0.876544"))
    assert Composition(name).almost_equals(Composition("Fe0.123456O0.876544"), 0.01)
    assert formulas_of(np.empty((0, N_ELEMENTS))).shape == (0,)
