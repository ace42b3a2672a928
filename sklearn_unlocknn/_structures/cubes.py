"""Recognise cubic crystals of the highest symmetry, which cost spglib most.

If one site of a kind is alone in a cell, the lattice is cubic, and the inversion and
the turns of the cube about this site map the sites on each other, the space group is
Pm-3m, Fm-3m or Im-3m: no cell is smaller, and no group is larger.
"""

import functools
import itertools
import math
import os

import numpy as np

#: Most sites of a cell: time and memory grow with their square.
_MOST = 200

#: Space groups of a cube with all its symmetry, by the lattice points in the cube.
_CUBES = {1: 221, 4: 225, 2: 229}

#: Short lattice vectors, one of each pair of opposites, in those of a reduced cell.
_SHORT = np.array(list(itertools.product(range(-2, 3), repeat=3))[63:])

#: Turns about an edge and about a diagonal of a cube; with the inversion they generate
#: all its symmetry.
_TURNS = (
    np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
    np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
)


def analyse_cube(lattice, fractional, types, tolerance):
    """Analyse a cell if it is a cube with all its symmetry.

    Parameters
    ----------
    lattice : ndarray of shape (3, 3)
        Lattice vectors as rows, in angstrom.
    fractional : ndarray of shape (n, 3)
        Fractional coordinates.
    types : tuple of int
        What is on each site.
    tolerance : float
        Greatest distance, in angstrom, of a moved site from the one that it is on.

    Returns
    -------
    tuple or None
        Reduced primitive cell, number of the space group, order of its point group,
        and for each site the orbit and the site of the primitive cell; None for other
        cells.
    """
    alone = [i for i, kind in enumerate(types[:_MOST]) if types.count(kind) == 1]
    if not alone or len(types) > _MOST:
        return None
    kinds = np.array(types)
    rest = lattice, kinds[:, None] != kinds, tolerance
    x = fractional - fractional[alone[0]]
    images = [_images(x, -x, *rest)]
    if images[0] is None:
        return None
    spglib = import_spglib()
    reduced = spglib.niggli_reduce(spglib.delaunay_reduce(lattice))
    found = _cube_of(reduced)
    if found is None:
        return None
    number, edges = found
    along = lattice @ np.linalg.inv(edges)
    for turn in _TURNS:
        turned = x @ along @ turn @ np.linalg.inv(along)
        images.append(_images(x, turned, *rest))
        if images[-1] is None:
            return None
    orbit, before = np.arange(len(types)), None
    while not np.array_equal(orbit, before):
        before, orbit = orbit, np.min([orbit, *(orbit[one] for one in images)], axis=0)
    return reduced, number, 48, orbit, np.arange(len(types))


def _images(x, moved, lattice, different, tolerance):
    """Return the site that each moved site is on, or None if one is on none."""
    d = moved[:, None] - x
    d -= np.round(d)
    d = ((d @ lattice) ** 2).sum(axis=2)
    d[different] = math.inf
    return d.argmin(axis=1) if d.min(axis=1).max() < tolerance**2 else None


def _cube_of(reduced):
    """Return the space group of a reduced cell's cube and its edges, None without."""
    vectors = _SHORT @ reduced
    square = (vectors**2).sum(axis=1)
    volume = abs(np.linalg.det(reduced))
    for points, number in _CUBES.items():
        edge = (points * volume) ** (2 / 3)
        edges = vectors[np.abs(square - edge) < 2e-4 * edge]
        off = np.abs(edges @ edges.T - edge * np.eye(len(edges)))
        if len(edges) == 3 and (off < 2e-4 * edge).all():
            return number, edges
    return None


@functools.cache
def import_spglib():
    """Import spglib, without the lines that it prints on what it tries next."""
    os.environ.setdefault("SPGLIB_WARNING", "OFF")
    import spglib

    return spglib
