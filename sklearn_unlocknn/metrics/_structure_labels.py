"""What a structure is made of: elements, chemical system, space group."""

import os
import warnings
from pathlib import Path

from .._structures.read import StructureError, as_items, as_structure, describe


def label_many(X, by, symprec):
    """Label structures, with a `StructureError` in place of a failure.

    Parameters
    ----------
    X : iterable of Structure, Molecule, Atoms, Composition, dict, str or path-like
        As the MEGNet estimators take them; also compositions and formulas.
    by : {"element", "chemical_system", "space_group"}
        What to label them by.
    symprec : float
        Tolerance of the space group, in angstrom.

    Returns
    -------
    list of (tuple of str, str or StructureError)
        Of "element" a tuple of symbols in order of atomic number.
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
            reason = str(error) or type(error).__name__
            labels.append(StructureError(index, describe(item), reason))
    return labels


def elements(item):
    """Return the elements of a structure, a composition or a formula.

    Parameters
    ----------
    item : Structure, Molecule, Atoms, Composition, dict, str or path-like
        As `as_structure` takes it, or a composition, or a formula such as "NaCl".

    Returns
    -------
    tuple of str
        Symbols in order of atomic number; deuterium is "H".

    Raises
    ------
    ValueError
        When something in it is no element, or nothing is in it.
    """
    from pymatgen.core import DummySpecies, Element

    species = _species(item)
    unknown = [str(kind) for kind in species if isinstance(kind, DummySpecies)]
    if unknown or not species:
        raise ValueError(f"got {unknown or 'no atoms'}, expected chemical elements")
    numbers = sorted({getattr(kind, "Z", kind) for kind in species})
    return tuple(Element.from_Z(int(Z)).symbol for Z in numbers)


def space_group(item, symprec):
    """Return the international symbol of the space group of a crystal.

    Parameters
    ----------
    item : Structure, Atoms, dict, str or path-like
        As `as_structure` takes it.
    symprec : float
        Tolerance, in angstrom.

    Returns
    -------
    str
        As in "Fm-3m".

    Raises
    ------
    TypeError
        When it is no periodic structure.
    """
    structure = as_structure(item)
    if not hasattr(structure, "get_space_group_info"):
        raise TypeError(
            f"got a {type(structure).__name__}, expected a periodic Structure: nothing "
            "else has a space group"
        )
    with warnings.catch_warnings():  # spglib's about how pymatgen calls it
        warnings.simplefilter("ignore", DeprecationWarning)
        return structure.get_space_group_info(symprec=symprec)[0]


def _species(item):
    """List the species of an item, or atomic numbers where it is a MEGNet graph."""
    from pymatgen.core import Composition

    if isinstance(item, str) and "\n" not in item and not Path(item).is_file():
        formula = _formula(item)
        # What is neither a file nor a formula is reported as a file that is missing.
        item = item if formula is None else formula
    if isinstance(item, Composition):
        return item.elements
    structure = as_structure(item)
    if isinstance(structure, dict):
        return structure["atom"]
    return structure.composition.elements


def _formula(text):
    """Parse a formula; None when it is not one."""
    from pymatgen.core import Composition, DummySpecies

    if os.sep in text:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            formula = Composition(text)
    except Exception:  # pymatgen raises what it likes
        return None
    dummies = any(isinstance(kind, DummySpecies) for kind in formula.elements)
    return None if dummies else formula
