"""Composition and geometry of structures, as numbers."""

import functools
import math

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._parallel import run_tasks
from .checks import as_list, structure_tags
from .element_data import N_ELEMENTS, element_table
from .geometry import GEOMETRY, Sites, describe_geometry, find_neighbours
from .read import StructureError, read_many, structure_error
from .symmetry import COMPLEXITY, SYMMETRY, describe_symmetry

DESCRIPTOR_GROUPS = ("composition", "geometry", "complexity", "element_fractions")

_STATISTICS = ("mean", "mean deviation of", "minimum", "maximum")

# Structures that a process reads and describes at a time.
_BLOCK = 500

# Structures whose geometry is computed at a time.
_BATCH = 20


@functools.cache
def descriptor_names(groups):
    """Return names and units of the descriptors of a tuple of groups, as two lists."""
    pairs = []
    for group in groups:
        if group == "composition":
            table = element_table()
            pairs += [
                (f"{statistic} {name}", unit)
                for name, unit in zip(table.names, table.units, strict=True)
                for statistic in _STATISTICS
            ]
        elif group == "geometry":
            pairs += GEOMETRY + SYMMETRY
        elif group == "complexity":
            pairs += COMPLEXITY
        else:
            from pymatgen.core import Element

            symbols = [Element.from_Z(z).symbol for z in range(1, N_ELEMENTS + 1)]
            pairs += [(f"fraction {symbol}", "") for symbol in symbols]
    return [name for name, _ in pairs], [unit for _, unit in pairs]


def check_groups(groups, name="groups", other=""):
    """Return the groups of descriptors as a tuple, or raise for a wrong one.

    ``name`` is that of the parameter in the error, ``other`` what else it may be.
    """
    listed = isinstance(groups, tuple | list) and len(groups)
    if (
        not listed
        or len(set(groups)) < len(groups)
        or set(groups) - set(DESCRIPTOR_GROUPS)
    ):
        raise ValueError(
            f"Got `{name}`={groups!r}, expected {other}a list of one or more of "
            f"{', '.join(map(repr, DESCRIPTOR_GROUPS))}, each once."
        )
    return tuple(groups)


def describe_structures(structures, groups, errors=None):
    """Return the descriptors of structures that have been read.

    Parameters
    ----------
    structures : list of Structure, Molecule or dict
        Results of `as_structure`; a dictionary is a MEGNet graph.
    groups : tuple of str
        Groups of descriptors, in the order of their columns.
    errors : dict or None, default=None
        Where to put the `StructureError` of each structure that cannot be described,
        by its index; its row is NaN. None raises it.

    Returns
    -------
    ndarray of shape (n_structures, n_descriptors), float64
        In the units of `descriptor_names`.
    """
    n, split = len(structures), len(GEOMETRY + SYMMETRY)
    values = np.full((n, split + len(COMPLEXITY)), math.nan)
    numbers = {"geometry": values[:, :split], "complexity": values[:, split:]}
    amounts, described = [{}] * n, []
    for index, structure in enumerate(structures):
        try:
            if isinstance(structure, dict):
                amounts[index] = _amounts_of_graph(structure)
                continue
            sites = Sites(structure)
            if numbers.keys() & set(groups):
                values[index, len(GEOMETRY) :], primitive = _symmetry(sites)
            if "geometry" in groups:
                described.append((index, sites, find_neighbours(sites), primitive))
            amounts[index] = sites.amounts
        except Exception as error:  # pymatgen raises errors of any class
            failure = structure_error(index, structure, error)
            if errors is None:
                raise failure from error
            errors[index] = failure
            values[index] = math.nan
    for start in range(0, len(described), _BATCH):
        index, *parts = zip(*described[start : start + _BATCH], strict=True)
        values[list(index), : len(GEOMETRY)] = describe_geometry(*parts)
    if "composition" in groups:
        numbers["composition"] = _composition(amounts)
    if "element_fractions" in groups:
        numbers["element_fractions"] = _fractions(amounts)
    # Without rounding errors, which the division by a standard deviation might magnify
    return np.hstack([numbers[group] for group in groups]).round(9)


def _symmetry(sites):
    """Return the results of `describe_symmetry`, NaN for a molecule."""
    if not sites.is_crystal:
        nothing = (math.nan,) * len(SYMMETRY + COMPLEXITY)
        return nothing, np.arange(len(sites.cart))
    kinds = [tuple(sorted(one.items())) for one in sites.species]
    return describe_symmetry(sites.matrix, sites.fractional, kinds)


def _amounts_of_graph(graph):
    atoms = np.asarray(graph["atom"])
    if atoms.ndim != 1 or atoms.dtype.kind not in "iu":
        raise ValueError(
            f"the graph holds atoms as {atoms.dtype} of shape {atoms.shape}, expected "
            "atomic numbers. Pass the structure instead"
        )
    if not len(atoms) or atoms.min() < 1 or atoms.max() > N_ELEMENTS:
        raise ValueError(f"the graph's atomic numbers are not all 1 to {N_ELEMENTS}")
    z, count = np.unique(atoms, return_counts=True)
    return dict(zip(z.tolist(), count.astype(float).tolist(), strict=True))


def _fractions(amounts):
    """Return the fraction of each element, NaN for a structure without amounts."""
    fractions = np.zeros((len(amounts), N_ELEMENTS))
    for row, one in zip(fractions, amounts, strict=True):
        total = sum(one.values()) if one else math.nan
        row[[z - 1 for z in one]] = list(one.values())
        row /= total
    return fractions


def _composition(amounts):
    """Return statistics of element properties over the fractions of the elements.

    Elements without a value of a property are left out of its statistics.
    """
    properties = element_table().values
    out = np.full((len(amounts), properties.shape[1], len(_STATISTICS)), math.nan)
    some = [index for index, one in enumerate(amounts) if one]
    if some:
        # The elements of all structures one after another
        size = [len(amounts[index]) for index in some]
        start = np.cumsum([0, *size[:-1]])
        z = np.concatenate([list(amounts[index]) for index in some])
        x = np.concatenate([list(amounts[index].values()) for index in some])
        P = properties[z]
        missing = np.isnan(P)
        weight = np.where(missing, 0.0, x[:, None])
        P = np.where(missing, 0.0, P)
        total = np.add.reduceat(weight, start)
        total[total == 0] = math.nan
        mean = np.add.reduceat(weight * P, start) / total
        deviation = np.abs(P - np.repeat(np.nan_to_num(mean), size, axis=0))
        deviation = np.add.reduceat(weight * deviation, start) / total
        low = np.minimum.reduceat(np.where(missing, math.inf, P), start)
        high = np.maximum.reduceat(np.where(missing, -math.inf, P), start)
        statistics = np.stack([mean, deviation, low, high], axis=2)
        out[some] = np.where(np.isfinite(statistics), statistics, math.nan)
    return out.reshape(len(amounts), -1)


def _describe_block(task):
    """Read and describe structures, numbered from ``start`` in errors."""
    start, items, groups, on_error = task
    structures = read_many(items, start)
    failed = [isinstance(item, StructureError) for item in structures]
    if on_error == "raise" and any(failed):
        raise structures[failed.index(True)]
    index = np.flatnonzero(np.logical_not(failed))
    out = np.full((len(items), len(descriptor_names(groups)[0])), math.nan)
    errors = None if on_error == "raise" else {}
    try:
        if len(index):
            some = [structures[k] for k in index]
            out[index] = describe_structures(some, groups, errors)
    except StructureError as error:
        raise error.at(start + index[error.index]) from error
    return out


class StructureDescriptors(TransformerMixin, BaseEstimator):
    r"""Composition, geometry and symmetry of crystals and molecules, as numbers.

    They need no network and no training, and have names and units. Beside the features
    of a frozen MEGNet they lower the errors of most properties.

    Parameters
    ----------
    groups : tuple of str, default=("composition", "geometry", "complexity")
        Groups of descriptors, in the order of their columns:

        * "composition": mean, mean absolute deviation, minimum and maximum of element
          properties [1]_ over the atoms: numbers and places in the periodic table,
          electronegativity, radii, melting and boiling point, molar volume, ionization
          energy, electron affinity, thermal conductivity, valence electrons.
        * "geometry": density, volume, packing, nearest-neighbour distances,
          coordination numbers [2]_, bond lengths, roots of masses, frequencies of
          springs between neighbours, shape of the cell, symmetry [3]_.
        * "complexity": information of the structure, per site and in the primitive
          cell [4]_.
        * "element_fractions": fractions of the 103 elements from H to Lr.
    n_jobs : int or None, default=None
        Number of processes that read and describe structures, by blocks of 500; -1
        uses all processors. None is 1, or the setting of ``joblib.parallel_config``.
        It pays for thousands of structures, as a process takes seconds to start.
    on_error : {"raise", "nan"}, default="raise"
        What to do with a structure that cannot be read or described: raise an error
        that names its index and formula, or return a row of NaN.

    Attributes
    ----------
    units_ : list of str
        Units of the descriptors; "" for a number without a unit.
    n_features_out_ : int
        Number of descriptors.

    See Also
    --------
    MEGNetFeatureExtractor : Features of a frozen MEGNet, for the same structures.

    Notes
    -----
    X is a list, object array, Series or one-column frame of: pymatgen ``Structure``
    or ``Molecule`` objects, their dictionaries, ASE ``Atoms``, MEGNet graphs, paths
    or text of CIF, POSCAR, XYZ and JSON files, or paths of molecule files. Nothing is
    learned from them: a structure has the same descriptors in any data set. They do
    not depend on the choice of the cell, on its orientation or on the order of sites.

    With the distances :math:`d_{ij}` and the distance :math:`l_i` of the nearest
    neighbour of site i, averaged as in [2]_, neighbours have the weights and sites the
    coordination numbers

    .. math:: w_{ij} = \exp(1 - (d_{ij} / l_i)^6), \quad n_i = \sum_j w_{ij}.

    The spread of bond lengths is their weighted standard deviation over their mean.
    Bonds in a minimum or maximum are those with a weight over 0.5. Springs

    .. math:: k_{ij} = \sqrt{w_{ij} w_{ji}} \, ((r_i + r_j) / d_{ij})^6

    along the bonds, with covalent radii r [5]_, have the highest frequency of the
    dynamical matrix of the primitive cell at the zone centre [6]_, the frequencies
    :math:`(\sum_j k_{ij} / 3 m_i)^{1/2}` of a site whose neighbours are fixed and
    :math:`(k_{ij} / \mu_{ij})^{1/2}` of a bond, with the reduced mass
    :math:`\mu`, and the bulk modulus :math:`\sum_{ij} k_{ij} d_{ij}^2 / 18 V`. The
    unit of k is 1. The touching spheres of the packing fraction have half the
    nearest-neighbour distance as their radii. Cell lengths are those of the reduced
    primitive cell. The symmetry is found by moyo, which follows spglib [3]_, with a
    tolerance of 0.01 angstrom in a crystal scaled to 15 cubic angstrom a site. The
    complexity per site is :math:`-\sum_i p_i \log_2 p_i`, with the share :math:`p_i`
    of the sites that are equivalent to i.

    NaN stands for what is undefined, and for nothing else if ``on_error="raise"``:

    * A property that pymatgen does not have for an element (electronegativity of He,
      Ne and Ar, for example) is left out of the statistics; they are NaN if no element
      of the structure has it. There are no covalent radii beyond Cm.
    * Molecules, and structures that repeat in fewer than three directions, have no
      density, volume, packing, bulk modulus, cell, symmetry and complexity.
    * An atom that is alone has no distances, bonds and springs.
    * MEGNet graphs have composition and element fractions only.

    A disordered site has the mean mass and radius of its species, and counts by its
    occupancy. Two sites closer than half the sum of their radii, which together hold
    no more than one atom, are alternatives and no neighbours. Isotopes count as their
    element.

    References
    ----------
    .. [1] L. Ward et al., "A general-purpose machine learning framework for predicting
       properties of inorganic materials", npj Comput. Mater. 2016,
       doi:10.1038/npjcompumats.2016.28. The properties are pymatgen's.
    .. [2] R. Hoppe, "Effective coordination numbers (ECoN) and mean fictive ionic
       radii (MEFIR)", Z. Kristallogr. 1979, doi:10.1524/zkri.1979.150.14.23.
    .. [3] A. Togo, K. Shinohara, I. Tanaka, "Spglib: a software library for crystal
       symmetry search", Sci. Technol. Adv. Mater. Meth. 2024,
       doi:10.1080/27660400.2024.2384822. Of moyo: https://github.com/spglib/moyo.
    .. [4] S. V. Krivovichev, "Topological complexity of crystal structures:
       quantitative approach", Acta Cryst. A 2012, doi:10.1107/S0108767312012044.
    .. [5] B. Cordero et al., "Covalent radii revisited", Dalton Trans. 2008,
       doi:10.1039/b801115j.
    .. [6] M. Born, K. Huang, "Dynamical theory of crystal lattices", Oxford University
       Press (1954).

    Examples
    --------
    >>> from sklearn_unlocknn import StructureDescriptors
    >>> from sklearn_unlocknn.datasets import make_ionic_crystals
    >>> crystals = make_ionic_crystals(5, random_state=0)
    >>> descriptors = StructureDescriptors().fit(crystals.data)
    >>> descriptors.transform(crystals.data).shape
    (5, 144)
    >>> names = list(descriptors.get_feature_names_out())
    >>> descriptors.units_[names.index("mean nearest-neighbour distance")]
    'angstrom'
    """

    def __init__(
        self,
        groups=("composition", "geometry", "complexity"),
        *,
        n_jobs=None,
        on_error="raise",
    ):
        self.groups = groups
        self.n_jobs = n_jobs
        self.on_error = on_error

    def __sklearn_tags__(self):
        return structure_tags(self, super().__sklearn_tags__())

    def fit(self, X, y=None):
        """Check the parameters; nothing is learned from the structures.

        Parameters
        ----------
        X : list of Structure, or as described in the Notes, of length n_samples
            Structures.
        y : None, default=None
            Not used.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter is invalid, or X is empty.
        TypeError
            If X is a single structure.
        """
        as_list(X)
        groups = check_groups(self.groups)
        if self.on_error not in ("raise", "nan"):
            raise ValueError(
                f"Got `on_error`={self.on_error!r}, expected 'raise' or 'nan'."
            )
        names, units = descriptor_names(groups)
        self._groups, self._names, self.units_ = groups, names, list(units)
        self.n_features_out_ = len(names)
        return self

    def transform(self, X):
        """Return the descriptors of structures.

        Parameters
        ----------
        X : list of Structure, or as described in the Notes, of length n_samples
            Structures.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out_), float64
            Descriptors in ``units_``, or a frame after ``set_output``.

        Raises
        ------
        ValueError
            If a structure cannot be read or described and ``on_error="raise"``; the
            message names its index and formula.
        """
        check_is_fitted(self)
        items = as_list(X)
        blocks = (
            (start, items[start : start + _BLOCK], self._groups, self.on_error)
            for start in range(0, len(items), _BLOCK)
        )
        return np.vstack(list(run_tasks(_describe_block, blocks, self.n_jobs)))

    def get_feature_names_out(self, input_features=None):
        """Return the names of the descriptors.

        Parameters
        ----------
        input_features : None, default=None
            Not used.

        Returns
        -------
        ndarray of shape (n_features_out_,) of str
        """
        check_is_fitted(self)
        return np.array(self._names, dtype=object)
