"""Generated crystals: physics against the literature, and the data set itself."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_unlocknn._megnet.compat import import_megnet
from sklearn_unlocknn.datasets import _ionic_prototypes as ionic_crystals
from sklearn_unlocknn.datasets import make_ionic_crystals
from sklearn_unlocknn.datasets._ionic_prototypes import PROTOTYPES, Ion

# e^2 / (4 pi epsilon_0) in eV angstrom, CODATA 2018
COULOMB = 14.399645478


@pytest.fixture(scope="module")
def crystals():
    return make_ionic_crystals(150, random_state=0)


def cell(name, **charges):
    """Make a prototype at its own size, with charges by role."""
    ions = {role: Ion("Na", charge, 0.0) for role, charge in charges.items()}
    structure, q = ionic_crystals.decorate(name, ions, 1.0)
    return structure, q, ionic_crystals.template(name)[2]


# C. Kittel, Introduction to Solid State Physics; Johnson and Templeton, J. Chem. Phys.
# 34, 2004 (1961): per formula unit, with the shortest cation-anion distance.
@pytest.mark.parametrize(
    ("name", "charges", "madelung"),
    [
        ("B1 rocksalt", {"A": 1, "X": -1}, 1.74756),
        ("B2 cesium chloride", {"A": 1, "X": -1}, 1.76267),
        ("B3 zincblende", {"A": 1, "X": -1}, 1.63806),
        ("C1 fluorite", {"A": 2, "X": -1}, 5.03879),
        ("C1 antifluorite", {"A": 1, "X": -2}, 5.03879),
        ("C3 cuprite", {"A": 1, "X": -2}, 4.44248),
    ],
)
def test_madelung_constants(name, charges, madelung):
    structure, q, roles = cell(name, **charges)
    energy = ionic_crystals.electrostatic_energy(structure, q) * len(structure)
    distances = structure.distance_matrix[np.ix_(roles == "A", roles == "X")]
    units = np.gcd(np.sum(roles == "A"), np.sum(roles == "X"))
    assert_allclose(-energy / units * distances.min() / COULOMB, madelung, rtol=1e-5)


# angstrom and number of neighbours in the compound that the prototype is named for
@pytest.mark.parametrize(
    ("name", "role", "bond", "n"),
    [
        ("B4 wurtzite", "A", 2.34, 4),
        ("C4 rutile", "A", 1.96, 6),
        ("C5 anatase", "A", 1.95, 6),
        ("C6 cadmium iodide", "A", 2.98, 6),
        ("D0_9 rhenium trioxide", "A", 1.875, 6),
        ("D5_1 corundum", "A", 1.91, 6),
        ("D5_2 lanthanum oxide", "A", 2.53, 7),
        ("E2_1 perovskite", "A", 2.76, 12),
        ("E2_1 perovskite", "B", 1.95, 6),
        ("F5_1 caswellsilverite", "A", 2.09, 6),
        ("F5_1 caswellsilverite", "B", 1.92, 6),
        ("H1_1 spinel", "A", 1.92, 4),
        ("H1_1 spinel", "B", 1.93, 6),
        ("J1_1 potassium hexachloroplatinate", "A", 3.45, 12),
        ("J1_1 potassium hexachloroplatinate", "B", 2.34, 6),
        ("K2NiF4", "A", 2.79, 9),
        ("K2NiF4", "B", 1.99, 6),
    ],
)
def test_coordination(name, role, bond, n):
    structure, _, roles = cell(name, **dict.fromkeys("ABX", 0))
    i = np.flatnonzero(roles == role)[0]
    near = structure.get_neighbors(structure[i], 1.17 * bond)
    lengths = [site.nn_distance for site in near if roles[site.index] == "X"]
    assert len(lengths) == n
    assert_allclose(np.mean(lengths), bond, rtol=0.01)


def test_cells_are_primitive():
    from pymatgen.core import Lattice, Structure

    stand_in = {"A": "Na", "B": "Ti", "X": "O"}
    for name, prototype in PROTOTYPES.items():
        matrix, coords, roles = ionic_crystals.template(name)
        structure = Structure(matrix, [stand_in[role] for role in roles], coords)
        system, *parameters = prototype.cell
        volume = getattr(Lattice, system)(*parameters).volume
        ratio = volume / structure.volume
        centring = prototype.space_group[0]
        assert_allclose(ratio, {"P": 1, "I": 2, "R": 3, "F": 4}[centring])
        assert structure.is_valid()
        assert ionic_crystals.decorations(name)


def test_neutral_real_and_sized(crystals):
    from pymatgen.core import Element

    assert len(set(crystals.prototype)) == len(PROTOTYPES)
    for structure, q in zip(crystals.data, crystals.charges, strict=True):
        assert sum(q) == 0
        for site, charge in zip(structure, q, strict=True):
            assert type(site.specie) is Element  # no charge leaks
            assert charge in site.specie.oxidation_states + (
                site.specie.icsd_oxidation_states
            )
        assert structure.is_valid(1.2)


def test_target_is_the_ewald_energy(crystals):
    for i in (0, 75, 149):
        energy = ionic_crystals.electrostatic_energy(
            crystals.data[i], crystals.charges[i]
        )
        assert energy == crystals.target[i]
        doubled = crystals.data[i] * (2, 1, 1)
        n = len(doubled) // len(crystals.data[i])
        again = ionic_crystals.electrostatic_energy(
            doubled, np.repeat(crystals.charges[i], n)
        )
        assert_allclose(again, energy, rtol=1e-5)
    assert (crystals.target < 0).all()


def test_reproducible(crystals):
    again = make_ionic_crystals(20, random_state=0)
    assert_array_equal(again.target, crystals.target[:20])
    assert list(again.data) == list(crystals.data[:20])
    assert len(np.unique(crystals.target)) == len(crystals.data)
    other = make_ionic_crystals(20, random_state=1)
    assert not np.isin(other.target, again.target).any()
    rng = np.random.RandomState(0)
    assert_array_equal(make_ionic_crystals(20, random_state=rng).target, again.target)


@pytest.mark.parametrize("cutoff", [4, 5])
def test_every_atom_has_neighbours(crystals, cutoff):
    import_megnet()
    from megnet.data.crystal import CrystalGraph

    graph = CrystalGraph(cutoff=cutoff)
    for structure in crystals.data:
        made = graph.convert(structure)
        assert set(made["index1"]) == set(range(len(structure)))


def test_returns_and_noise(crystals):
    X, y = make_ionic_crystals(3, random_state=0, return_X_y=True)
    assert X.shape == y.shape == (3,)
    framed = make_ionic_crystals(3, random_state=0, as_frame=True)
    assert framed.feature_names == ["structure"]
    assert_array_equal(framed.frame["energy"], y)
    assert list(framed.data["structure"]) == list(X)
    assert "150 crystal prototypes" in crystals.DESCR
    noisy = make_ionic_crystals(60, random_state=0, noise=0.5)
    assert list(noisy.data) == list(crystals.data[:60])
    assert 0.3 < np.std(noisy.target - crystals.target[:60]) < 0.7
    assert "noise of std 0.5" in noisy.DESCR


@pytest.mark.parametrize(
    "bad",
    [
        *({"n_samples": n} for n in (0, -1, 2.0, True, "3")),
        {"noise": -1},
        {"noise": np.nan},
    ],
)
def test_bad_parameters(bad):
    with pytest.raises(ValueError, match=f"Got `{next(iter(bad))}`="):
        make_ionic_crystals(**bad)
