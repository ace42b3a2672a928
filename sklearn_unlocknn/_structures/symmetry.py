"""Cell shape, symmetry and complexity of a crystal, by spglib."""

import functools
import math

import numpy as np

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
    """Return the numbers of `SYMMETRY` and `COMPLEXITY`.

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
    list of float
        NaN if spglib finds no symmetry.
    """
    scale = (_VOLUME * len(kinds) / abs(np.linalg.det(matrix))) ** (1 / 3)
    # The lower triangle of the Cholesky factor is the lattice, turned
    lattice = np.linalg.cholesky(matrix @ matrix.T) * scale
    numbers = {}
    types = tuple(numbers.setdefault(kind, len(numbers)) for kind in kinds)
    return list(
        _analyse(
            tuple(lattice.round(3).ravel().tolist()),
            tuple((fractional.round(4) % 1.0).ravel().tolist()),
            types,
        )
    )


@functools.lru_cache(maxsize=10_000)
def _analyse(lattice, fractional, types):
    """Analyse a cell, given as tuples; most crystals have one of few prototypes."""
    import spglib

    cell = np.reshape(lattice, (3, 3)), np.reshape(fractional, (-1, 3)), types
    data = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
    reduced = None if data is None else spglib.niggli_reduce(data.primitive_lattice)
    if reduced is None:
        return (math.nan,) * (len(SYMMETRY) + len(COMPLEXITY))
    lengths = np.sqrt((reduced**2).sum(axis=1))
    counts = np.unique(data.crystallographic_orbits, return_counts=True)[1]
    n_sites = len(np.unique(data.mapping_to_primitive))
    p = counts / counts.sum()
    # I = - sum p log2 p, p the share of each orbit in the sites
    information = abs(float(p @ np.log2(p)))
    return (
        lengths.max() / lengths.min(),
        abs(np.linalg.det(reduced)) / lengths.prod(),
        data.number,
        sum(data.number >= first for first in _SYSTEMS),
        _point_group_order(data.hall_number),
        n_sites,
        len(counts) / n_sites,
        information,
        information * n_sites,
    )


@functools.cache
def _point_group_order(hall_number):
    """Return the number of rotations and rotoinversions of a space group."""
    import spglib

    rotations = spglib.get_symmetry_from_database(hall_number)["rotations"]
    return len(np.unique(rotations, axis=0))
