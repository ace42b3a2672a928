"""Properties of the elements, from pymatgen."""

import functools
import math
from typing import NamedTuple

import numpy as np

from .parsing import recorded_warnings

#: Elements of the table: hydrogen to lawrencium.
N_ELEMENTS = 103

_SHELLS = {"s": 2, "p": 6, "d": 10, "f": 14}

#: Name in descriptors, unit, and pymatgen's attribute.
_ATTRIBUTES = (
    ("atomic number", "", "Z"),
    ("atomic mass", "u", "atomic_mass"),
    ("Mendeleev number", "", "mendeleev_no"),
    ("group", "", "group"),
    ("period", "", "row"),
    ("electronegativity", "Pauling", "X"),
    ("atomic radius", "angstrom", "atomic_radius"),
    ("van der Waals radius", "angstrom", "van_der_waals_radius"),
    ("ionic radius", "angstrom", "average_ionic_radius"),
    ("melting point", "K", "melting_point"),
    ("boiling point", "K", "boiling_point"),
    ("molar volume", "cm3/mol", "molar_volume"),
    ("ionization energy", "eV", "ionization_energy"),
    ("electron affinity", "eV", "electron_affinity"),
    ("thermal conductivity", "W/m/K", "thermal_conductivity"),
)


class ElementTable(NamedTuple):
    """Properties by atomic number, NaN where there is none; row 0 is NaN."""

    names: list
    units: list
    values: np.ndarray

    def column(self, name):
        """Return one property by atomic number."""
        return self.values[:, self.names.index(name)]


@functools.cache
def element_table():
    """Return the properties of the elements, read from pymatgen at the first call."""
    from pymatgen.analysis.molecule_structure_comparator import CovalentRadius
    from pymatgen.core import Element

    names = [name for name, *_ in _ATTRIBUTES]
    units = [unit for _, unit, _ in _ATTRIBUTES]
    names += ["covalent radius"]
    units += ["angstrom"]
    names += [f"{shell} valence electrons" for shell in _SHELLS]
    names += [f"unfilled {shell} orbitals" for shell in _SHELLS]
    names += ["valence electrons", "unfilled orbitals"]
    units += [""] * 10
    values = np.full((N_ELEMENTS + 1, len(names)), np.nan)
    with recorded_warnings():  # pymatgen warns of each gap
        for z in range(1, N_ELEMENTS + 1):
            element = Element.from_Z(z)
            row = [
                _number(getattr(element, attribute, None))
                for *_, attribute in _ATTRIBUTES
            ]
            row += [CovalentRadius.radius.get(element.symbol, math.nan)]
            electrons = _valence(element)
            unfilled = {
                shell: (size - electrons[shell]) if electrons[shell] else 0
                for shell, size in _SHELLS.items()
            }
            row += [*electrons.values(), *unfilled.values()]
            row += [sum(electrons.values()), sum(unfilled.values())]
            values[z] = row
    return ElementTable(names, units, values)


@functools.cache
def atomic_number(species):
    """Return the atomic number of a species, which must be an element of the table."""
    element = getattr(species, "element", species)
    z = getattr(element, "Z", 0)
    if type(element).__name__ != "Element" or not 0 < z <= N_ELEMENTS:
        raise ValueError(
            f"the species {species} is none of the elements H to Lr, which have "
            "descriptors"
        )
    return int(z)


def _number(value):
    """Return a property as a float, NaN if the element has none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _valence(element):
    """Return the electrons outside the core, the noble gas before, by shell."""
    electrons = dict.fromkeys(_SHELLS, 0)
    for n, shell, count in element.full_electronic_structure:
        below = {"s": 0, "p": 0, "d": 1, "f": 2}[shell]
        if n + below == element.row:
            electrons[shell] += count
    return electrons
