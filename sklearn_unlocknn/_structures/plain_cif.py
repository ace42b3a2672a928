"""Build the structures of CIF blocks whose sites are each filled by one element.

pymatgen compares each image of a site with the others in loops of Python, which is most
of the time that it takes to read a CIF. Here a tree finds the images that coincide.
"""

import functools

import numpy as np

#: Keys of the symmetry operations, in the order in which pymatgen looks for them.
_OPERATIONS = (
    "_symmetry_equiv_pos_as_xyz", "_symmetry_equiv_pos_as_xyz_",
    "_space_group_symop_operation_xyz", "_space_group_symop_operation_xyz_",
)  # fmt: skip
#: Images of one place to pymatgen differ by less than 1e-4 in fractional coordinates.
#: Here they differ by less than the first, and those of two places by more than the
#: second.
_SAME, _APART = 5e-5, 2e-4
#: Greatest coordinate, in size, of which the digits suffice for these differences.
_FAR = 1e3
#: Most images of which all pairs may coincide: memory is proportional to the pairs.
_MOST = 2000
#: Most images that are computed at once.
_IMAGES = 10**7


def plain_structure(block):
    """Return the structure of a CIF block as pymatgen builds it, or None if it must.

    Parameters
    ----------
    block : dict
        Entries of a block of ``CifParser.as_dict`` without magnetic moments.

    Returns
    -------
    Structure or None
        None for oxidation states, partial occupancies, species that are no elements,
        symmetry without its operations, images that nearly coincide, and all errors.
    """
    try:
        return _build(block)
    except Exception:  # pymatgen raises it in its words, or reads the block
        return None


def _build(block):
    """Build the structure of a block; raise an error, of any class, for another."""
    from pymatgen.core import Structure
    from pymatgen.io.cif import CifParser

    labels = block["_atom_site_label"]
    symbols = block.get("_atom_site_type_symbol", labels)
    occupancies = block.get("_atom_site_occupancy", ["1"] * len(labels))
    operations = next(block[key] for key in _OPERATIONS if block.get(key))
    columns = [block[f"_atom_site_fract_{x}"] for x in "xyz"]
    lists = [labels, symbols, occupancies, *columns, operations]
    if not all(isinstance(one, list) for one in lists):
        raise ValueError("an entry is in no loop")
    if len(set(map(len, lists[:-1]))) > 1:
        raise ValueError("columns of the sites differ in length")
    if "_atom_type_oxidation_number" in block:
        raise ValueError("species are ions")
    if any(float(value) != 1 for value in occupancies):
        raise ValueError("atoms are not whole")
    ranks, species = zip(*[_species()[symbol] for symbol in symbols], strict=True)
    places = np.array(columns, float).T
    lattice = CifParser.get_lattice_no_exception(block)
    site, images = _distinct_images(places, np.stack([_affine(o) for o in operations]))
    order = np.argsort(np.array(ranks)[site], kind="stable")
    site, images = site[order], images[order]
    return Structure(
        lattice, [species[i] for i in site], images, labels=[labels[i] for i in site]
    )


def _distinct_images(places, affine):
    """Return the site and the coordinates of each image, of equal ones the first.

    Raises ValueError if sites have images in common, or if images are neither equal
    nor apart; sites without symmetry are not compared.
    """
    from scipy.spatial import cKDTree

    if not (np.abs(places) < _FAR).all():
        raise ValueError("coordinates are too great")
    if not (affine == np.eye(4)).all(axis=(1, 2)).any():
        raise ValueError("the sites themselves are no images")
    if len(affine) == 1:  # sites that coincide are refused with all that are too close
        return np.arange(len(places)), places - np.floor(places)
    if len(places) * len(affine) > _IMAGES:
        raise ValueError("there are too many images")
    points = np.column_stack([places, np.ones(len(places))])
    images = (affine @ points.T)[:, :3].transpose(2, 0, 1).reshape(-1, 3)
    images -= np.floor(images)
    site = np.repeat(np.arange(len(places)), len(affine))
    tree = cKDTree(images % 1.0, boxsize=1.0)
    if len(site) > _MOST:
        pairs = tree.count_neighbors(tree, _APART, np.inf) - len(site)
        if pairs > _MOST**2:
            raise ValueError("too many images are equal")
    first, second = tree.query_pairs(_APART, np.inf, output_type="ndarray").T
    d = images[first] - images[second]
    if (site[first] != site[second]).any() or (np.abs(d - np.round(d)) > _SAME).any():
        raise ValueError("sites or images nearly coincide")
    kept = np.ones(len(site), bool)
    kept[second] = False  # it follows the first
    return site[kept], images[kept]


@functools.lru_cache(maxsize=1000)
def _affine(operation):
    from pymatgen.core import SymmOp

    return SymmOp.from_xyz_str(operation).affine_matrix


@functools.cache
def _species():
    """Return rank in pymatgen's order of sites and composition, by symbol."""
    from pymatgen.core import Composition, Element

    # X itself warns of an element without electronegativity
    known = [element for element in Element if element.data.get("X")]
    known.sort(key=lambda element: (element.X, element.symbol))
    return {
        element.symbol: (rank, Composition({element: 1.0}))
        for rank, element in enumerate(known)
    }
