"""Merge atoms and bonds of a graph that a MEGNet cannot tell apart.

Atoms of one element whose bonds lead, by the same lengths, to atoms that are alike in
turn have the same features after every layer, and so do bonds of one length between
atoms that are alike. Crystals have many of both: one of each is passed through the
network, with the number of those that it stands for. The classes of like atoms are
found by colour refinement [1]_, on hashes of 64 bits.

References
----------
.. [1] B. Weisfeiler, A. A. Leman, "The reduction of a graph to canonical form and the
   algebra which appears therein", Nauchno-Technicheskaya Informatsia 2 (1968).
"""

from typing import NamedTuple

import numpy as np

#: Lengths count as equal if they are to this number of units in the last place of
#: float32, about 2e-6 angstrom: a power of two.
_UNITS = 4

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ODD = np.uint64(0xBF58476D1CE4E5B9)


class Merged(NamedTuple):
    """Atoms and bonds, one of each that are alike, in the order of their graphs.

    Attributes
    ----------
    atoms, bonds : ndarray of int
        Indices of the atoms and bonds.
    index1, index2 : ndarray of int
        Ends of the bonds, as positions in ``atoms``.
    n_atoms : ndarray of int
        Number of atoms that each stands for.
    n_bonds : ndarray of int
        Number of bonds of one atom at the first end that each stands for.
    """

    atoms: np.ndarray
    bonds: np.ndarray
    index1: np.ndarray
    index2: np.ndarray
    n_atoms: np.ndarray
    n_bonds: np.ndarray


def merge(atom, owner, length, index1, index2):
    """Find atoms and bonds that are alike.

    Parameters
    ----------
    atom : ndarray of shape (n_atoms,), int
        Kind of each atom.
    owner : ndarray of shape (n_atoms,), int
        Graph of each atom.
    length : ndarray of shape (n_bonds,)
        Lengths of the bonds.
    index1, index2 : ndarray of shape (n_bonds,), int
        Ends of the bonds; ``index1`` ascends, and has every atom.

    Returns
    -------
    Merged
    """
    units = length.astype(np.float32).view(np.uint32).astype(np.uint64)
    length = _mixed((units + np.uint64(_UNITS // 2)) // np.uint64(_UNITS))
    starts = np.flatnonzero(np.diff(index1, prepend=-1))
    colour = _mixed(atom.astype(np.uint64) + (owner.astype(np.uint64) << np.uint64(32)))
    n = 0
    while True:
        # Sums do not depend on the order of the bonds.
        around = np.add.reduceat(_mixed(colour[index2] + length), starts)
        colour = _mixed(colour ^ _mixed(around))
        first, place, n_atoms = _distinct(colour)
        if len(first) == n:
            break
        n = len(first)
    chosen = np.zeros(len(atom), bool)
    chosen[first] = True
    bonds = np.flatnonzero(chosen[index1])
    ends = colour[index1[bonds]] ^ _mixed(colour[index2[bonds]] + length[bonds])
    some, _, n_bonds = _distinct(ends)
    bonds = bonds[some]
    return Merged(
        first, bonds, place[index1[bonds]], place[index2[bonds]], n_atoms, n_bonds
    )


def _mixed(x):
    """Return hashes of 64-bit integers."""
    x = x * _GOLDEN
    x ^= x >> np.uint64(29)
    x *= _ODD
    x ^= x >> np.uint64(32)
    return x


def _distinct(keys):
    """Return where each key is first, in order, which key each is, and the counts."""
    _, first, place, counts = np.unique(keys, True, True, True)
    order = np.argsort(first)
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order))
    return first[order], rank[place], counts[order]
