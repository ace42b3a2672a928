"""Cell shape, symmetry and complexity of a crystal."""

import functools
import logging
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
        NaN if moyo finds no symmetry.
    site : ndarray of shape (n,)
        Index of the site of the primitive cell that each site repeats.
    """
    scale = (_VOLUME * len(kinds) / abs(np.linalg.det(matrix))) ** (1 / 3)
    # The rows of the Cholesky factor are the lattice vectors, turned
    lattice = np.linalg.cholesky(matrix @ matrix.T) * scale
    numbers = {}
    return _analyse(
        tuple(map(tuple, lattice.round(4).tolist())),
        tuple(map(tuple, (fractional.round(4) % 1.0).tolist())),
        tuple(numbers.setdefault(kind, len(numbers) + 1) for kind in kinds),
    )


@functools.lru_cache(maxsize=10_000)
def _analyse(lattice, fractional, types):
    """Analyse a cell, given as tuples; many crystals have one of few prototypes."""
    moyopy = _import_moyopy()
    cell = moyopy.Cell(lattice, fractional, types)
    try:
        found = moyopy.MoyoDataset(cell, symprec=SYMPREC, rotate_basis=False)
    except ValueError:  # atoms closer than the tolerance, for example
        return (math.nan,) * len(SYMMETRY + COMPLEXITY), np.arange(len(types))
    reduced = np.array(moyopy.niggli_reduce(found.prim_std_cell.basis)[0])
    site = np.array(found.mapping_std_prim)
    lengths = np.sqrt((reduced**2).sum(axis=1))
    counts = np.bincount(found.orbits)
    counts = counts[counts > 0]
    n_sites = site.max() + 1
    p = counts / counts.sum()
    # I = - sum p log2 p, p the share of each orbit in the sites
    information = abs(float(p @ np.log2(p)))
    numbers = (
        lengths.max() / lengths.min(),
        abs(np.linalg.det(reduced)) / lengths.prod(),
        found.number,
        sum(found.number >= first for first in _SYSTEMS),
        _point_group_order(found.number),
        n_sites,
        len(counts) / n_sites,
        information,
        information * n_sites,
    )
    return numbers, site


@functools.cache
def _point_group_order(number):
    """Return the number of rotations and rotoinversions of a space group."""
    rotations = _import_moyopy().operations_from_number(number).rotations
    return len(np.unique(rotations, axis=0))


@functools.cache
def _import_moyopy():
    """Import moyopy without its log of supercells that lack symmetry of the crystal.

    The descriptors are of the crystal, whatever cell it is written in.
    """
    import moyopy

    logging.getLogger("moyo").addFilter(
        lambda record: "primitive-cell symmetry" not in record.getMessage()
    )
    return moyopy
