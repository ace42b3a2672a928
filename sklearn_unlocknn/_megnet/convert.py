"""Structures of any kind -> pymatgen objects -> checked MEGNet graphs."""

import contextlib
import functools
import logging
from typing import NamedTuple

import numpy as np

from .._structures.read import StructureError, _name, as_structure
from .compat import thaw_object

_NO_BONDS = "no bonds: no two atoms are within the graph converter's cutoff"


class _Graph(NamedTuple):
    atom: np.ndarray
    bond: np.ndarray
    state: np.ndarray
    index1: np.ndarray
    index2: np.ndarray


_thaw_cached = functools.lru_cache(maxsize=8)(thaw_object)


def _limits(model):
    """Sizes of the atom, bond and state embeddings, and the feature widths."""
    vocabulary = [None] * 3
    for layer in model.layers:
        for i in range(3):
            if type(layer).__name__ == "Embedding" and layer.input is model.inputs[i]:
                vocabulary[i] = layer.input_dim
    widths = [t.shape[2] if len(t.shape) == 3 else None for t in model.inputs[:3]]
    return vocabulary, widths


def convert_many(spec, items, start=0, *, allow_isolated=False):
    """Convert structures to graphs, with a `StructureError` in place of a failure."""
    frozen, limits = spec
    converter, graphs = _thaw_cached(frozen), []
    for index, item in enumerate(items, start):
        structure = item
        try:
            structure = graph = as_structure(item)
            if not isinstance(structure, dict):
                graph = _convert(converter, structure)
            graphs.append(_check(graph, converter, limits, allow_isolated))
        except Exception as error:  # whatever a reader or a converter raises
            reason = str(error) or type(error).__name__
            graphs.append(StructureError(index, _name(structure, item), reason))
    return graphs


def _convert(converter, structure):
    """Convert by the network's own converter, with reasons a user can act on."""
    kind = type(converter).__name__
    if not np.isfinite(structure.cart_coords).all():
        raise ValueError("its coordinates are not finite")
    if not structure.is_ordered and kind != "CrystalGraphDisordered":
        i = next(i for i, site in enumerate(structure) if not site.is_ordered)
        raise ValueError(
            f"site {i} is disordered ({structure[i].species_string}), which this "
            f"network's graph converter ({kind}) does not take"
        )
    state = getattr(structure, "state", None)
    if state is None:
        state = getattr(structure, "properties", {}).get("state")
    if state is not None:  # a list, since the converter asks for its truth value
        state = np.asarray(state).tolist()
    if kind == "MolecularGraph":
        from megnet.data.molecule import mol_from_pymatgen

        structure = mol_from_pymatgen(structure)
    try:
        with _quiet():
            return converter.convert(structure, state_attributes=state)
    except OverflowError as error:
        raise ValueError("unknown elements (a dummy species?)") from error
    except RuntimeError as error:
        if "no bonds" not in str(error):
            raise
        raise ValueError(_NO_BONDS + _cutoff(converter)) from error


@contextlib.contextmanager
def _quiet():
    """Keep megnet from logging isolated atoms without saying of which structure."""
    logger = logging.getLogger("megnet.data.graph")
    logger.addFilter(_drop)
    try:
        yield
    finally:
        logger.removeFilter(_drop)


def _drop(record):
    return "Isolated atoms" not in record.getMessage()


def _check(graph, converter, limits, allow_isolated):
    """Make arrays of a graph, after checking that the network can take it."""
    vocabulary, widths = limits
    atom = np.asarray(converter.atom_converter.convert(graph["atom"]))
    bond = np.asarray(graph["bond"])
    if type(converter.bond_converter).__name__ != "GaussianDistance":
        bond = np.asarray(converter.bond_converter.convert(graph["bond"]))
    state = np.asarray(graph.get("state", [[0.0, 0.0]]))
    state = state.reshape(1, -1) if widths[2] is not None else state.ravel()
    ends = [np.asarray(graph[k], int).ravel() for k in ("index1", "index2")]

    for name, values in (("atom", atom), ("bond", bond), ("state", state)):
        if not np.isfinite(values).all():
            raise ValueError(f"the {name} features of its graph are not finite")
    if len(ends[0]) == 0:
        raise ValueError(_NO_BONDS + _cutoff(converter))
    if not len(bond) == len(ends[0]) == len(ends[1]):
        raise ValueError("bond, index1 and index2 of the graph differ in length")
    if min(map(np.min, ends)) < 0 or max(map(np.max, ends)) >= len(atom):
        raise ValueError("index1 or index2 of the graph names an atom it has not")
    isolated = np.setdiff1d(np.arange(len(atom)), ends[0])
    if len(isolated) and not allow_isolated:
        raise ValueError(
            f"isolated atoms (sites {isolated.tolist()}): no neighbour within the "
            "graph converter's cutoff" + _cutoff(converter)
        )
    parts = zip(("atom", "bond", "state"), (atom, bond, state), strict=True)
    for i, (name, values) in enumerate(parts):
        if vocabulary[i] and not ((values >= 0) & (values < vocabulary[i])).all():
            unknown = sorted(set(values[(values < 0) | (values >= vocabulary[i])]))
            what = "unknown elements, atomic numbers" if name == "atom" else name
            raise ValueError(
                f"{what} {list(map(int, unknown))}: the network knows those below "
                f"{vocabulary[i]}"
            )
        got = values.shape[1] if values.ndim == 2 else None
        if i != 1 and got != widths[i]:
            raise ValueError(
                f"{got} {name} features, where the network expects {widths[i]}"
            )
    return _Graph(atom, bond, state, *ends)


def _cutoff(converter):
    cutoff = getattr(converter.nn_strategy, "cutoff", None)
    return "" if cutoff is None else f" of {cutoff:g} angstrom"
