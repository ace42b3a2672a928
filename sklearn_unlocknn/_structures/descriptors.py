"""Composition and geometry of structures, as numbers."""

import functools
import math

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._parallel import run_tasks
from .element_data import N_ELEMENTS, element_table
from .geometry import GEOMETRY, Sites, describe_geometry
from .read import StructureError, as_items, as_structure, describe
from .symmetry import COMPLEXITY, SYMMETRY, describe_symmetry

DESCRIPTOR_GROUPS = ("composition", "geometry", "complexity", "element_fractions")

_STATISTICS = ("mean", "mean deviation of", "minimum", "maximum")

# Structures that a process reads and describes at a time.
_BLOCK = 500


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


def check_groups(groups):
    """Return the groups of descriptors as a tuple, or raise for a wrong one."""
    listed = isinstance(groups, tuple | list) and len(groups)
    if (
        not listed
        or len(set(groups)) < len(groups)
        or set(groups) - set(DESCRIPTOR_GROUPS)
    ):
        raise ValueError(
            f"Got `groups`={groups!r}, expected a tuple of one or more of "
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
    n = len(structures)
    numbers = {
        "geometry": np.full((n, len(GEOMETRY + SYMMETRY)), math.nan),
        "complexity": np.full((n, len(COMPLEXITY)), math.nan),
    }
    wanted = numbers.keys() & set(groups)
    amounts = [{}] * n
    for index, structure in enumerate(structures):
        try:
            if isinstance(structure, dict):
                amounts[index] = _amounts_of_graph(structure)
                continue
            sites = Sites(structure)
            if wanted:
                symmetry = _symmetry(sites)
                numbers["complexity"][index] = symmetry[len(SYMMETRY) :]
            if "geometry" in wanted:
                geometry = describe_geometry(sites) + symmetry[: len(SYMMETRY)]
                numbers["geometry"][index] = geometry
            amounts[index] = sites.amounts
        except Exception as error:  # pymatgen and spglib raise errors of any class
            reason = str(error) or type(error).__name__
            failure = StructureError(index, describe(structure), reason)
            if errors is None:
                raise failure from error
            errors[index] = failure
            for values in numbers.values():
                values[index] = math.nan
    if "composition" in groups:
        numbers["composition"] = _composition(amounts)
    if "element_fractions" in groups:
        numbers["element_fractions"] = _fractions(amounts)
    return np.hstack([numbers[group] for group in groups])


def _symmetry(sites):
    """Return the numbers of `SYMMETRY` and `COMPLEXITY`, NaN for a molecule."""
    if not sites.is_crystal:
        return [math.nan] * len(SYMMETRY + COMPLEXITY)
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
    structures, index = [], []
    for k, item in enumerate(items):
        try:
            structures.append(as_structure(item))
            index.append(k)
        except Exception as error:  # readers raise errors of any class
            if on_error == "raise":
                reason = str(error) or type(error).__name__
                raise StructureError(start + k, describe(item), reason) from error
    out = np.full((len(items), len(descriptor_names(groups)[0])), math.nan)
    errors = None if on_error == "raise" else {}
    try:
        if index:
            out[index] = describe_structures(structures, groups, errors)
    except StructureError as error:
        raise error.at(start + index[error.index]) from error
    return out


class StructureDescriptors(TransformerMixin, BaseEstimator):
    """Composition and geometry of crystals and molecules, as numbers.

    Parameters
    ----------
    groups : tuple of str, default=("composition", "geometry", "complexity")
        Groups of descriptors, of "composition", "geometry", "complexity" and
        "element_fractions".
    n_jobs : int or None, default=None
        Number of processes; -1 uses all processors. None is 1, or the setting of
        ``joblib.parallel_config``.
    on_error : {"raise", "nan"}, default="raise"
        What to do with a structure that cannot be read: raise an error that names its
        index and formula, or return a row of NaN.

    Examples
    --------
    >>> from sklearn_unlocknn import StructureDescriptors
    >>> from sklearn_unlocknn.datasets import make_ionic_crystals
    >>> crystals = make_ionic_crystals(5, random_state=0)
    >>> StructureDescriptors(("geometry",)).fit_transform(crystals.data).shape
    (5, 32)
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
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.allow_nan = self.on_error == "nan"
        tags.no_validation = True
        tags.requires_fit = False
        return tags

    def fit(self, X, y=None):
        """Check the parameters; nothing is learned from the structures."""
        groups = (self.groups,) if isinstance(self.groups, str) else tuple(self.groups)
        self._groups = groups
        self._names, self.units_ = descriptor_names(groups)
        self.n_features_out_ = len(self._names)
        return self

    def transform(self, X):
        """Return the descriptors of structures."""
        check_is_fitted(self)
        items = list(as_items(X))
        tasks = (
            (start, items[start : start + _BLOCK], self._groups, self.on_error)
            for start in range(0, len(items), _BLOCK)
        )
        return np.vstack(list(run_tasks(_describe_block, tasks, self.n_jobs)))

    def get_feature_names_out(self, input_features=None):
        """Return the names of the descriptors."""
        check_is_fitted(self)
        return np.array(self._names, dtype=object)
