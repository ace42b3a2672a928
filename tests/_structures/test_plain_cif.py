"""Test that structures of plain CIF blocks are those that pymatgen builds."""

import warnings

import numpy as np
import pytest
from _structures.damage import perovskite, rock_salt, symmetric_cif, triclinic
from numpy.testing import assert_allclose
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifParser

from sklearn_unlocknn._structures.plain_cif import plain_structure
from sklearn_unlocknn._structures.read import as_structure

GARNET = Structure.from_spacegroup(
    "Ia-3d", Lattice.cubic(11.5), ["Mg", "Al", "Si", "O"],
    [[0.125, 0, 0.25], [0, 0, 0], [0.375, 0, 0.25], [0.033, 0.05, 0.653]],
)  # fmt: skip
QUARTZ = Structure.from_spacegroup(
    "P3_221", Lattice.hexagonal(4.91, 5.40), ["Si", "O"],
    [[0.4697, 0, 0], [0.4135, 0.2669, 0.1191]],
)  # fmt: skip
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.59, 2.96), ["Ti", "O"],
    [[0, 0, 0], [0.305, 0.305, 0]],
)  # fmt: skip
CRYSTALS = [rock_salt(), perovskite(), triclinic(), QUARTZ, RUTILE, GARNET]
SITES = ["Na Na1 0 0 0", "Cl Cl1 0.5 0.5 0.5"]
INVERSION = ["x, y, z", "-x, -y, -z"]
#: Coordinates of a third site that nearly coincides with one of SITES.
NEAR = ["Br Br1 0.5 0.5 0.50003", "Na Na2 0.00015 0 0", "Na Na2 0.00007 0 0"]


def cif(sites=SITES, *, operations=("x, y, z",), head="", columns=(), cell=5.0):
    """Write a CIF by hand; each site has symbol, label, coordinates and columns."""
    names = ["type_symbol", "label", "fract_x", "fract_y", "fract_z", *columns]
    lines = ["data_hand", *head.splitlines()]
    lines += [f"_cell_length_{x} {cell}" for x in "abc"]
    lines += [f"_cell_angle_{x} 90" for x in ("alpha", "beta", "gamma")]
    lines += ["loop_", "_symmetry_equiv_pos_as_xyz", *(f"'{o}'" for o in operations)]
    lines += ["loop_", *(f"_atom_site_{name}" for name in names), *sites]
    return "\n".join(lines) + "\n"


def block_of(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rounded coordinates
        parser = CifParser.from_str(text, check_cif=False)
    (block,) = parser.as_dict().values()
    return block, parser


def assert_as_pymatgen(text):
    block, parser = block_of(text)
    got = plain_structure(block)
    (want,) = parser.parse_structures(primitive=False, on_error="raise")
    assert got is not None
    assert type(got) is Structure
    assert (got.species_and_occu, got.labels) == (want.species_and_occu, want.labels)
    assert got.lattice == want.lattice
    assert (got.charge, got.properties) == (want.charge, want.properties)
    assert got.site_properties == want.site_properties
    assert_allclose(got.frac_coords, want.frac_coords, rtol=0, atol=1e-14)


@pytest.mark.parametrize("write", [lambda s: s.to(fmt="cif"), symmetric_cif])
@pytest.mark.parametrize("crystal", CRYSTALS, ids=lambda s: s.reduced_formula)
def test_equals_pymatgen(crystal, write):
    assert_as_pymatgen(write(crystal))


@pytest.mark.parametrize("shift", [-1e-17, 0.99999, 3.7, -0.2])
def test_coordinates_outside_the_cell(shift):
    assert_as_pymatgen(cif([f"Na Na1 {shift} 0 0", "Cl Cl1 0.5 0.5 0.5"]))


def test_order_of_sites_and_images():
    """By electronegativity, of which Ru and Pd have one, symbol, place in the file."""
    sites = ["Ru a 0 0 0", "Pd b .5 0 0", "Na c .1 .2 .3", "Ru d 0 .5 0", "Li e 0 0 .5"]
    assert_as_pymatgen(cif(sites, operations=INVERSION[::-1]))


@pytest.mark.parametrize(
    "options",
    [
        {"sites": ["Na1+ Na1 0 0 0", "Cl1- Cl1 0.5 0.5 0.5"]},
        {"sites": ["He He1 0 0 0"]},  # no electronegativity, which pymatgen sorts by
        {"sites": ["Xx Xx1 0 0 0"]},
        *({"sites": [*SITES, near], "operations": INVERSION} for near in NEAR),
        {"sites": ["Na Na1 0.25 0.1 0", "Na Na2 0.75 0.9 0"], "operations": INVERSION},
        {"sites": ["Na Na1 0.00003 0 0"], "operations": INVERSION},
        {"operations": ["-x, -y, -z"]},
        {"operations": ["x, y, z", "x+1/0, y, z"]},
        {"operations": ["x, y, z"] * 3000},
        {"sites": ["Na Na1 1e30 0 0"]},
        {"sites": ["Na Na1 nan 0 0"]},
        {"sites": ["Na Na1 0.25(3) 0 0"]},
        {"sites": ["Na Na1 0 0 0 0.5"], "columns": ["occupancy"]},
        {"cell": "?"},
        {"head": "loop_\n_atom_type_symbol\n_atom_type_oxidation_number\nNa 1\nCl -1"},
    ],
    ids=str,
)  # fmt: skip
def test_left_to_pymatgen(options):
    block, _ = block_of(cif(**options))
    assert plain_structure(block) is None


@pytest.mark.parametrize("operations", [INVERSION[:1], INVERSION])
@pytest.mark.parametrize("near", NEAR)
def test_sites_that_nearly_coincide_are_refused(near, operations):
    with pytest.raises(ValueError, match=r"closer than|Occupancy"):
        as_structure(cif([*SITES, near], operations=operations))


def test_cell_without_volume_is_refused():
    with pytest.raises(ValueError, match=r"lattice planes are 0\.2 angstrom"):
        as_structure(cif(cell=0.2))


def test_left_to_pymatgen_without_operations():
    text = cif().replace("_symmetry_equiv_pos_as_xyz", "_symmetry_equiv_pos_other")
    assert plain_structure(block_of(text)[0]) is None


def test_magnetic_moments_are_pymatgens():
    moments = (
        "loop_\n_atom_site_moment_label\n"
        + "".join(f"_atom_site_moment_crystalaxis_{x}\n" for x in "xyz")
        + "Na1 0 0 2\n_chemical_formula_sum 'Na Cl'"
    )
    text = cif(head=moments)
    assert plain_structure(block_of(text)[0]) is not None
    read = as_structure(text)
    assert [float(moment) for moment in read.site_properties["magmom"]] == [2, 0]


def test_cell_of_many_sites():
    crystal = perovskite() * (6, 6, 6)
    text = crystal.to(fmt="cif")
    got = plain_structure(block_of(text)[0])
    assert len(got) == 1080
    assert got.composition == crystal.composition
    near = np.linalg.norm(got[0].frac_coords - crystal.frac_coords, axis=1).min()
    assert near < 1e-7
