"""Cell shape, symmetry and complexity of a crystal."""

import contextlib
import functools
import math

import numpy as np

from .cubes import analyse_cube, import_spglib
from .parsing import recorded_warnings

#: Tolerance of positions, in angstrom in a crystal scaled to _VOLUME per site.
SYMPREC = 0.01

#: Volume of a site after scaling, in cubic angstrom: equal prototypes of any size are
#: equal cells, which are analysed once.
_VOLUME = 15.0

#: First space group of each crystal system, from triclinic to cubic.
_SYSTEMS = (1, 3, 16, 75, 143, 168, 195)

SYMMETRY = [
    ("ratio of cell lengths", ""),
    ("volume over product of cell lengths", ""),
    ("space-group number", ""),
    ("crystal system", ""),
    ("symmetry operations", ""),
    ("sites in the primitive cell", ""),
    ("distinct sites per site", ""),
]

COMPLEXITY = [
    ("structural complexity per site", "bit"),
    ("structural complexity of the primitive cell", "bit"),
]


def describe_symmetry(matrix, fractional, kinds):
    """Return the numbers of `SYMMETRY` and `COMPLEXITY`, and the primitive cell.

    Parameters
    ----------
    matrix : ndarray of shape (3, 3)
        Lattice vectors as rows, in angstrom.
    fractional : ndarray of shape (n, 3)
        Fractional coordinates.
    kinds : list of hashable
        What is on each site; sites of equal kind may be equivalent.

    Returns
    -------
    numbers : tuple of float
        NaN if spglib finds no symmetry.
    site : ndarray of shape (n,)
        Index of the site of the primitive cell that each site repeats.
    """
    scale = (_VOLUME * len(kinds) / abs(np.linalg.det(matrix))) ** (1 / 3)
    # The rows of the Cholesky factor are the lattice vectors, turned
    lattice = np.linalg.cholesky(matrix @ matrix.T) * scale
    numbers = {}
    return _analyse(
        tuple(lattice.round(4).ravel().tolist()),
        tuple((fractional.round(4) % 1.0).ravel().tolist()),
        tuple(numbers.setdefault(kind, len(numbers)) for kind in kinds),
    )


@functools.lru_cache(maxsize=10_000)
def _analyse(lattice, fractional, types):
    """Analyse a cell, given as tuples; many crystals have one of few prototypes."""
    cell = np.reshape(lattice, (3, 3)), np.reshape(fractional, (-1, 3)), types
    found = None
    # spglib warns that its failures will be exceptions.
    with recorded_warnings(), contextlib.suppress(_errors()):
        # A fifth of the tolerance: spglib finds the same symmetry for certain
        found = analyse_cube(*cell, SYMPREC / 5) or _analyse_any(cell)
    if found is None:
        return (math.nan,) * len(SYMMETRY + COMPLEXITY), np.arange(len(types))
    reduced, number, order, orbits, site = found
    lengths = np.sqrt((reduced**2).sum(axis=1))
    counts = np.bincount(orbits)
    counts = counts[counts > 0]
    n_sites = site.max() + 1
    p = counts / counts.sum()
    # I = - sum p log2 p, p the share of each orbit in the sites
    information = abs(float(p @ np.log2(p)))
    numbers = (
        lengths.max() / lengths.min(),
        abs(np.linalg.det(reduced)) / lengths.prod(),
        number,
        sum(number >= first for first in _SYSTEMS),
        order,
        n_sites,
        len(counts) / n_sites,
        information,
        information * n_sites,
    )
    return numbers, site


def _analyse_any(cell):
    """Analyse a cell by spglib.

    Returns
    -------
    tuple or None
        Reduced primitive cell, number of the space group, order of its point group,
        and for each site the orbit and the site of the primitive cell.
    """
    spglib = import_spglib()
    data = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
    if data is None:
        return None
    reduced = spglib.niggli_reduce(data.primitive_lattice)
    order = _point_group_order(data.hall_number)
    site = data.mapping_to_primitive
    return reduced, data.number, order, data.crystallographic_orbits, site


def _errors():
    """Return the class of spglib's errors, which old versions do not have."""
    return getattr(import_spglib(), "SpglibError", ())


@functools.cache
def _point_group_order(hall_number):
    """Return the number of rotations and rotoinversions of a space group."""
    rotations = import_spglib().get_symmetry_from_database(hall_number)["rotations"]
    return len(np.unique(rotations, axis=0))
