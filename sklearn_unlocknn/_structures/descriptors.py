"""Composition and geometry of structures, as numbers."""

import functools
import math

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._parallel import run_tasks
from .element_data import N_ELEMENTS, element_table
from .geometry import COMPLEXITY, GEOMETRY, Sites, atomic_number, describe_geometry
from .read import StructureError, as_items, as_structure, describe

GROUPS = ("composition", "geometry", "complexity", "element_fractions")

_STATISTICS = ("mean", "mean deviation of", "minimum", "maximum", "range of")

_BLOCK = 500


@functools.cache
def descriptor_names(groups):
    """Return names and units of the descriptors of a tuple of groups."""
    table = element_table()
    pairs = []
    for group in groups:
        if group == "composition":
            pairs += [
                (f"{statistic} {name}", unit)
                for name, unit in zip(table.names, table.units, strict=True)
                for statistic in _STATISTICS
            ]
            pairs += [
                ("number of elements", ""),
                ("2-norm of fractions", ""),
                ("3-norm of fractions", ""),
                ("mean ionic character", ""),
                ("maximum ionic character", ""),
            ]
        elif group == "geometry":
            pairs += GEOMETRY
        elif group == "complexity":
            pairs += COMPLEXITY
        else:
            from pymatgen.core import Element

            pairs += [
                (f"fraction {Element.from_Z(z).symbol}", "")
                for z in range(1, N_ELEMENTS + 1)
            ]
    return [name for name, _ in pairs], [unit for _, unit in pairs]


def describe_structures(
    structures, groups=("composition", "geometry", "complexity"), on_error="raise"
):
    """Return the descriptors of structures that have been read.

    Parameters
    ----------
    structures : list of Structure, Molecule or dict
        Results of `as_structure`: a dictionary is a MEGNet graph.
    groups : tuple of str
        Groups of descriptors, in the order of their columns.
    on_error : {"raise", "nan"}
        Whether to raise a `StructureError` or return a row of NaN for a structure
        that cannot be described.

    Returns
    -------
    ndarray of shape (n_structures, n_descriptors)
    """
    n_geometry, n = len(GEOMETRY) + len(COMPLEXITY), len(structures)
    with_geometry = not {"geometry", "complexity"}.isdisjoint(groups)
    geometry = np.full((n, n_geometry), math.nan)
    amounts = []
    for index, structure in enumerate(structures):
        amounts.append({})
        try:
            if isinstance(structure, dict):
                amounts[-1] = _amounts_of_graph(structure)
                continue
            sites = Sites(structure)
            for species in sites.species:
                for z, amount in species.items():
                    amounts[-1][z] = amounts[-1].get(z, 0.0) + amount
            if with_geometry:
                geometry[index] = describe_geometry(sites)
        except Exception as error:
            if on_error == "raise":
                reason = str(error) or type(error).__name__
                raise StructureError(index, describe(structure), reason) from error
            amounts[-1] = {}
    parts = {
        "geometry": geometry[:, : len(GEOMETRY)],
        "complexity": geometry[:, len(GEOMETRY) :],
    }
    if "composition" in groups:
        parts["composition"] = _composition(amounts)
    if "element_fractions" in groups:
        parts["element_fractions"] = _fractions(amounts)
    return np.hstack([parts[group] for group in groups])


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
    fractions = np.zeros((len(amounts), N_ELEMENTS))
    for row, one in zip(fractions, amounts, strict=True):
        total = sum(one.values())
        for z, amount in one.items():
            row[z - 1] = amount / total
        if not one:
            row[:] = math.nan
    return fractions


def _composition(amounts):
    table = element_table()
    out = np.full((len(amounts), len(_STATISTICS) * len(table.names) + 5), math.nan)
    good = [k for k, one in enumerate(amounts) if one]
    if not good:
        return out
    sizes = np.array([len(amounts[k]) for k in good])
    start = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    z = np.concatenate([list(amounts[k]) for k in good])
    f = np.concatenate([list(amounts[k].values()) for k in good])
    f = f / np.repeat(np.add.reduceat(f, start), sizes)
    P = table.values[z]
    valid = ~np.isnan(P)
    w = valid * f[:, None]
    total = np.add.reduceat(w, start)
    none = total == 0
    total[none] = math.nan
    P0 = np.where(valid, P, 0.0)
    mean = np.add.reduceat(w * P0, start) / total
    deviation = np.abs(P0 - np.repeat(mean, sizes, axis=0))
    deviation = np.add.reduceat(w * np.nan_to_num(deviation), start) / total
    low = np.minimum.reduceat(np.where(valid, P, math.inf), start)
    high = np.maximum.reduceat(np.where(valid, P, -math.inf), start)
    low[none] = high[none] = math.nan
    statistics = np.stack([mean, deviation, low, high, high - low], axis=2)
    X = table.electronegativity
    ionic = []
    for k in good:
        zs, x = list(amounts[k]), np.array(list(amounts[k].values()))
        chi = X[zs]
        character = np.nan_to_num(1 - np.exp(-((chi[:, None] - chi) ** 2) / 4))
        x = x / x.sum()
        ionic.append([x @ character @ x, character.max()])
    out[good] = np.hstack([
        statistics.reshape(len(good), -1),
        sizes[:, None],
        np.sqrt(np.add.reduceat(f**2, start))[:, None],
        np.cbrt(np.add.reduceat(f**3, start))[:, None],
        ionic,
    ])  # fmt: skip
    return out


def _describe_block(task):
    """Read and describe structures; errors have their indices in the whole."""
    start, items, groups, on_error = task
    structures, rows, errors = [], [], {}
    for index, item in enumerate(items):
        try:
            structures.append(as_structure(item))
            rows.append(index)
        except Exception as error:
            reason = str(error) or type(error).__name__
            errors[index] = StructureError(start + index, describe(item), reason)
            if on_error == "raise":
                raise errors[index] from error
    out = np.full((len(items), len(descriptor_names(groups)[0])), math.nan)
    try:
        if rows:
            out[rows] = describe_structures(structures, groups, on_error)
    except StructureError as error:
        raise error.at(start + rows[error.index]) from error
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
