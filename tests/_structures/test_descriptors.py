"""Test descriptors of structures: known values, invariance, gaps, other inputs."""

import math
import warnings

import numpy as np
import pytest
from _structures.crystals import COPPER, DIAMOND, MIXED, NACL, QUARTZ, WATER
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import (
    DummySpecies,
    Element,
    Lattice,
    Molecule,
    Structure,
)

from sklearn_unlocknn import StructureDescriptors
from sklearn_unlocknn._structures.descriptors import (
    DESCRIPTOR_GROUPS,
    describe_structures,
    descriptor_names,
)
from sklearn_unlocknn._structures.element_data import element_table
from sklearn_unlocknn._structures.read import StructureError
from sklearn_unlocknn.datasets import make_ionic_crystals


def describe(structure, groups=("composition", "geometry", "complexity")):
    """Return the descriptors of one structure by name."""
    values = describe_structures([structure], groups)[0]
    return dict(zip(descriptor_names(groups)[0], values, strict=True))


# --- known values ----------------------------------------------------------------


def test_rock_salt():
    found = describe(NACL)
    volume = 5.64**3 / 8
    radii = element_table().column("covalent radius")[[11, 17]]
    sodium, chlorine = 22.98976928, 35.453
    want = {
        "density": (sodium + chlorine) / 2 * 1.66053907 / volume,
        "volume per atom": volume,
        "packing fraction of touching spheres": math.pi / 6,
        "packing fraction of covalent spheres": (
            4 / 3 * math.pi * (radii**3).mean() / volume
        ),
        "mean nearest-neighbour distance": 2.82,
        "deviation of nearest-neighbour distance": 0,
        "mean bond length over sum of radii": 2.82 / radii.sum(),
        "maximum inverse root of mass": sodium**-0.5,
        "mean inverse root of reduced mass": (1 / sodium + 1 / chlorine) ** 0.5,
        "ratio of cell lengths": 1,
        "volume over product of cell lengths": math.sqrt(0.5),
        "space-group number": 225,
        "crystal system": 7,
        "symmetry operations": 48,
        "sites in the primitive cell": 2,
        "distinct sites per site": 1,
        "structural complexity per site": 1,
        "structural complexity of the primitive cell": 2,
        "mean electronegativity": (0.93 + 3.16) / 2,
        "mean deviation of electronegativity": (3.16 - 0.93) / 2,
        "maximum atomic number": 17,
    }
    # The 12 second neighbours, at sqrt(2) times the distance, have weights of .001
    assert_allclose([found[name] for name in want], list(want.values()), atol=2e-3)
    assert_allclose(found["mean coordination number"], 6, rtol=0.01)


@pytest.mark.parametrize(
    ("crystal", "number", "operations"), [(DIAMOND, 4, 48), (COPPER, 12, 48)]
)
def test_coordination(crystal, number, operations):
    found = describe(crystal)
    for kind in ("mean", "minimum", "maximum"):
        assert_allclose(found[f"{kind} coordination number"], number, rtol=0.01)
    assert found["symmetry operations"] == operations
    assert found["structural complexity per site"] == 0


def test_packing_of_touching_spheres_in_fcc_is_closest():
    name = "packing fraction of touching spheres"
    assert_allclose(describe(COPPER)[name], math.pi / math.sqrt(18))


def test_spring_frequencies_of_rock_salt():
    # Six springs of stiffness k: each site moves against fixed neighbours with
    # 2 k / m, both sublattices against each other with 2 k / mu
    found = describe(NACL)
    k = found["mean bond length over sum of radii"] ** -6
    masses = np.array([22.98976928, 35.453])
    want = {
        "maximum site frequency": np.sqrt(2 * k / masses.min()),
        "minimum site frequency": np.sqrt(2 * k / masses.max()),
        "mean site frequency": np.sqrt(2 * k / masses).mean(),
        "highest spring frequency": np.sqrt(2 * k * (1 / masses).sum()),
        "maximum bond frequency": np.sqrt(k * (1 / masses).sum()),
        "spring bulk modulus": 6 * k * 2.82**2 / 18 / (5.64**3 / 8),
    }
    assert_allclose([found[name] for name in want], list(want.values()), rtol=0.02)


@pytest.mark.parametrize("crystal", [NACL, DIAMOND, COPPER, QUARTZ])
def test_bonds_by_a_plain_loop(crystal):
    radii = element_table().column("covalent radius")
    numbers, spreads, relative, weights = [], [], [], []
    for site, neighbours in zip(crystal, crystal.get_all_neighbors(6), strict=True):
        d = np.array([n.nn_distance for n in neighbours])
        first = np.exp(1 - (d / d.min()) ** 6)
        w = np.exp(1 - (d / (first @ d / first.sum())) ** 6)
        mean = w @ d / w.sum()
        numbers.append(w.sum())
        spreads.append(math.sqrt(w @ (d - mean) ** 2 / w.sum()) / mean)
        relative += [
            n.nn_distance / (radii[n.specie.Z] + radii[site.specie.Z])
            for n in neighbours
        ]
        weights += list(w)
    want = {
        "mean coordination number": np.mean(numbers),
        "minimum coordination number": min(numbers),
        "deviation of coordination number": np.std(numbers),
        "mean bond-length spread": np.mean(spreads),
        "mean bond length over sum of radii": np.average(relative, weights=weights),
    }
    found = describe(crystal)
    # Neighbours beyond 1.5 times the nearest distance are left out
    assert_allclose([found[n] for n in want], list(want.values()), rtol=1e-3, atol=2e-4)


def test_element_without_radius_has_no_springs():
    found = describe(Structure(Lattice.cubic(3.5), ["Es"], [[0, 0, 0]]))
    missing = {name for name, value in found.items() if math.isnan(value)}
    assert {"highest spring frequency", "mean covalent radius"} <= missing
    assert not {"volume per atom", "mean coordination number"} & missing


def test_highest_frequency_of_many_sites_by_lanczos(monkeypatch):
    rng = np.random.default_rng(0)
    atoms = Structure(Lattice.cubic(11), ["Si"] * 64, rng.random((64, 3)))
    atoms = atoms.copy().merge_sites(1.5, mode="delete")
    want = describe(atoms)
    monkeypatch.setattr("sklearn_unlocknn._structures.geometry._DENSE", 10)
    assert_allclose(list(describe(atoms).values()), list(want.values()), rtol=1e-5)


def test_complexity_of_quartz():
    found = describe(QUARTZ)
    p = np.array([1 / 3, 2 / 3])
    want = -(p @ np.log2(p))
    assert_allclose(found["structural complexity per site"], want)
    assert_allclose(found["structural complexity of the primitive cell"], 9 * want)
    assert found["space-group number"] == 154


def test_statistics_over_atoms_by_a_plain_loop(structures):
    table = element_table()
    for structure in structures:
        found = describe(structure, ("composition",))
        amounts = structure.composition.get_el_amt_dict()
        x = np.array(list(amounts.values())) / sum(amounts.values())
        z = [Element(symbol).Z for symbol in amounts]
        for name in table.names:
            p = table.column(name)[z]
            want = [x @ p, x @ abs(p - x @ p), p.min(), p.max()]
            kinds = ("mean", "mean deviation of", "minimum", "maximum")
            got = [found[f"{kind} {name}"] for kind in kinds]
            assert_allclose(got, want, rtol=1e-8, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    ("symbol", "electrons", "unfilled"),
    [
        ("H", (1, 0, 0, 0), (1, 0, 0, 0)),
        ("O", (2, 4, 0, 0), (0, 2, 0, 0)),
        ("Fe", (2, 0, 6, 0), (0, 0, 4, 0)),
        ("Pd", (0, 0, 10, 0), (0, 0, 0, 0)),
        ("Gd", (2, 0, 1, 7), (0, 0, 9, 7)),
        ("Pb", (2, 2, 10, 14), (0, 4, 0, 0)),
    ],
)
def test_valence_electrons(symbol, electrons, unfilled):
    table, z = element_table(), Element(symbol).Z
    got = [table.column(f"{shell} valence electrons")[z] for shell in "spdf"]
    assert tuple(got) == electrons
    assert tuple(table.column(f"unfilled {s} orbitals")[z] for s in "spdf") == unfilled


def test_element_fractions():
    found = describe(QUARTZ, ("element_fractions",))
    assert len(found) == 103
    assert_allclose([found["fraction Si"], found["fraction O"]], [1 / 3, 2 / 3])
    assert_allclose(sum(found.values()), 1)


def test_equal_fractions_have_equal_statistics():
    X = StructureDescriptors(("composition",)).fit_transform([QUARTZ, QUARTZ * 7])
    assert_array_equal(X[0], X[1])
    pure = describe(COPPER * 7)
    assert all(value == 0 for name, value in pure.items() if "deviation" in name)


# --- invariance ------------------------------------------------------------------


def rotated(structure):
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    matrix = structure.lattice.matrix @ turn
    return Structure(Lattice(matrix), structure.species, structure.frac_coords)


@pytest.mark.parametrize("crystal", [NACL, DIAMOND, QUARTZ], ids=lambda s: s.formula)
@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.get_primitive_structure(),
        lambda s: s.get_reduced_structure(),
        rotated,
        lambda s: Structure.from_sites(s.sites[::-1]),
        lambda s: Structure(
            s.lattice,
            s.species,
            np.add(s.frac_coords, [0.3, -2.1, 0.07]),
            to_unit_cell=True,
        ),
        lambda s: Structure(s.lattice, s.species, np.add(s.frac_coords, [3, -2, 1])),
    ],
    ids=["primitive", "reduced", "rotated", "order", "shifted", "outside the cell"],
)
def test_any_cell_and_order_of_sites(crystal, change):
    want, got = describe(crystal), describe(change(crystal))
    assert_allclose(list(got.values()), list(want.values()), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("crystal", [NACL, DIAMOND, QUARTZ], ids=lambda s: s.formula)
@pytest.mark.parametrize(
    "size", [(2, 1, 1), (2, 2, 1), [[1, 1, 0], [0, 1, 0], [0, 0, 2]]]
)
def test_supercells(crystal, size):
    want, got = describe(crystal), describe(crystal * size)
    assert_allclose(list(got.values()), list(want.values()), rtol=1e-4, atol=1e-6)


# --- what is undefined, disordered sites, other inputs ---------------------------


def test_molecules_have_what_needs_no_lattice():
    found = describe(WATER)
    missing = {name for name, value in found.items() if math.isnan(value)}
    symmetry = descriptor_names(("complexity",))[0]
    assert missing == {
        *symmetry,
        *(name for name in found if "packing" in name or "cell" in name),
        "density", "volume per atom", "spring bulk modulus", "space-group number",
        "crystal system", "symmetry operations", "distinct sites per site",
    }  # fmt: skip
    length = math.hypot(0.757, 0.586)
    assert_allclose(found["minimum nearest-neighbour distance"], length)
    assert_allclose(found["mean coordination number"], 4 / 3, atol=0.01)


def test_slab_that_repeats_in_two_directions_is_no_crystal():
    lattice = Lattice(np.diag([3.0, 3.0, 20.0]), pbc=(True, True, False))
    found = describe(Structure(lattice, ["Cu"], [[0, 0, 0]]))
    assert math.isnan(found["volume per atom"])
    assert math.isnan(found["space-group number"])
    assert_allclose(found["mean nearest-neighbour distance"], 3)
    assert_allclose(found["mean coordination number"], 4, atol=0.02)


def test_lone_atom_has_no_bonds():
    found = describe(Molecule(["Fe"], [[0, 0, 0]]))
    assert math.isnan(found["mean nearest-neighbour distance"])
    assert math.isnan(found["mean coordination number"])
    assert math.isnan(found["highest spring frequency"])
    assert_allclose(found["mean inverse root of mass"], 55.845**-0.5)


def test_gaps_of_element_properties():
    helium = Structure(Lattice.cubic(4), ["He"], [[0, 0, 0]])
    found = describe(helium)
    for kind in ("mean", "mean deviation of", "minimum", "maximum"):
        assert math.isnan(found[f"{kind} electronegativity"])
        assert found[f"{kind} atomic number"] == (0 if "deviation" in kind else 2)
    mixed = Structure(Lattice.cubic(4), ["He", "Na"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert describe(mixed)["mean electronegativity"] == 0.93
    assert describe(mixed)["mean deviation of electronegativity"] == 0


def test_crystals_of_common_elements_have_no_gaps():
    X = make_ionic_crystals(20, random_state=1).data
    assert np.isfinite(StructureDescriptors().fit_transform(X)).all()


def test_disordered_site_counts_as_its_mean():
    found = describe(MIXED)
    sodium, potassium, chlorine = 22.98976928, 39.0983, 35.453
    mass = 0.25 * sodium + 0.75 * potassium
    assert_allclose(found["density"], 1.66053907 * (mass + chlorine) / 3.2**3)
    assert_allclose(found["maximum inverse root of mass"], mass**-0.5)
    assert_allclose(found["minimum inverse root of mass"], chlorine**-0.5)
    assert found["space-group number"] == 221
    fractions = describe(MIXED, ("element_fractions",))
    assert_allclose(fractions["fraction K"], 0.375)


def test_vacancies_count_by_occupancy():
    lattice, sites = Lattice.cubic(4.2), [[0, 0, 0], [0.5, 0.5, 0.5]]
    found = describe(Structure(lattice, [{"Fe": 0.5}, "O"], sites))
    assert_allclose(found["volume per atom"], 4.2**3 / 1.5)
    assert_allclose(found["mean atomic mass"], (0.5 * 55.845 + 15.999) / 1.5, rtol=1e-5)


def test_alternative_positions_are_no_neighbours():
    lattice = Lattice.cubic(4)
    split = Structure(
        lattice, [{"Cu": 0.5}, {"Cu": 0.5}, "Cl"],
        [[0, 0, 0.02], [0, 0, -0.02], [0.5, 0.5, 0.5]],
    )  # fmt: skip
    assert describe(split)["minimum nearest-neighbour distance"] > 3


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (
            Structure(Lattice.cubic(4), ["Cu"] * 2, [[0, 0, 0], [0, 0, 0.001]]),
            r"Structure 1 \(Cu\): sites 0 \(Cu\) and 1 \(Cu\) are 0.004 angstrom apart",
        ),
        (
            Structure(Lattice.cubic(4), [DummySpecies("X")], [[0, 0, 0]]),
            r"Structure 1 .*site 0 is X0\+, expected chemical elements",
        ),
        ({"atom": [[0.1, 0.2]], "bond": [], "index1": [], "index2": []},
         r"Structure 1 \(graph of 1 atoms\): the graph holds atoms as float64 of shape "
         r"\(1, 2\), expected atomic numbers. Pass the structure instead"),
        ({"atom": [0], "bond": [], "index1": [], "index2": []},
         r"Structure 1 .*numbers are not all 1 to 103"),
        ("no such file.cif", r"Structure 1 \(no such file.cif\): there is no file"),
    ],
)  # fmt: skip
def test_errors_name_the_structure(structure, message):
    items = [NACL, structure, DIAMOND]
    with pytest.raises(StructureError, match=message):
        StructureDescriptors().fit_transform(items)
    groups = DESCRIPTOR_GROUPS
    X = StructureDescriptors(groups, on_error="nan").fit_transform(items)
    assert np.isnan(X[1]).all()
    want = StructureDescriptors(groups).fit_transform([NACL, DIAMOND])
    assert_array_equal(X[[0, 2]], want)


def test_structure_has_the_same_descriptors_beside_any_others(structures):
    lone = Molecule(["Fe"], [[0, 0, 0]])
    several = [*structures, lone, NACL * 2, *structures[::-1], DIAMOND, *structures]
    X = describe_structures(several, DESCRIPTOR_GROUPS)
    for one, row in zip(several, X, strict=True):
        assert_array_equal(row, describe_structures([one], DESCRIPTOR_GROUPS)[0])


def test_error_in_a_later_block_has_its_index():
    items = [WATER] * 501 + ["gone.cif"]
    with pytest.raises(StructureError, match=r"Structure 501 \(gone.cif\)"):
        StructureDescriptors(("composition",)).fit_transform(items)


def test_input_kinds(tmp_path):
    QUARTZ.to(str(tmp_path / "a.cif"))
    QUARTZ.to(str(tmp_path / "POSCAR"))
    kinds = [
        QUARTZ.as_dict(), tmp_path / "a.cif", str(tmp_path / "POSCAR"),
        (tmp_path / "a.cif").read_text(),
    ]  # fmt: skip
    transformer = StructureDescriptors()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen on rounded coordinates
        X = transformer.fit_transform(kinds)
    want = transformer.transform([QUARTZ])
    assert_allclose(X, np.repeat(want, len(X), axis=0), rtol=1e-4, atol=1e-6)


def test_ase_atoms():
    pytest.importorskip("ase")
    from pymatgen.io.ase import AseAtomsAdaptor

    for structure in (QUARTZ, WATER):
        X = StructureDescriptors().fit_transform(
            [AseAtomsAdaptor.get_atoms(structure), structure]
        )
        assert_allclose(X[0], X[1], rtol=1e-6, atol=1e-8)


def test_graph_has_composition_only():
    graph = {"atom": [14, 8, 8], "bond": [1.6], "index1": [0], "index2": [1]}
    found = describe(graph, DESCRIPTOR_GROUPS)
    want = describe(QUARTZ, DESCRIPTOR_GROUPS)
    names = descriptor_names(("composition", "element_fractions"))[0]
    assert_allclose([found[n] for n in names], [want[n] for n in names])
    assert all(math.isnan(found[n]) for n in set(found) - set(names))
