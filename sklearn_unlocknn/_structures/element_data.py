"""Properties of the elements, from pymatgen."""

import functools
import math
import warnings
from typing import NamedTuple

import numpy as np

#: Elements of the table: hydrogen to lawrencium.
N_ELEMENTS = 103

_SHELLS = {"s": 2, "p": 6, "d": 10, "f": 14}

#: Name in descriptors, unit, and pymatgen's attribute with the factor to the unit.
_ATTRIBUTES = (
    ("atomic number", "", "Z", 1.0),
    ("atomic mass", "u", "atomic_mass", 1.0),
    ("Mendeleev number", "", "mendeleev_no", 1.0),
    ("group", "", "group", 1.0),
    ("period", "", "row", 1.0),
    ("electronegativity", "Pauling", "X", 1.0),
    ("atomic radius", "angstrom", "atomic_radius", 1.0),
    ("van der Waals radius", "angstrom", "van_der_waals_radius", 1.0),
    ("ionic radius", "angstrom", "average_ionic_radius", 1.0),
    ("melting point", "K", "melting_point", 1.0),
    ("boiling point", "K", "boiling_point", 1.0),
    ("bulk modulus", "GPa", "bulk_modulus", 1.0),
    ("Young's modulus", "GPa", "youngs_modulus", 1.0),
    ("density of the solid", "g/cm3", "density_of_solid", 1e-3),
    ("molar volume", "cm3/mol", "molar_volume", 1.0),
    ("ionization energy", "eV", "ionization_energy", 1.0),
    ("electron affinity", "eV", "electron_affinity", 1.0),
    ("thermal conductivity", "W/m/K", "thermal_conductivity", 1.0),
)


class ElementTable(NamedTuple):
    """Properties by atomic number, NaN where there is none; row 0 is NaN."""

    names: list
    units: list
    values: np.ndarray
    mass: np.ndarray
    covalent_radius: np.ndarray
    electronegativity: np.ndarray


@functools.cache
def element_table():
    """Return the properties of the elements, read from pymatgen at the first call."""
    from pymatgen.analysis.molecule_structure_comparator import CovalentRadius
    from pymatgen.core import Element

    names = [name for name, *_ in _ATTRIBUTES]
    units = [unit for _, unit, *_ in _ATTRIBUTES]
    names += ["covalent radius"]
    units += ["angstrom"]
    names += [f"{shell} valence electrons" for shell in _SHELLS]
    names += [f"unfilled {shell} orbitals" for shell in _SHELLS]
    names += ["valence electrons", "unfilled orbitals"]
    units += [""] * 10
    values = np.full((N_ELEMENTS + 1, len(names)), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns of each gap
        for z in range(1, N_ELEMENTS + 1):
            element = Element.from_Z(z)
            row = [
                _number(getattr(element, attribute, None)) * factor
                for *_, attribute, factor in _ATTRIBUTES
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
    column = {name: values[:, i] for i, name in enumerate(names)}
    return ElementTable(
        names, units, values, column["atomic mass"], column["covalent radius"],
        column["electronegativity"],
    )  # fmt: skip


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
