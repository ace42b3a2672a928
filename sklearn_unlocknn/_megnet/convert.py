"""Convert structures to checked MEGNet graphs."""

import contextlib
import logging
from typing import NamedTuple

import numpy as np

from .._structures.read import StructureError, read_many, structure_error
from .converter import CrystalGraph

_NO_BONDS = "no bonds: no two atoms are within the graph converter's cutoff"


class Graph(NamedTuple):
    """Arrays of one graph: ``index1`` and ``index2`` are the ends of the bonds."""

    atom: np.ndarray
    bond: np.ndarray
    state: np.ndarray
    index1: np.ndarray
    index2: np.ndarray


def convert_many(converter, limits, items, start=0):
    """Convert structures to graphs, with a `StructureError` in place of a failure.

    ``items`` may be the result of `read_many`; ``limits`` is from
    `layers.input_limits`; errors count structures from ``start``.
    """
    graphs = []
    for index, graph in enumerate(read_many(items, start), start):
        try:
            if not isinstance(graph, dict | StructureError):
                graph = _convert(converter, graph)
            if isinstance(graph, dict):
                graph = _check(graph, converter, limits)
            graphs.append(graph)
        except Exception as error:  # converters raise errors of any class
            graphs.append(structure_error(index, items[index - start], error))
    return graphs


def _convert(converter, structure):
    """Convert a structure by the converter, with the reason of a failure in words."""
    kind = type(converter).__name__
    if not structure.is_ordered and kind != "CrystalGraphDisordered":
        i = next(i for i, site in enumerate(structure) if not site.is_ordered)
        raise ValueError(
            f"site {i} is disordered ({structure[i].species_string}), which this "
            f"network's graph converter ({kind}) does not support"
        )
    state = getattr(structure, "state", None)
    if state is None:
        state = getattr(structure, "properties", {}).get("state")
    if state is not None:  # a list, since the converter takes its truth value
        state = np.asarray(state).tolist()
    if kind == "MolecularGraph":
        from megnet.data.molecule import mol_from_pymatgen

        structure = mol_from_pymatgen(structure)
    try:
        with _without_isolated_log():
            return converter.convert(structure, state_attributes=state)
    except RuntimeError as error:
        if "no bonds" not in str(error):
            raise
        raise ValueError(_NO_BONDS + _cutoff(converter)) from error


@contextlib.contextmanager
def _without_isolated_log():
    """Drop megnet's log of isolated atoms, which does not name the structure."""
    logger = logging.getLogger("megnet.data.graph")
    logger.addFilter(_is_other)
    try:
        yield
    finally:
        logger.removeFilter(_is_other)


def _is_other(record):
    return "Isolated atoms" not in record.getMessage()


def _check(graph, converter, limits):
    """Return the arrays of a graph after checking that the network can take it."""
    vocabulary, widths = limits
    atom = graph["atom"]
    if not isinstance(converter, CrystalGraph):
        atom = converter.atom_converter.convert(atom)
    atom = np.asarray(atom)
    bond = np.asarray(graph["bond"])
    if type(converter.bond_converter).__name__ != "GaussianDistance":
        bond = np.asarray(converter.bond_converter.convert(graph["bond"]))
    state = np.asarray(graph.get("state", [[0.0, 0.0]]))
    state = state.reshape(1, -1) if widths[2] is not None else state.ravel()
    ends = [np.asarray(graph[k], int).ravel() for k in ("index1", "index2")]

    parts = {"atom": atom, "bond": bond, "state": state}
    for name, values in parts.items():
        if not np.isfinite(values).all():
            raise ValueError(f"the {name} features of its graph are not finite")
    if len(ends[0]) == 0:
        raise ValueError(_NO_BONDS + _cutoff(converter))
    if not len(bond) == len(ends[0]) == len(ends[1]):
        raise ValueError("bond, index1 and index2 of the graph differ in length")
    if min(end.min() for end in ends) < 0 or max(end.max() for end in ends) >= len(
        atom
    ):
        raise ValueError("index1 or index2 of the graph is not the index of an atom")
    n_bonds = np.bincount(ends[0], minlength=len(atom))
    if not n_bonds.all():
        raise ValueError(
            f"isolated atoms (sites {np.flatnonzero(n_bonds == 0).tolist()}): no "
            "neighbour within the graph converter's cutoff" + _cutoff(converter)
        )
    for (name, values), size, width in zip(
        parts.items(), vocabulary, widths, strict=True
    ):
        if size and (values.min() < 0 or values.max() >= size):
            unknown = sorted(set(values[(values < 0) | (values >= size)]))
            what = "unknown elements, atomic numbers" if name == "atom" else name
            raise ValueError(
                f"{what} {list(map(int, unknown))}: the network supports those below "
                f"{size}"
            )
        got = values.shape[1] if values.ndim == 2 else None
        if name != "bond" and got != width:
            raise ValueError(
                f"{got} {name} features, where the network expects {width}"
            )
    return Graph(atom, bond, state, *ends)


def _cutoff(converter):
    strategy = getattr(converter, "nn_strategy", converter)
    cutoff = getattr(strategy, "cutoff", None)
    return "" if cutoff is None else f" of {cutoff:g} angstrom"
