"""Find pairs of near sites."""

import numpy as np

#: Shorter distances are those of a site to itself, angstrom.
_SAME_PLACE = 1e-8


def find_pairs(cart, matrix, pbc, cutoff):
    """Find the pairs of sites of a structure within a cutoff.

    Parameters
    ----------
    cart : ndarray of shape (n, 3)
        Positions in angstrom.
    matrix : ndarray of shape (3, 3)
        Lattice vectors as rows, in angstrom.
    pbc : array-like of shape (3,)
        Whether the structure repeats along each vector.
    cutoff : float
        Greatest distance in angstrom.

    Returns
    -------
    i, j : ndarray of shape (n_pairs,)
        Sites; every pair is there from both ends, and ``i`` ascends.
    image : ndarray of shape (n_pairs, 3)
        Number of lattice vectors from j to its image.
    d : ndarray of shape (n_pairs,)
        Distances in angstrom.
    """
    from pymatgen.optimization.neighbors import find_points_in_spheres

    cart = np.ascontiguousarray(cart, float)
    i, j, image, d = find_points_in_spheres(
        cart, cart, r=float(cutoff), pbc=np.array(pbc, np.int64),
        lattice=np.ascontiguousarray(matrix, float), tol=_SAME_PLACE,
    )  # fmt: skip
    other = (i != j) | (d > _SAME_PLACE)
    return i[other], j[other], image[other], d[other]
