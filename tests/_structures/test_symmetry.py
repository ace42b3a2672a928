"""Test the symmetry of crystals against spglib's."""

import numpy as np
import pytest
import spglib
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Lattice, Structure

from sklearn_unlocknn._structures.symmetry import SYMPREC, describe_symmetry

# spglib warns that its failures will be exceptions
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def crystal_of(group, lattice=None, **sites):
    lattice = lattice or Lattice.cubic(8.1)
    crystal = Structure.from_spacegroup(
        group, lattice, list(sites), list(sites.values())
    )
    return crystal.get_primitive_structure()


HEXAGONAL, CORNER = Lattice.hexagonal(3.2, 5.2), [0.25] * 3
PEROVSKITE = crystal_of("Pm-3m", Sr=[0, 0, 0], Ti=[0.5] * 3, O=[0.5, 0.5, 0])
CRYSTALS = {
    "Po": crystal_of("Pm-3m", Po=[0, 0, 0]),
    "SrTiO3": PEROVSKITE,
    "supercell": PEROVSKITE * 2,
    "W": crystal_of("Im-3m", W=[0, 0, 0]),
    "skutterudite": crystal_of("Im-3m", Co=[0, 0, 0], As=[0.3, 0.3, 0]),
    "CaF2": crystal_of("Fm-3m", Ca=[0, 0, 0], F=CORNER),
    "Heusler": crystal_of("Fm-3m", Cu=CORNER, Mn=[0, 0, 0], Al=[0.5] * 3),
    "K2PtCl6": crystal_of("Fm-3m", K=CORNER, Pt=[0, 0, 0], Cl=[0.24, 0, 0]),
    "diamond": crystal_of("Fd-3m", C=[0, 0, 0]),
    "ZnS": crystal_of("F-43m", Zn=[0, 0, 0], S=CORNER),
    "pyrite": crystal_of("Pa-3", Fe=[0, 0, 0], S=[0.385] * 3),
    "Mg": crystal_of("P6_3/mmc", HEXAGONAL, Mg=[1 / 3, 2 / 3, 0.25]),
    "wurtzite": crystal_of(
        "P6_3mc", HEXAGONAL, Zn=[1 / 3, 2 / 3, 0], O=[1 / 3, 2 / 3, 0.38]
    ),
    "rutile": crystal_of(
        "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), Ti=[0, 0, 0], O=[0.3, 0.3, 0]
    ),
    "strained": PEROVSKITE.apply_strain([0, 0, 0.01], inplace=False),
    "displaced": PEROVSKITE.copy().translate_sites([4], [0.01, 0.02, 0.03]),
}


@pytest.mark.parametrize(
    "basis", [np.eye(3), [[1, 1, 0], [0, 1, 0], [0, 2, 1]]], ids=["primitive", "long"]
)
@pytest.mark.parametrize("name", CRYSTALS)
def test_equals_spglib(name, basis):
    crystal = CRYSTALS[name] * basis
    matrix, fractional = crystal.lattice.matrix, crystal.frac_coords
    numbers, site = describe_symmetry(matrix, fractional, crystal.species)
    ratio, filling, group, _, order, n_sites, distinct, *complexity = numbers
    scale = (15.0 * len(crystal) / crystal.volume) ** (1 / 3)
    cell = matrix * scale, fractional, [one.Z for one in crystal.species]
    want = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
    same, primitive = want.crystallographic_orbits, want.mapping_to_primitive
    assert group == want.number
    assert order == len(np.unique(want.rotations, axis=0))
    assert_array_equal(site[:, None] == site, primitive[:, None] == primitive)
    assert n_sites == primitive.max() + 1
    assert distinct == len(set(same)) / n_sites
    share = np.unique(same, return_counts=True)[1] / len(same)
    information = -share @ np.log2(share)
    assert_allclose(complexity, [information, information * n_sites], atol=1e-12)
    reduced = spglib.niggli_reduce(want.primitive_lattice)
    lengths = np.linalg.norm(reduced, axis=1)
    assert_allclose(ratio, lengths.max() / lengths.min(), rtol=1e-3)
    assert_allclose(filling, abs(np.linalg.det(reduced)) / lengths.prod(), rtol=1e-3)


def test_atoms_on_each_other_have_no_symmetry():
    numbers, site = describe_symmetry(4.0 * np.eye(3), np.zeros((2, 3)), ["Na", "Cl"])
    assert np.isnan(numbers).all()
    assert_array_equal(site, [0, 1])


def test_supercell_without_the_symmetry_of_its_crystal_is_not_logged(caplog):
    crystal = PEROVSKITE * [[1, 0, 0], [0, 1, 0], [0, 0, 2]]
    numbers, _ = describe_symmetry(
        crystal.lattice.matrix, crystal.frac_coords, crystal.species
    )
    assert numbers[2] == 221
    assert not caplog.records
