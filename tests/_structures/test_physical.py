"""Test that no valid structure is refused, and none that cannot exist is taken."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from _structures.damage import ethanol, rock_salt, triclinic
from pymatgen.core import Lattice, Molecule, Structure

from sklearn_unlocknn._structures.physical import check_physical
from sklearn_unlocknn._structures.read import as_structure
from sklearn_unlocknn.datasets import fetch_elasticity, make_ionic_crystals


@pytest.mark.parametrize(
    ("symbols", "length"),
    [("HH", 0.741), ("HF", 0.917), ("OH", 0.970), ("NN", 1.098), ("CO", 1.128),
     ("FF", 1.412), ("BeH", 1.343), ("CC", 1.203), ("LiH", 1.595), ("CsF", 2.345)],
)  # fmt: skip
def test_bonds_of_real_molecules(symbols, length):
    kinds = [part for part in ("Be", "Li", "Cs") if part in symbols]
    kinds = [*kinds, *symbols.replace("".join(kinds), "")]
    places = np.array([[0, 0, 0], [0, 0, length]])
    check_physical(Molecule(kinds, places))
    check_physical(
        Structure(Lattice.cubic(12), kinds, places, coords_are_cartesian=True)
    )
    with pytest.raises(ValueError, match=r"sites 0 \(.*\) and 1 \(.*\) are .* apart"):
        check_physical(Molecule(kinds, places / 2))


def test_crystals_are_taken():
    for structure in [rock_salt(), triclinic(), *make_ionic_crystals(100).data]:
        assert as_structure(structure) is structure
    assert as_structure(ethanol()) == ethanol()
    iron = Structure(Lattice.cubic(2.87), [{"Fe": 0.5, "Ni": 0.5}], [[0] * 3])
    check_physical(iron)
    check_physical(Structure(Lattice.cubic(40), ["He"], [[0] * 3]))


def with_site(symbol, place):
    structure = rock_salt()
    structure.append(symbol, place)
    return structure


CELL = Lattice.cubic(5)
IMPOSSIBLE = {
    "repeated": (with_site("Na", [0, 0, 0]), r"0 \(Na\) and 8 \(Na\) are 0.000"),
    "few decimals": (with_site("Na", [0, 0.5, 0.501]), r"0.006 angstrom .*merge_sites"),
    "across the border": (with_site("Cl", [0.999, 0, 0]), r"0.006 angstrom"),
    "alternative": (with_site("O", [0.58, 0, 0]), "alternative positions"),
    "small cell": (Structure(Lattice.cubic(0.45), ["H"], [[0] * 3]), "image are 0.45"),
    "nanometres": (Structure(Lattice.cubic(0.4), ["Na"], [[0] * 3]), "image are 0.4"),
    "flat": (Structure(Lattice.from_parameters(5, 5, 5, 90, 90, 0.1), ["H"], [[0] * 3]),
             "lattice planes are 0.00"),
    "large cell": (Structure(Lattice.cubic(1e6), ["Na"], [[0] * 3]), "for each atom"),
    "endless cell": (Structure(Lattice([[np.inf, 0, 0], [0, 1, 0], [0, 0, 1]]), ["Na"],
                               [[0] * 3]), "not finite"),
    "far away": (Structure(CELL, ["Na"], [[2e3, 0, 0]]), "1000 cells or more outside"),
    "nan": (Structure(CELL, ["Na"], [[np.nan] * 3]), "not finite"),
    "nan molecule": (Molecule(["O"], [[np.nan] * 3]), "not finite"),
    "empty": (Structure(CELL, [], []), "no atoms"),
    "empty site": (Structure(CELL, [{"Na": 0}], [[0] * 3]), "its occupancy is 0"),
    "no element": (Structure(CELL, ["X"], [[0] * 3]), "expected chemical elements"),
}  # fmt: skip


@pytest.mark.parametrize("kind", IMPOSSIBLE)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_impossible_structures(kind):
    structure, match = IMPOSSIBLE[kind]
    with pytest.raises(ValueError, match=match):
        as_structure(structure)


def test_distances_of_a_skewed_cell():
    # The shortest vector of the lattice is not among its three vectors.
    skewed = rock_salt()
    skewed.make_supercell([[1, 3, 0], [0, 1, 0], [2, 0, 1]], to_unit_cell=False)
    check_physical(skewed)
    place = np.add(skewed[0].coords, [0, 0, 0.4])
    skewed.append("Na", place, coords_are_cartesian=True)
    with pytest.raises(ValueError, match=r"0.400 angstrom apart"):
        check_physical(skewed)


DATA = os.environ.get("SKLEARN_UNLOCKNN_DATA", "")


@pytest.mark.skipif(not DATA, reason="SKLEARN_UNLOCKNN_DATA is not set")
def test_real_crystals_are_taken():
    assert len(fetch_elasticity(download_if_missing=False).data) == 3953
    file = Path(DATA, "matbench/matbench_phonons.json.gz")
    with gzip.open(file, "rt") as stream:
        rows = json.load(stream)["data"]
    assert all(len(as_structure(row[0])) for row in rows)
