"""Distances, bonds and springs of one structure, as numbers."""

import math

import numpy as np

from .element_data import atomic_number, element_table
from .pairs import find_pairs

#: First cutoff of neighbours, in cube roots of the volume of a site.
_CUTOFF = 1.9

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
    volume : float
        Volume of the cell in cubic angstrom, NaN for a molecule.
    """

    def __init__(self, structure):
        lattice = getattr(structure, "lattice", None)
        self.pbc = np.array(lattice.pbc if lattice is not None else (False,) * 3)
        self.matrix, self.volume = None, math.nan
        if self.pbc.any():
            self.matrix = np.array(lattice.matrix, dtype=float, order="C")
            self.volume = abs(np.linalg.det(self.matrix))
        self.cart = np.array(structure.cart_coords, dtype=float, order="C")
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


def _occupancies(site):
    found = {}
    for species, amount in site.species.items():
        z = atomic_number(species)
        found[z] = found.get(z, 0.0) + float(amount)
    return found


class Joined:
    """Sites of several structures, one structure after another.

    Attributes
    ----------
    structure : ndarray of shape (n,)
        Index of the structure of each site.
    first : ndarray of shape (n_structures,)
        Index of the first site of each structure.
    occupancy, mass, radius : ndarray of shape (n,)
        Number of atoms on each site; mean mass (u) and covalent radius (angstrom) of
        its species.
    """

    def __init__(self, parts):
        size = [len(part.species) for part in parts]
        self.structure = np.repeat(np.arange(len(parts)), size)
        self.first = np.cumsum([0, *size[:-1]])
        self.occupancy = np.concatenate([part.occupancy for part in parts])
        species = [one for part in parts for one in part.species]
        z = np.array([z for one in species for z in one])
        amount = np.array([amount for one in species for amount in one.values()])
        site = np.repeat(np.arange(len(species)), list(map(len, species)))

        def mean_of(name):
            values = element_table().column(name)
            total = np.bincount(site, values[z] * amount)
            return total / np.bincount(site, amount)

        self.mass, self.radius = mean_of("atomic mass"), mean_of("covalent radius")


class Groups:
    """Values in groups, such as those of the sites of each structure.

    Parameters
    ----------
    index : ndarray of shape (n_values,)
        Group of each value.
    n : int
        Number of groups.
    """

    def __init__(self, index, n):
        self.index, self.n = index, n

    def sum(self, values):
        """Return the sum of each group."""
        return np.bincount(self.index, values, self.n)

    def minimum(self, values):
        """Return the minimum of each group, NaN for an empty one or one with NaN."""
        return self._extreme(np.minimum, math.inf, values)

    def maximum(self, values):
        """Return the maximum of each group, NaN for an empty one or one with NaN."""
        return self._extreme(np.maximum, -math.inf, values)

    def _extreme(self, function, start, values):
        out = np.full(self.n, start)
        with np.errstate(invalid="ignore"):  # of NaN
            function.at(out, self.index, values)
        return np.where(np.isfinite(out), out, math.nan)


class Bonds:
    """Neighbours and their weights, by Hoppe's effective coordination numbers.

    Parameters
    ----------
    neighbours : list of tuple
        Results of `find_neighbours` for structures.
    first : ndarray of shape (n_structures,)
        Index of the first site of each structure.

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

    def __init__(self, neighbours, first):
        shift = np.repeat(first, [len(i) for i, *_ in neighbours])
        i, j, vector, nearest = map(np.concatenate, zip(*neighbours, strict=True))
        i, j = i + shift, j + shift
        d = np.sqrt((vector**2).sum(axis=1))
        at = Groups(i, len(nearest))
        # l = sum l_k exp(1 - (l_k / l_min)^6) / sum exp(1 - (l_k / l_min)^6)
        w = np.exp(1 - (d / nearest[i]) ** 6)
        mean = _ratio(at.sum(w * d), at.sum(w))
        # w_k = exp(1 - (l_k / l)^6)
        w = np.exp(1 - (d / mean[i]) ** 6)
        total = at.sum(w)
        center = _ratio(at.sum(w * d), total)
        variance = _ratio(at.sum(w * (d - center[i]) ** 2), total)
        self.i, self.j, self.vector, self.d = i, j, vector, d
        self.weight, self.weight_back = w, np.exp(1 - (d / mean[j]) ** 6)
        self.nearest = nearest
        self.coordination = np.where(total > 0, total, math.nan)
        self.spread = np.sqrt(variance) / center


def _ratio(numerator, denominator):
    return numerator / np.where(denominator > 0, denominator, math.nan)


def find_neighbours(sites):
    """Find the neighbours of each site, up to 1.5 times the distance of the nearest.

    Parameters
    ----------
    sites : Sites
        A structure.

    Returns
    -------
    i, j : ndarray of shape (n_pairs,)
        Sites of the pairs.
    vector : ndarray of shape (n_pairs, 3)
        From i to j, in angstrom.
    nearest : ndarray of shape (n,)
        Distance of the nearest neighbour of each site, NaN if there is none.
    """
    n, cart = len(sites.cart), sites.cart
    if sites.matrix is None:
        i, j = np.nonzero(~np.eye(n, dtype=bool))
        vector = cart[j] - cart[i]
        d = np.sqrt((vector**2).sum(axis=1))
        real = _are_real(sites, i, j, d)
        nearest = Groups(i[real], n).minimum(d[real])
        near = real & _is_near(d, nearest[i])
        return i[near], j[near], vector[near], nearest
    r = _CUTOFF * (sites.volume / n) ** (1 / 3)
    while True:
        i, j, image, d = find_pairs(cart, sites.matrix, sites.pbc, r)
        real = _are_real(sites, i, j, d)
        nearest = Groups(i[real], n).minimum(d[real])
        farthest = nearest.max()
        # A site without neighbours has them farther away
        needed = 1.5 * r if math.isnan(farthest) else _FARTHEST * farthest
        if needed <= r:
            break
        r = 1.001 * needed
    near = real & _is_near(d, nearest[i])
    i, j = i[near], j[near]
    return i, j, cart[j] + image[near] @ sites.matrix - cart[i], nearest


def _is_near(d, nearest):
    return d <= _FARTHEST * nearest * (1 + 1e-6)


def _are_real(sites, i, j, d):
    """Return which pairs are of sites that may be occupied at the same time."""
    occupancy = sites.occupancy
    if not (occupancy < 1).any():
        return np.ones(len(d), bool)
    radius = Joined([sites]).radius
    alternative = occupancy[i] + occupancy[j] < 1.01
    return ~(alternative & (d < (radius[i] + radius[j]) / 2))


def describe_geometry(parts, neighbours, primitives):
    """Return the numbers of `GEOMETRY` of structures, NaN where undefined.

    Parameters
    ----------
    parts : list of Sites
        Structures.
    neighbours : list of tuple
        Results of `find_neighbours` for them.
    primitives : list of ndarray
        For each structure, the index of the site of the primitive cell that each site
        repeats.

    Returns
    -------
    ndarray of shape (n_structures, n_numbers)
    """
    sites = Joined(parts)
    bonds = Bonds(neighbours, sites.first)
    mass, radius, occupancy = sites.mass, sites.radius, sites.occupancy
    i, j, d = bonds.i, bonds.j, bonds.d
    over_sites = Groups(sites.structure, len(parts))
    over_bonds = Groups(sites.structure[i], len(parts))
    n_atoms = over_sites.sum(occupancy)
    share = occupancy / n_atoms[sites.structure]
    volume = np.array([part.volume if part.is_crystal else math.nan for part in parts])
    sphere = 4 / 3 * math.pi / volume
    relative = d / (radius[i] + radius[j])
    inverse_root = np.sqrt(1 / mass[i] + 1 / mass[j])
    atoms = occupancy[i] * occupancy[j]
    weight = bonds.weight * atoms
    total = over_bonds.sum(weight)
    strong = bonds.weight > 0.5
    over_strong = Groups(over_bonds.index[strong], len(parts))

    def summary(values):  # mean, minimum, maximum and standard deviation over the atoms
        center = over_sites.sum(share * values)
        square = (values - center[sites.structure]) ** 2
        extremes = over_sites.minimum(values), over_sites.maximum(values)
        return [center, *extremes, np.sqrt(over_sites.sum(share * square))]

    def mean(values):  # over the bonds, by their weights
        return _ratio(over_bonds.sum(weight * values), total)

    numbers = [
        _DENSITY * over_sites.sum(mass * occupancy) / volume,
        volume / n_atoms,
        sphere * over_sites.sum(occupancy * radius**3),
        sphere * over_sites.sum(occupancy * (bonds.nearest / 2) ** 3),
        *summary(bonds.nearest),
        *summary(bonds.coordination),
        over_sites.sum(share * bonds.spread),
        over_sites.maximum(bonds.spread),
        mean(relative),
        over_strong.minimum(relative[strong]),
        over_strong.maximum(relative[strong]),
        *summary(1 / np.sqrt(mass)),
        mean(inverse_root),
        over_strong.maximum(inverse_root[strong]),
        mean(inverse_root / d),
        over_strong.maximum((inverse_root / d)[strong]),
    ]
    # k = sqrt(w_ij w_ji) ((r_i + r_j) / d)^6, times the occupancies, acts along a bond
    k = atoms * np.sqrt(bonds.weight * bonds.weight_back) / relative**6
    k = np.where(_is_near(d, bonds.nearest[j]), k, 0.0)  # both directions or none
    frequency = np.sqrt(Groups(i, len(mass)).sum(k) / (3 * mass))
    springs = [
        _highest_frequencies(bonds, k, sites, primitives),
        over_sites.sum(share * frequency),
        over_sites.minimum(frequency),
        over_sites.maximum(frequency),
        np.sqrt(over_bonds.maximum(k * inverse_root**2)),
        over_bonds.sum(k * d**2) / (18 * volume),
    ]
    some = over_bonds.maximum(k) > 0
    return np.stack([*numbers, *np.where(some, springs, math.nan)], axis=1)


def _highest_frequencies(bonds, k, sites, primitives):
    """Return the root of the largest eigenvalue of each dynamical matrix at Gamma.

    It is that of the primitive cell, which is the mean over its repetitions. NaN if the
    stiffness k of a bond is, or if there are no bonds.
    """
    size = np.array([3 * (primitive.max() + 1) for primitive in primitives])
    repetitions = 3 * np.array(list(map(len, primitives))) / size
    i, j, structure = bonds.i, bonds.j, sites.structure[bonds.i]
    unit = bonds.vector / bonds.d[:, None]
    block = (
        (k / repetitions[structure])[:, None, None]
        * unit[:, :, None]
        * unit[:, None, :]
    )
    # D_ii = sum_j k_ij u u' / m_i,  D_ij = - k_ij u u' / sqrt(m_i m_j)
    mass = np.stack([sites.mass[i], -np.sqrt(sites.mass[i] * sites.mass[j])], axis=1)
    entry = block[:, None] / mass[:, :, None, None]
    primitive = np.concatenate(primitives)
    a, b = np.mgrid[:3, :3]
    row = 3 * primitive[[i, i]].T[:, :, None, None] + a
    column = 3 * primitive[[i, j]].T[:, :, None, None] + b

    frequency = np.full(len(size), math.nan)
    start = np.searchsorted(structure, np.arange(len(size) + 1))
    for n in np.flatnonzero(Groups(structure, len(size)).sum(k) > 0):
        of = slice(start[n], start[n + 1])
        parts = (part[of].ravel() for part in (entry, row, column))
        frequency[n] = math.sqrt(max(_largest_eigenvalue(*parts, size[n]), 0.0))
    return frequency


def _largest_eigenvalue(entry, row, column, n):
    """Return the largest eigenvalue of a symmetric matrix, the sum of its entries."""
    if n <= 3 * _DENSE:
        D = np.bincount(row * n + column, entry, n * n).reshape(n, n)
        return np.linalg.eigvalsh(D)[-1]
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import ArpackError, eigsh

    D = coo_array((entry, (row, column)), shape=(n, n)).tocsr()
    start = np.random.default_rng(0).normal(size=n)
    options = {"which": "LA", "v0": start, "tol": 1e-6, "return_eigenvectors": False}
    try:
        return eigsh(D, 1, **options)[0]
    except ArpackError:
        return np.linalg.eigvalsh(D.toarray())[-1]
