"""Check that a structure can exist: elements, cell and distances between atoms."""

import contextlib
import functools

import numpy as np

from .pairs import find_pairs
from .parsing import recorded_warnings

#: Least distances (angstrom) of two hydrogens, of hydrogen and another element, and of
#: two others. Bonds are longer: H2 has 0.74, HF 0.92, N2 1.10.
_LEAST = np.array([0.5, 0.7, 0.9])
#: Least distance as a share of the sum of the atomic radii. The shortest bonds of
#: relaxed crystals have 0.8.
_SHARE = 0.5
#: Distance (angstrom) below which two entries are taken for one atom written twice.
_SAME_ATOM = 0.3
#: Least distance between lattice planes, greatest volume of an atom (angstrom): the
#: search for neighbours takes neither endless time nor all memory.
_LEAST_HEIGHT, _GREATEST_VOLUME = 0.3, 1e5
#: Greatest fractional coordinate, in size. The time of the search for neighbours is
#: proportional to it.
_FAR = 1e3


def check_physical(structure):
    """Raise ValueError for a Structure or Molecule that cannot exist.

    These are structures without atoms or of species that are no elements, with
    coordinates that are not finite, a cell without volume, or atoms closer to each
    other than atoms ever are.
    """
    numbers = _atomic_numbers(structure)
    if hasattr(structure, "lattice"):
        check_cell(structure.lattice.matrix)
        if not (np.abs(structure.frac_coords) < _FAR).all():
            raise ValueError(
                f"its coordinates are not finite, or {_FAR:.0f} cells or more outside "
                "its cell. Move its atoms into the cell"
            )
        volume = abs(np.linalg.det(structure.lattice.matrix)) / len(structure)
        if volume > _GREATEST_VOLUME:
            raise ValueError(
                f"its cell has {volume:.3g} cubic angstrom for each atom, more than "
                f"{_GREATEST_VOLUME:.0e}: check the unit of its lengths (angstrom)"
            )
    elif not np.isfinite(structure.cart_coords).all():
        raise ValueError("its coordinates are not finite")
    _check_distances(structure, numbers)


def check_cell(matrix):
    """Raise ValueError for lattice vectors, the rows of a matrix, without a volume."""
    matrix = np.asarray(matrix, float)
    heights = np.zeros(3)
    with contextlib.suppress(np.linalg.LinAlgError):
        heights = 1 / np.linalg.norm(np.linalg.inv(matrix), axis=0)
    if ((heights >= _LEAST_HEIGHT) & (heights < np.inf)).all():
        return
    if not np.isfinite(matrix).all():
        raise ValueError("its lattice vectors are not finite")
    zero = np.flatnonzero((matrix == 0).all(axis=1))
    if len(zero):
        which = " and ".join(str(i + 1) for i in zero)
        raise ValueError(
            f"lattice vector {which} is zero. Set it: to a slab, for instance, add "
            f"vacuum, atoms.center(vacuum=10, axis={zero[0]}) in ASE"
        )
    raise ValueError(
        f"its lattice planes are {heights.min():.3g} angstrom apart, less than "
        f"{_LEAST_HEIGHT}: check the lattice vectors and their unit (angstrom)"
    )


def _atomic_numbers(structure):
    """Return the atomic number of each site: of a mixed site that of least radius."""
    from pymatgen.core import DummySpecies

    if not len(structure):
        raise ValueError("it has no atoms")
    radii, numbers = _radii(), []
    for i, site in enumerate(structure):
        kinds = site.species.elements
        if not kinds:
            raise ValueError(f"site {i} ({site.label}) has no atom: its occupancy is 0")
        if any(isinstance(kind, DummySpecies) for kind in kinds):
            raise ValueError(
                f"site {i} is {site.species_string}, expected chemical elements"
            )
        Z = kinds[0].Z
        if len(kinds) > 1:
            Z = min((kind.Z for kind in kinds), key=radii.__getitem__)
        numbers.append(Z)
    return np.array(numbers)


@functools.cache
def _radii():
    """Return the atomic radii (angstrom) by atomic number, 0 for unknown ones."""
    from pymatgen.core import Element

    with recorded_warnings():  # some elements have none
        radii = [Element.from_Z(Z).atomic_radius or 0.0 for Z in range(1, 119)]
    return np.array([0.0, *map(float, radii)])


def _check_distances(structure, numbers):
    """Raise ValueError naming the closest two atoms, if they are too close."""
    radii, heavy = _SHARE * _radii()[numbers], (numbers > 1).astype(int)
    # of two equal atoms: no pair has a greater limit than the greater of its own
    cutoff = np.maximum(_LEAST[2 * heavy], 2 * radii).max()
    first, second, distances = _pairs(structure, cutoff)
    limits = np.maximum(
        _LEAST[heavy[first] + heavy[second]], radii[first] + radii[second]
    )
    close = np.flatnonzero(distances < limits)
    if not len(close):
        return
    k = close[np.argmin(distances[close])]
    i, j = sorted((int(first[k]), int(second[k])))
    names = [f"{n} ({structure[n].label})" for n in (i, j)]
    if i == j:
        raise ValueError(
            f"site {names[0]} and its periodic image are {distances[k]:.3f} angstrom "
            "apart, closer than atoms ever are. Check the lattice vectors and their "
            "unit (angstrom)"
        )
    if distances[k] < _SAME_ATOM and structure[i].species == structure[j].species:
        remedy = (
            "This is one atom written twice, by a repeated line or at a special "
            "position with few decimals (0.333 for 1/3). Write it once and with five "
            f"decimals, or merge it: structure.merge_sites({_SAME_ATOM}, mode='delete')"
        )
    else:
        remedy = (
            "Keep one of them if they are alternative positions of an atom; else check "
            "the coordinates, the lattice vectors and their unit (angstrom)"
        )
    n = len({(a, b) for a, b in zip(first[close], second[close], strict=True) if a < b})
    more = f" ({n} pairs are too close)" if n > 1 else ""
    raise ValueError(
        f"sites {names[0]} and {names[1]} are {distances[k]:.3f} angstrom apart, "
        f"closer than such atoms ever are{more}. {remedy}"
    )


def _pairs(structure, cutoff):
    """Return the sites of pairs of atoms within a cutoff, and their distances."""
    if hasattr(structure, "lattice"):
        matrix, pbc = structure.lattice.matrix, structure.lattice.pbc
        first, second, _, d = find_pairs(structure.cart_coords, matrix, pbc, cutoff)
        return first, second, d
    from scipy.spatial import cKDTree

    coords = structure.cart_coords
    pairs = cKDTree(coords).query_pairs(cutoff, output_type="ndarray")
    first, second = pairs.T
    return first, second, np.linalg.norm(coords[first] - coords[second], axis=1)
