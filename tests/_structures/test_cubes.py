"""Test the analysis of cubic crystals against spglib's."""

import numpy as np
import pytest
import spglib
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Lattice, Structure

from sklearn_unlocknn._structures.cubes import analyse_cube

TOLERANCE = 0.002

# spglib warns that its failures will be exceptions
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def crystal_of(group, **sites):
    lattice = Lattice.cubic(8.1)
    crystal = Structure.from_spacegroup(
        group, lattice, list(sites), list(sites.values())
    )
    return crystal.get_primitive_structure()


CUBES = [
    crystal_of("Pm-3m", Po=[0, 0, 0]),
    crystal_of("Pm-3m", Sr=[0, 0, 0], Ti=[0.5, 0.5, 0.5], O=[0.5, 0.5, 0]),
    crystal_of("Im-3m", W=[0, 0, 0]),
    crystal_of("Im-3m", Co=[0, 0, 0], As=[0.3, 0.3, 0]),
    crystal_of("Fm-3m", Cu=[0, 0, 0]),
    crystal_of("Fm-3m", Ca=[0, 0, 0], F=[0.25, 0.25, 0.25]),
    crystal_of("Fm-3m", Cu=[0.25] * 3, Mn=[0, 0, 0], Al=[0.5] * 3),
    crystal_of("Fm-3m", K=[0.25] * 3, Pt=[0, 0, 0], Cl=[0.24, 0, 0]),
]
DIAMOND = crystal_of("Fd-3m", C=[0, 0, 0])
ZINC_BLENDE = crystal_of("F-43m", Zn=[0, 0, 0], S=[0.25, 0.25, 0.25])
PYRITE = crystal_of("Pa-3", Fe=[0, 0, 0], S=[0.385, 0.385, 0.385])


def cell_of(crystal):
    """Return lattice, coordinates, rounded as those of data sets, and types."""
    return (
        crystal.lattice.matrix.round(4),
        crystal.frac_coords.round(4),
        tuple(crystal.species.index(kind) for kind in crystal.species),
    )


@pytest.mark.parametrize(
    "basis", [np.eye(3), [[1, 1, 0], [0, 1, 0], [0, 2, 1]]], ids=["primitive", "long"]
)
@pytest.mark.parametrize("crystal", CUBES, ids=lambda crystal: crystal.reduced_formula)
def test_equals_spglib(crystal, basis):
    cell = cell_of(crystal * basis)
    reduced, number, order, orbits, site = analyse_cube(*cell, TOLERANCE)
    want = spglib.get_symmetry_dataset(cell, symprec=5 * TOLERANCE)
    assert (number, order) == (want.number, len(want.rotations))
    assert_array_equal(site, want.mapping_to_primitive)
    same = want.crystallographic_orbits
    assert_array_equal(orbits[:, None] == orbits, same[:, None] == same)
    lengths = [
        np.sort(np.linalg.norm(one, axis=1))
        for one in (reduced, spglib.niggli_reduce(want.primitive_lattice))
    ]
    assert_allclose(*lengths, rtol=1e-9)


def strained(crystal):
    return crystal.apply_strain([0, 0, 0.001], inplace=False)


def displaced(crystal):
    crystal = crystal.copy()
    return crystal.translate_sites([len(crystal) - 1], [0.001, 0, 0])


@pytest.mark.parametrize(
    "crystal",
    [
        DIAMOND, ZINC_BLENDE, PYRITE, CUBES[0] * 2, strained(CUBES[4]),
        *map(displaced, (CUBES[1], CUBES[5], CUBES[7])), CUBES[1] * (6, 6, 6),
    ],
)  # fmt: skip
def test_other_crystals_are_left_to_spglib(crystal):
    assert analyse_cube(*cell_of(crystal), TOLERANCE) is None
