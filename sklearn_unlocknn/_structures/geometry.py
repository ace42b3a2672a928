"""Distances, bonds and springs of one structure, as numbers."""

import math

import numpy as np

from .element_data import atomic_number, element_table

#: First cutoff of neighbours, in cube roots of the volume of a site.
_CUTOFF = 1.8

#: Farthest neighbour, in distances of the nearest one; weights beyond are below 3e-5.
_FARTHEST = 1.5

#: Mass of an atom of 1 u in a cubic angstrom, in g/cm3.
_DENSITY = 1.66053907

#: Cells with more sites find the highest frequency by Lanczos iterations.
_DENSE = 60

_SUMMARY = ("mean", "minimum", "maximum", "deviation of")

GEOMETRY = [
    ("density", "g/cm3"),
    ("volume per atom", "angstrom3"),
    ("packing fraction of covalent spheres", ""),
    ("packing fraction of touching spheres", ""),
    *[(f"{kind} nearest-neighbour distance", "angstrom") for kind in _SUMMARY],
    *[(f"{kind} coordination number", "") for kind in _SUMMARY],
    ("mean bond-length spread", ""),
    ("maximum bond-length spread", ""),
    ("mean bond length over sum of radii", ""),
    ("minimum bond length over sum of radii", ""),
    ("maximum bond length over sum of radii", ""),
    *[(f"{kind} inverse root of mass", "u-1/2") for kind in _SUMMARY],
    ("mean inverse root of reduced mass", "u-1/2"),
    ("maximum inverse root of reduced mass", "u-1/2"),
    ("mean inverse bond length and root of reduced mass", "angstrom-1 u-1/2"),
    ("maximum inverse bond length and root of reduced mass", "angstrom-1 u-1/2"),
    ("highest spring frequency", "u-1/2"),
    ("mean site frequency", "u-1/2"),
    ("minimum site frequency", "u-1/2"),
    ("maximum site frequency", "u-1/2"),
    ("maximum bond frequency", "u-1/2"),
    ("spring bulk modulus", "angstrom-1"),
]


class Sites:
    """Arrays of the sites of a structure.

    Attributes
    ----------
    cart : ndarray of shape (n, 3)
        Positions in angstrom.
    matrix : ndarray of shape (3, 3) or None
        Lattice vectors as rows, None for a molecule.
    pbc : ndarray of shape (3,)
        Whether the structure repeats along each vector.
    species : list of dict
        Occupancy by atomic number.
    occupancy : ndarray of shape (n,)
        Number of atoms on each site.
    """

    def __init__(self, structure):
        lattice = getattr(structure, "lattice", None)
        self.pbc = np.array(lattice.pbc if lattice is not None else (False,) * 3)
        self.matrix = np.array(lattice.matrix) if self.pbc.any() else None
        self.cart = np.array(structure.cart_coords, dtype=float)
        self.species = [_occupancies(site) for site in structure]
        self.occupancy = np.array([sum(one.values()) for one in self.species])

    @property
    def is_crystal(self):
        """Whether the structure repeats along three vectors."""
        return bool(self.pbc.all())

    @property
    def fractional(self):
        """Fractional coordinates."""
        return np.linalg.solve(self.matrix.T, self.cart.T).T

    @property
    def amounts(self):
        """Number of atoms of each element, by atomic number."""
        total = {}
        for one in self.species:
            for z, amount in one.items():
                total[z] = total.get(z, 0.0) + amount
        return total

    def mean_of(self, name):
        """Return the mean of an element property over the species of each site."""
        values = element_table().column(name)
        return np.array(
            [
                sum(values[z] * x for z, x in one.items()) / sum(one.values())
                for one in self.species
            ]
        )


def _occupancies(site):
    found = {}
    for species, amount in site.species.items():
        z = atomic_number(species)
        found[z] = found.get(z, 0.0) + float(amount)
    return found


class Bonds:
    """Neighbours and their weights, by Hoppe's effective coordination numbers.

    Attributes
    ----------
    i, j : ndarray of shape (n_pairs,)
        Sites of a pair; near pairs are there from both ends.
    vector : ndarray of shape (n_pairs, 3)
        From i to j, in angstrom.
    d : ndarray of shape (n_pairs,)
        Distances in angstrom.
    weight, weight_back : ndarray of shape (n_pairs,)
        Weight of j among the neighbours of i, about 1 for the nearest, and of i among
        those of j.
    nearest, coordination, spread : ndarray of shape (n,)
        Distance of the nearest neighbour of a site, sum of the weights, and weighted
        standard deviation of the distances over their mean; NaN for a site that is
        alone.
    """

    def __init__(self, sites, radius):
        n = len(sites.cart)
        i, j, vector, d, nearest = _neighbours(sites, radius)
        near = d <= _FARTHEST * nearest[i] * (1 + 1e-6)
        i, j, vector, d = i[near], j[near], vector[near], d[near]
        # l = sum l_k exp(1 - (l_k / l_min)^6) / sum exp(1 - (l_k / l_min)^6)
        first = np.exp(1 - (d / nearest[i]) ** 6)
        mean = _ratio(np.bincount(i, first * d, n), np.bincount(i, first, n))
        # w_k = exp(1 - (l_k / l)^6)
        w = np.exp(1 - (d / mean[i]) ** 6)
        total = np.bincount(i, w, n)
        center = _ratio(np.bincount(i, w * d, n), total)
        variance = _ratio(np.bincount(i, w * (d - center[i]) ** 2, n), total)
        self.i, self.j, self.vector, self.d = i, j, vector, d
        self.weight, self.weight_back = w, np.exp(1 - (d / mean[j]) ** 6)
        self.nearest = nearest
        self.coordination = np.where(total > 0, total, math.nan)
        self.spread = np.sqrt(variance) / center


def _ratio(numerator, denominator):
    return numerator / np.where(denominator > 0, denominator, math.nan)


def _neighbours(sites, radius):
    """Return pairs of sites, their vectors, distances, and the nearest distances.

    The pairs are all those within ``_FARTHEST`` times the nearest distance of their
    first site, and some more.
    """
    n = len(sites.cart)
    if sites.matrix is None:
        i, j = np.nonzero(~np.eye(n, dtype=bool))
        return _real_pairs(sites, radius, i, j, sites.cart[j] - sites.cart[i])
    from pymatgen.optimization.neighbors import find_points_in_spheres

    cart = np.ascontiguousarray(sites.cart)
    matrix = np.ascontiguousarray(sites.matrix)
    pbc = np.ascontiguousarray(sites.pbc, dtype=np.int64)
    r = _CUTOFF * (abs(np.linalg.det(matrix)) / n) ** (1 / 3)
    while True:
        i, j, image, d = find_points_in_spheres(
            all_coords=cart, center_coords=cart, r=r, pbc=pbc, lattice=matrix, tol=1e-8
        )
        other = (i != j) | (d > 1e-8)  # not the site itself
        i, j, image = i[other], j[other], image[other]
        vector = cart[j] + image @ matrix - cart[i]
        pairs = _real_pairs(sites, radius, i, j, vector)
        nearest = pairs[-1]
        # A site without neighbours has them farther away
        needed = 1.5 * r if np.isnan(nearest).any() else _FARTHEST * nearest.max()
        if needed <= r:
            return pairs
        r = 1.001 * needed


def _real_pairs(sites, radius, i, j, vector):
    """Leave out pairs of sites of which only one is occupied at a time."""
    d = np.sqrt((vector**2).sum(axis=1))
    alternative = sites.occupancy[i] + sites.occupancy[j] < 1.01
    if alternative.any():
        real = ~(alternative & (d < (radius[i] + radius[j]) / 2))
        i, j, vector, d = i[real], j[real], vector[real], d[real]
    nearest = np.full(len(sites.cart), math.inf)
    np.minimum.at(nearest, i, d)
    return i, j, vector, d, np.where(np.isfinite(nearest), nearest, math.nan)


def describe_geometry(sites, primitive):
    """Return the numbers of `GEOMETRY`, NaN where undefined.

    ``primitive`` is the index of the site of the primitive cell that each site
    repeats.
    """
    mass, radius = sites.mean_of("atomic mass"), sites.mean_of("covalent radius")
    occupancy = sites.occupancy
    share = occupancy / occupancy.sum()
    volume = abs(np.linalg.det(sites.matrix)) if sites.is_crystal else math.nan
    sphere = 4 / 3 * math.pi / volume
    bonds = Bonds(sites, radius)
    i, j, d = bonds.i, bonds.j, bonds.d
    relative = d / (radius[i] + radius[j])
    inverse_root = np.sqrt(1 / mass[i] + 1 / mass[j])
    atoms = occupancy[i] * occupancy[j]
    weight = _ratio(bonds.weight * atoms, np.sum(bonds.weight * atoms))
    strong = bonds.weight > 0.5
    return [
        _DENSITY * (mass @ occupancy) / volume,
        volume / occupancy.sum(),
        sphere * (occupancy @ radius**3),
        sphere * (occupancy @ (bonds.nearest / 2) ** 3),
        *_summary(bonds.nearest, share),
        *_summary(bonds.coordination, share),
        share @ bonds.spread,
        bonds.spread.max(),
        *_mean_and(weight, relative, strong, np.min, np.max),
        *_summary(1 / np.sqrt(mass), share),
        *_mean_and(weight, inverse_root, strong, np.max),
        *_mean_and(weight, inverse_root / d, strong, np.max),
        *_springs(bonds, relative, atoms, mass, share, volume, primitive),
    ]


def _summary(values, share):
    """Return mean, minimum, maximum and standard deviation over the atoms."""
    mean = share @ values
    deviation = np.sqrt(share @ (values - mean) ** 2)
    return [mean, values.min(), values.max(), deviation]


def _mean_and(weight, values, strong, *functions):
    """Return the weighted mean over bonds, and functions of the strong ones."""
    if not strong.any():
        return [math.nan] * (1 + len(functions))
    return [weight @ values, *(function(values[strong]) for function in functions)]


def _springs(bonds, relative, atoms, mass, share, volume, primitive):
    """Return frequencies and bulk modulus of a crystal of springs between neighbours.

    k = sqrt(w_ij w_ji) ((r_i + r_j) / d)^6, times the occupancies, acts along a bond.
    """
    n = len(mass)
    k = atoms * np.sqrt(bonds.weight * bonds.weight_back) / relative**6
    back = bonds.d <= _FARTHEST * bonds.nearest[bonds.j] * (1 + 1e-6)
    k = np.where(back, k, 0.0)  # in both directions or in none
    if not k.any():
        return [math.nan] * 6
    i, j = bonds.i, bonds.j
    site = np.sqrt(np.bincount(i, k, n) / (3 * mass))
    return [
        _highest_frequency(bonds, k, mass, primitive),
        share @ site,
        site.min(),
        site.max(),
        np.sqrt((k * (1 / mass[i] + 1 / mass[j])).max()),
        (k @ bonds.d**2) / (18 * volume),
    ]


def _highest_frequency(bonds, k, mass, primitive):
    """Return the root of the largest eigenvalue of the dynamical matrix at Gamma.

    It is that of the primitive cell, which is the mean over its repetitions.
    """
    size = 3 * (primitive.max() + 1)
    i, j = bonds.i, bonds.j
    repetitions = len(mass) / (primitive.max() + 1)
    unit = bonds.vector / bonds.d[:, None]
    block = (k / repetitions)[:, None, None] * unit[:, :, None] * unit[:, None, :]
    # D_ii = sum_j k_ij u u' / m_i,  D_ij = - k_ij u u' / sqrt(m_i m_j)
    own = block / mass[i][:, None, None]
    other = -block / np.sqrt(mass[i] * mass[j])[:, None, None]
    a, b = np.mgrid[:3, :3]
    i, j = primitive[i], primitive[j]
    row = 3 * np.concatenate([i, i])[:, None, None] + a
    column = 3 * np.concatenate([i, j])[:, None, None] + b
    entry = np.concatenate([own, other]).ravel()
    row, column = row.ravel(), column.ravel()
    if size <= 3 * _DENSE:
        D = np.bincount(row * size + column, entry, size * size).reshape(size, size)
        largest = np.linalg.eigvalsh(D)[-1]
    else:
        from scipy.sparse import coo_array
        from scipy.sparse.linalg import eigsh

        D = coo_array((entry, (row, column)), shape=(size, size)).tocsr()
        start = np.random.default_rng(0).normal(size=size)
        (largest,) = eigsh(
            D, 1, which="LA", v0=start, tol=1e-6, return_eigenvectors=False
        )
    return math.sqrt(max(largest, 0.0))
