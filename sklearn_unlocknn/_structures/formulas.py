"""Formulas of structures from their element fractions."""

import functools

import numpy as np

from .element_data import N_ELEMENTS
from .parsing import recorded_warnings

# Largest number of atoms in a formula unit; others are written with fractions.
_MOST_ATOMS = 400
# Fractions are rounded to nine digits, see `describe_structures`.
_TOLERANCE = 1e-6


def formulas_of(fractions):
    """Return reduced formulas.

    Parameters
    ----------
    fractions : ndarray of shape (n, N_ELEMENTS)
        Fractions of the elements in the order of their atomic number.

    Returns
    -------
    formulas : ndarray of shape (n,), str
        As pymatgen writes them, such as "Fe2O3"; with fractions where no formula of
        whole numbers of at most 400 atoms has these.
    """
    names = []
    with recorded_warnings():  # helium has no electronegativity
        for row in np.asarray(fractions):
            present = np.flatnonzero(row > 0)
            values = row[present].tolist()
            names.append(_formula(tuple(present.tolist()), tuple(values)))
    return np.array(names, dtype=str)


@functools.lru_cache(maxsize=100_000)
def _formula(places, values):
    from pymatgen.core import Composition

    for n in range(1, _MOST_ATOMS + 1):
        if all(abs(n * value - round(n * value)) < _TOLERANCE for value in values):
            values = [round(n * value) for value in values]
            break
    symbols = [_symbols()[place] for place in places]
    return Composition(dict(zip(symbols, values, strict=True))).reduced_formula


@functools.cache
def _symbols():
    from pymatgen.core import Element

    return [Element.from_Z(z).symbol for z in range(1, N_ELEMENTS + 1)]
