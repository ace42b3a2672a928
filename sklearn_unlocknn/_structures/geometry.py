"""Geometry, symmetry and complexity of one structure, as numbers."""

import functools
import math

import numpy as np

from .element_data import N_ELEMENTS, element_table

#: Tolerance of spglib for positions, in angstrom.
SYMPREC = 0.01

#: First cutoff of neighbours, in cube roots of the volume of an atom.
_CUTOFF = 1.8

#: First space group of each crystal system, from triclinic to cubic.
_SYSTEMS = (1, 3, 16, 75, 143, 168, 195)


class Sites:
    """Arrays of the sites of a structure.

    Attributes
    ----------
    cart : ndarray of shape (n, 3)
        Positions in angstrom.
    matrix : ndarray of shape (3, 3) or None
        Lattice vectors as rows, None for a molecule.
    pbc : ndarray of shape (3,)
        Whether the lattice vectors repeat the structure.
    species : list of dict
        Occupancy by atomic number.
    """

    def __init__(self, structure):
        lattice = getattr(structure, "lattice", None)
        self.pbc = np.array(lattice.pbc if lattice is not None else (False,) * 3)
        self.matrix = np.array(lattice.matrix) if self.pbc.any() else None
        self.cart = np.array([site.coords for site in structure])
        self.species = [_occupancies(site) for site in structure]
        self.occupancy = np.array([sum(one.values()) for one in self.species])

    def mean_of(self, values):
        """Return the mean of an element property over the species of each site."""
        return np.array(
            [
                sum(values[z] * x for z, x in one.items()) / sum(one.values())
                for one in self.species
            ]
        )


def _occupancies(site):
    """Return the occupancies of a site by atomic number."""
    found = {}
    for specie, amount in site.species.items():
        z = atomic_number(specie)
        found[z] = found.get(z, 0.0) + float(amount)
    return found


def atomic_number(specie):
    """Return the atomic number of a species, which must be an element of the table."""
    element = getattr(specie, "element", specie)
    z = getattr(element, "Z", 0)
    if type(element).__name__ != "Element" or not 0 < z <= N_ELEMENTS:
        raise ValueError(
            f"the species {specie} is not one of the elements H to Lr, for which there "
            "are properties"
        )
    return int(z)


GEOMETRY = [
    ("density", "g/cm3"),
    ("volume per atom", "angstrom3"),
    ("packing fraction of covalent spheres", ""),
    ("packing fraction of touching spheres", ""),
    *[(f"{k} nearest-neighbour distance", "angstrom")
      for k in ("mean", "minimum", "maximum", "deviation of")],
    *[(f"{k} coordination number", "")
      for k in ("mean", "minimum", "maximum", "deviation of")],
    *[(f"{k} bond-length spread", "") for k in ("mean", "maximum")],
    *[(f"{k} bond length over sum of radii", "") for k in ("mean", "minimum", "maximum")],
    *[(f"{k} inverse root of mass", "u-1/2")
      for k in ("mean", "minimum", "maximum", "deviation of")],
    *[(f"{k} inverse root of reduced mass of bonds", "u-1/2")
      for k in ("mean", "maximum")],
    *[(f"{k} inverse length and root of reduced mass of bonds",
       "angstrom-1 u-1/2") for k in ("mean", "maximum")],
    ("ratio of cell lengths", ""),
    ("volume over product of cell lengths", ""),
    ("space-group number", ""),
    ("crystal system", ""),
    ("symmetry operations", ""),
    ("sites in the primitive cell", ""),
    ("distinct sites per site", ""),
]  # fmt: skip

COMPLEXITY = [
    ("structural complexity per site", "bit"),
    ("structural complexity of the primitive cell", "bit"),
]


def describe_geometry(sites):
    """Return the numbers of `GEOMETRY` and `COMPLEXITY`, NaN where undefined."""
    table = element_table()
    mass = sites.mean_of(table.mass)
    radius = sites.mean_of(table.covalent_radius)
    weight = sites.occupancy / sites.occupancy.sum()
    volume = math.nan
    if sites.matrix is not None and sites.pbc.all():
        volume = abs(np.linalg.det(sites.matrix))
    n_atoms = sites.occupancy.sum()
    inverse = 1 / np.sqrt(mass)
    bonds = Bonds(sites)
    spheres = 4 / 3 * math.pi / volume
    i, j, d, w = bonds.i, bonds.j, bonds.d, bonds.w
    w = w * sites.occupancy[i] * sites.occupancy[j]
    total = w.sum() if len(w) else math.nan
    relative = d / (radius[i] + radius[j])
    strong = bonds.w > 0.5
    pair = np.sqrt(1 / mass[i] + 1 / mass[j])
    numbers = [
        mass @ sites.occupancy * 1.66053907 / volume,
        volume / n_atoms,
        spheres * (sites.occupancy @ radius**3),
        spheres * (sites.occupancy @ (bonds.nearest / 2) ** 3),
        *_summary(bonds.nearest, weight),
        *_summary(bonds.coordination, weight),
        weight @ bonds.spread,
        bonds.spread.max(),
        w @ relative / total,
        _of(np.min, relative[strong]),
        _of(np.max, relative[strong]),
        *_summary(inverse, weight),
        w @ pair / total,
        _of(np.max, pair[strong]),
        w @ (pair / d) / total,
        _of(np.max, (pair / d)[strong]),
    ]
    return np.array(numbers + describe_symmetry(sites))


def _summary(values, weight):
    """Return mean, minimum, maximum and standard deviation over the sites."""
    mean = weight @ values
    deviation = math.sqrt(max(weight @ (values - mean) ** 2, 0.0))
    return [mean, values.min(), values.max(), deviation]


def _of(function, values):
    return function(values) if len(values) else math.nan


class Bonds:
    """Pairs of neighbours and their weights, by which Hoppe counts neighbours.

    Attributes
    ----------
    i, j : ndarray of shape (n_pairs,)
        Sites of a pair; each pair is there from both ends.
    d : ndarray of shape (n_pairs,)
        Distances in angstrom.
    w : ndarray of shape (n_pairs,)
        Weights, about 1 for the nearest neighbours.
    nearest, coordination, spread : ndarray of shape (n,)
        Distance of the nearest neighbour of a site, sum of its weights, and relative
        weighted standard deviation of its distances; NaN for a site that is alone.
    """

    def __init__(self, sites):
        n = len(sites.cart)
        i, j, d, nearest = _pairs(sites)
        # l = sum l_k exp(1 - (l_k / l_min)^6) / sum exp(1 - (l_k / l_min)^6)
        first = np.exp(1 - (d / nearest[i]) ** 6)
        mean = np.bincount(i, first * d, n) / _positive(np.bincount(i, first, n))
        w = np.exp(1 - (d / mean[i]) ** 6)
        total = np.bincount(i, w, n)
        center = np.bincount(i, w * d, n) / _positive(total)
        variance = np.bincount(i, w * (d - center[i]) ** 2, n) / _positive(total)
        self.i, self.j, self.d, self.w = i, j, d, w
        self.nearest = nearest
        self.coordination = np.where(total > 0, total, math.nan)
        self.spread = np.sqrt(variance) / center


def _positive(values):
    return np.where(values > 0, values, math.nan)


def _pairs(sites):
    """Return the pairs within 1.5 times the nearest distance of each site, at least."""
    n = len(sites.cart)
    if sites.matrix is None:
        difference = sites.cart[:, None] - sites.cart
        d = np.sqrt((difference**2).sum(axis=2))
        i, j = np.nonzero(~np.eye(n, dtype=bool))
        d = d[i, j]
        return i, j, d, _nearest(i, d, n)
    from pymatgen.optimization.neighbors import find_points_in_spheres

    pbc = np.ascontiguousarray(sites.pbc, dtype=np.int64)
    cart = np.ascontiguousarray(sites.cart)
    r = _CUTOFF * (abs(np.linalg.det(sites.matrix)) / n) ** (1 / 3)
    while True:
        i, j, image, d = find_points_in_spheres(
            all_coords=cart, center_coords=cart, r=r, pbc=pbc, lattice=sites.matrix,
            tol=1e-8,
        )  # fmt: skip
        other = (i != j) | (d > 1e-8)
        i, j, d = i[other], j[other], d[other]
        nearest = _nearest(i, d, n)
        needed = 1.5 * np.nanmax(nearest, initial=0.0)
        if np.isnan(nearest).any():
            needed = max(needed, 1.5 * r)
        if needed <= r:
            return i, j, d, nearest
        r = 1.001 * needed


def _nearest(i, d, n):
    nearest = np.full(n, math.inf)
    np.minimum.at(nearest, i, d)
    return np.where(np.isfinite(nearest), nearest, math.nan)


@functools.cache
def _point_group_order(hall_number):
    """Return the number of rotations and rotoinversions of a space group."""
    import spglib

    rotations = spglib.get_symmetry_from_database(hall_number)["rotations"]
    return len(np.unique(rotations, axis=0))


def describe_symmetry(sites):
    """Return cell shape, symmetry and complexity of a crystal, NaN for a molecule."""
    if sites.matrix is None or not sites.pbc.all():
        return [math.nan] * 9
    import spglib

    kinds = {}
    types = [
        kinds.setdefault(tuple(sorted(one.items())), len(kinds))
        for one in sites.species
    ]
    positions = np.linalg.solve(sites.matrix.T, sites.cart.T).T
    data = spglib.get_symmetry_dataset((sites.matrix, positions, types), SYMPREC)
    if data is None:
        return [math.nan] * 9
    lengths = np.sqrt((spglib.niggli_reduce(data.primitive_lattice) ** 2).sum(axis=1))
    volume = abs(np.linalg.det(data.primitive_lattice))
    counts = np.unique(data.crystallographic_orbits, return_counts=True)[1]
    n_primitive = len(np.unique(data.mapping_to_primitive))
    p = counts / counts.sum()
    # I = - sum p log2 p, over the orbits
    information = max(float(-(p @ np.log2(p))), 0.0)
    return [
        lengths.max() / lengths.min(),
        volume / lengths.prod(),
        data.number,
        sum(data.number >= first for first in _SYSTEMS),
        _point_group_order(data.hall_number),
        n_primitive,
        len(counts) / n_primitive,
        information,
        information * n_primitive,
    ]
