"""Crystal prototypes decorated with ions, and their electrostatic energy."""

import functools
from typing import NamedTuple

import numpy as np

ANIONS = {"N": -3, "O": -2, "S": -2, "Se": -2, "Te": -2}
ANIONS |= {"F": -1, "Cl": -1, "Br": -1, "I": -1}

#: Smallest ratio of the cell sizes that two cations of a crystal imply.
MISFIT = 0.87
#: Smallest distance of anions, in units of the sum of their radii.
CONTACT = 0.9
#: Largest distance of nearest neighbours before the strain, in angstrom.
REACH = 3.7
#: Largest strain along a cell axis; shear strains are half of it.
STRAIN = 0.03


class Prototype(NamedTuple):
    """A crystal structure type: cell and sites of its name-giving compound.

    `space_group` is the Hermann-Mauguin symbol (first origin choice), `cell` the
    crystal system and its lattice parameters in angstrom. `sites` are the role ("X" for
    the anion, "A" and "B" for cations) and fractional coordinates of one site of each
    orbit.
    """

    space_group: str
    cell: tuple
    sites: tuple


#: Primitive lattice vectors, in rows, in units of those of the conventional cell.
_CENTRING = {
    "P": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "F": [[0, 1 / 2, 1 / 2], [1 / 2, 0, 1 / 2], [1 / 2, 1 / 2, 0]],
    "I": [[-1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [1 / 2, 1 / 2, -1 / 2]],
    "R": [[2 / 3, 1 / 3, 1 / 3], [-1 / 3, 1 / 3, 1 / 3], [-1 / 3, -2 / 3, 1 / 3]],
}

_O, _H, _Q = (0, 0, 0), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

#: Structure types by Strukturbericht symbol (or compound) and mineral.
PROTOTYPES = {
    "B1 rocksalt": Prototype("Fm-3m", ("cubic", 5.640), (("A", _O), ("X", _H))),
    "B2 cesium chloride": Prototype("Pm-3m", ("cubic", 4.123), (("A", _O), ("X", _H))),
    "B3 zincblende": Prototype("F-43m", ("cubic", 5.409), (("A", _O), ("X", _Q))),
    "B4 wurtzite": Prototype(
        "P6_3mc", ("hexagonal", 3.823, 6.261),
        (("A", (1 / 3, 2 / 3, 0)), ("X", (1 / 3, 2 / 3, 0.3748))),
    ),
    "C1 fluorite": Prototype("Fm-3m", ("cubic", 5.463), (("A", _O), ("X", _Q))),
    "C1 antifluorite": Prototype("Fm-3m", ("cubic", 4.619), (("X", _O), ("A", _Q))),
    "C3 cuprite": Prototype("Pn-3m", ("cubic", 4.270), (("X", _O), ("A", _Q))),
    "C4 rutile": Prototype(
        "P4_2/mnm", ("tetragonal", 4.594, 2.959),
        (("A", _O), ("X", (0.305, 0.305, 0))),
    ),
    "C5 anatase": Prototype(
        "I4_1/amd", ("tetragonal", 3.784, 9.515),
        (("A", _O), ("X", (0, 0, 0.2081))),
    ),
    "C6 cadmium iodide": Prototype(
        "P-3m1", ("hexagonal", 4.240, 6.840),
        (("A", _O), ("X", (1 / 3, 2 / 3, 0.249))),
    ),
    "D0_9 rhenium trioxide": Prototype(
        "Pm-3m", ("cubic", 3.750), (("A", _O), ("X", (0.5, 0, 0)))
    ),
    "D5_1 corundum": Prototype(
        "R-3c", ("hexagonal", 4.759, 12.991),
        (("A", (0, 0, 0.3522)), ("X", (0.3063, 0, 0.25))),
    ),
    "D5_2 lanthanum oxide": Prototype(
        "P-3m1", ("hexagonal", 3.937, 6.129),
        (("A", (1 / 3, 2 / 3, 0.245)), ("X", _O), ("X", (1 / 3, 2 / 3, 0.645))),
    ),
    "E2_1 perovskite": Prototype(
        "Pm-3m", ("cubic", 3.905), (("A", _O), ("B", _H), ("X", (0.5, 0.5, 0)))
    ),
    "F5_1 caswellsilverite": Prototype(
        "R-3m", ("hexagonal", 2.816, 14.05),
        (("A", (0, 0, 0.5)), ("B", _O), ("X", (0, 0, 0.26))),
    ),
    "H1_1 spinel": Prototype(
        "Fd-3m", ("cubic", 8.083),
        (("A", _O), ("B", (0.625,) * 3), ("X", (0.3876,) * 3)),
    ),
    "J1_1 potassium hexachloroplatinate": Prototype(
        "Fm-3m", ("cubic", 9.755),
        (("A", _Q), ("B", _O), ("X", (0.24, 0, 0))),
    ),
    "K2NiF4": Prototype(
        "I4/mmm", ("tetragonal", 4.006, 13.076),
        (("A", (0, 0, 0.352)), ("B", _O), ("X", (0, 0.5, 0)), ("X", (0, 0, 0.151))),
    ),
}  # fmt: skip


class Ion(NamedTuple):
    """An element in an oxidation state; `radius` is Shannon's crystal radius."""

    element: str
    charge: int
    radius: float


class IonicCrystal(NamedTuple):
    """A structure of plain elements, the charges of its ions and their energy."""

    prototype: str
    structure: object
    charges: np.ndarray
    energy: float


@functools.cache
def template(name):
    """Return the primitive cell of a prototype.

    These are the lattice vectors in rows (angstrom), the fractional coordinates of
    shape (n_sites, 3), and the roles "A", "B" or "X" of the sites.
    """
    from pymatgen.core import Lattice, Structure

    stand_in = {"A": "Na", "B": "Ti", "X": "O"}
    prototype = PROTOTYPES[name]
    system, *parameters = prototype.cell
    cell = Structure.from_spacegroup(
        prototype.space_group,
        getattr(Lattice, system)(*parameters),
        [stand_in[role] for role, _ in prototype.sites],
        [coords for _, coords in prototype.sites],
    )
    vectors = np.array(_CENTRING[prototype.space_group[0]])
    # Sites that differ by a centring translation are one site of the primitive cell.
    coords = cell.frac_coords @ np.linalg.inv(vectors) % 1
    rounded = np.round(coords, 6) % 1
    first = np.sort(np.unique(rounded, axis=0, return_index=True)[1])
    role_of = {element: role for role, element in stand_in.items()}
    roles = np.array([role_of[site.specie.symbol] for site in cell])
    return vectors @ cell.lattice.matrix, coords[first], roles[first]


@functools.cache
def _ions():
    """Return the cations (states seen in the ICSD, with a radius) and the anions."""
    from pymatgen.core import Element

    def ion(symbol, charge):
        radius = Element(symbol).ionic_radii.get(charge)
        return None if radius is None else Ion(symbol, charge, float(radius))

    cations = [
        ion(element.symbol, charge)
        for element in sorted(Element, key=lambda element: element.Z)
        if (element.is_metal or element.is_metalloid)
        and element.Z <= 83
        and element.symbol not in ("Tc", "Pm")  # no stable isotopes
        for charge in element.icsd_oxidation_states
        if charge > 0
    ]
    anions = [ion(symbol, charge) for symbol, charge in ANIONS.items()]
    return [i for i in cations if i], [i for i in anions if i]


def _shortest(name):
    """Return distances to the nearest anion by role, and the largest to a neighbour."""
    from pymatgen.core import Lattice

    matrix, coords, roles = template(name)
    distances = Lattice(matrix).get_all_distances(coords, coords)
    # A site's nearest own image is at the shortest lattice vector.
    vectors = np.indices((3, 3, 3)).reshape(3, -1).T - 1.0
    lengths = np.linalg.norm(vectors[vectors.any(1)] @ matrix, axis=1)
    np.fill_diagonal(distances, lengths.min())
    to_anion = {
        role: distances[np.ix_(roles == role, roles == "X")].min()
        for role in np.unique(roles)
    }
    return to_anion, distances.min(1).max()


def _size(ions, to_anion, farthest):
    """Return the scale of the template for these ions; None if they do not fit."""
    anion = ions["X"]
    wanted = [
        (ion.radius + anion.radius) / to_anion[role]
        for role, ion in ions.items()
        if role != "X"
    ]
    scale = float(np.mean(wanted))
    fits = (
        min(wanted) >= MISFIT * max(wanted)
        and scale * to_anion["X"] >= CONTACT * 2 * anion.radius
        and scale * farthest <= REACH
    )
    return scale if fits else None


@functools.cache
def decorations(name):
    """List the neutral decorations of a prototype whose ions fit in size.

    Each is a dict of role -> Ion, with the scale of the template at which cations and
    anions touch. Left out are cations that imply different sizes, anions that overlap,
    and atoms without a neighbour within 3.7 angstrom.
    """
    cations, anions = _ions()
    roles = template(name)[2]
    n = {role: int(np.sum(roles == role)) for role in np.unique(roles)}
    distances = _shortest(name)
    found = []
    for anion in anions:
        for a in cations:
            left = -n["X"] * anion.charge - n["A"] * a.charge
            if "B" not in n:
                pairs = [{"A": a, "X": anion}] if left == 0 else []
            else:
                pairs = [
                    {"A": a, "B": b, "X": anion}
                    for b in cations
                    if n["B"] * b.charge == left and b.element != a.element
                ]
            for ions in pairs:
                if (scale := _size(ions, *distances)) is not None:
                    found.append((ions, scale))
    return found


def decorate(name, ions, scale, strain=None):
    """Return a prototype with ions on its sites, and the charge of each site.

    `ions` is a dict of role -> Ion, `scale` the length of the cell in units of the
    prototype's own, `strain` a symmetric (3, 3) matrix.
    """
    from pymatgen.core import Structure

    matrix, coords, roles = template(name)
    matrix = scale * matrix
    if strain is not None:
        matrix = matrix @ (np.eye(3) + strain)
    structure = Structure(matrix, [ions[role].element for role in roles], coords)
    return structure, np.array([ions[role].charge for role in roles])


def electrostatic_energy(structure, charges):
    """Compute the energy of point charges on the sites by Ewald's sum, eV/atom."""
    from pymatgen.analysis.ewald import EwaldSummation

    charged = structure.copy()
    charged.add_oxidation_state_by_site([int(q) for q in charges])
    return float(EwaldSummation(charged).total_energy) / len(structure)


def random_ionic_crystals(n, rng):
    """Draw `n` prototypes, decorations and strains; the first do not depend on `n`."""
    names = list(PROTOTYPES)
    crystals = []
    for _ in range(n):
        name = names[rng.randint(len(names))]
        choices = decorations(name)
        ions, scale = choices[rng.randint(len(choices))]
        strain = rng.uniform(-STRAIN, STRAIN, (3, 3)) / 2
        # symmetric; shear strains are half of those along the axes
        strain = (strain + strain.T) * (0.5 + 0.5 * np.eye(3))
        structure, charges = decorate(name, ions, scale, strain)
        energy = electrostatic_energy(structure, charges)
        crystals.append(IonicCrystal(name, structure, charges, energy))
    return crystals
