"""Elements, chemical system and space group of a structure."""

import os
from pathlib import Path

from .._structures.parsing import recorded_warnings
from .._structures.read import as_items, as_structure, structure_error


def label_many(X, by, symprec):
    """Label the input of the MEGNet estimators, compositions and formulas.

    Returns one symbol or name for each, for "element" a tuple of symbols in order of
    atomic number, and a `StructureError` in place of a failure.
    """
    labels = []
    for index, item in enumerate(as_items(X)):
        try:
            if by == "space_group":
                labels.append(space_group(item, symprec))
            elif by == "element":
                labels.append(elements(item))
            else:
                labels.append("-".join(sorted(elements(item))))
        except Exception as error:  # whatever a reader raises
            labels.append(structure_error(index, item, error))
    return labels


def elements(item):
    """Return the elements of a structure, a composition or a formula by atomic number.

    Deuterium is "H". Raises ValueError for other species, or an item without atoms.
    """
    from pymatgen.core import DummySpecies, Element

    species = _species(item)
    unknown = [str(kind) for kind in species if isinstance(kind, DummySpecies)]
    if unknown or not species:
        raise ValueError(f"got {unknown or 'no atoms'}, expected chemical elements")
    numbers = sorted({getattr(kind, "Z", kind) for kind in species})
    return tuple(Element.from_Z(int(Z)).symbol for Z in numbers)


def space_group(item, symprec):
    """Return the space group of a crystal, as "Fm-3m"; raise TypeError without one."""
    structure = as_structure(item)
    if not hasattr(structure, "get_space_group_info"):
        raise TypeError(
            f"got a {type(structure).__name__}, expected a periodic Structure, which "
            "has a space group"
        )
    with recorded_warnings():  # of spglib for its use by pymatgen
        return structure.get_space_group_info(symprec=symprec)[0]


def _species(item):
    """Return the species of an item, or the atomic numbers of a MEGNet graph."""
    from pymatgen.core import Composition

    if isinstance(item, str) and "\n" not in item and not Path(item).is_file():
        formula = _formula(item)
        # Text that is neither a file nor a formula is reported as a missing file.
        item = item if formula is None else formula
    if isinstance(item, Composition):
        return item.elements
    structure = as_structure(item)
    if isinstance(structure, dict):
        return structure["atom"]
    return structure.composition.elements


def _formula(text):
    """Parse a formula; return None for other text."""
    from pymatgen.core import Composition, DummySpecies

    if os.sep in text:
        return None
    try:
        with recorded_warnings():
            formula = Composition(text)
    except Exception:  # of any type, from pymatgen
        return None
    dummies = any(isinstance(kind, DummySpecies) for kind in formula.elements)
    return None if dummies else formula
