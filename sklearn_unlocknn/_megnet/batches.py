"""Group graphs into batches, and batches into results for structures."""

import itertools
from dataclasses import dataclass, field

import numpy as np

#: Greatest number of bonds in a batch (about 200 MB of activations).
MAX_BONDS = 60_000


@dataclass
class Extraction:
    """Network features and predictions of n structures; NaN for failed ones.

    Attributes
    ----------
    features : ndarray of shape (n, d), or None
        Latent vectors.
    prediction : ndarray of shape (n, n_targets), or None
        Predictions of the network itself, in target units.
    n_atoms : ndarray of shape (n,)
        Number of atoms of each structure, 0 for a failed one.
    errors : dict of int to StructureError
        Errors of the failed structures, by index.
    notes : dict of int to str
        Warnings of the reader that leave the structure valid, by index.
    """

    features: np.ndarray | None
    prediction: np.ndarray | None
    n_atoms: np.ndarray
    errors: dict
    notes: dict = field(default_factory=dict)

    @classmethod
    def joined(cls, parts):
        """Join the extractions of successive structures, at least one."""
        parts = list(parts)

        def whole(name):
            values = [getattr(part, name) for part in parts]
            return None if values[0] is None else np.concatenate(values)

        arrays = map(whole, ("features", "prediction", "n_atoms"))
        errors = {i: e for part in parts for i, e in part.errors.items()}
        return cls(*arrays, errors, {i: n for p in parts for i, n in p.notes.items()})


def join(graphs):
    """Join graphs into one disjoint graph, as arrays for the 7 inputs of a network."""
    n_atoms = np.array([len(g.atom) for g in graphs])
    n_bonds = np.array([len(g.index1) for g in graphs])
    shift = np.repeat(np.cumsum(n_atoms) - n_atoms, n_bonds)
    atom, bond, state, index1, index2 = map(np.concatenate, zip(*graphs, strict=True))
    owner = np.arange(len(graphs))
    owners = [np.repeat(owner, n_atoms), np.repeat(owner, n_bonds)]
    return [atom, bond, state, index1 + shift, index2 + shift, *owners]


def cut(items, size):
    """Yield (start, list of at most ``size`` items), at least once."""
    items, start = iter(items), 0
    block = list(itertools.islice(items, size))
    while block or not start:
        yield start, block
        start += len(block) or 1
        block = list(itertools.islice(items, size))


def batches(graphs, batch_size, max_bonds=None):
    """Group graphs, at most ``batch_size`` and about ``max_bonds`` bonds together.

    ``max_bonds`` of None is `MAX_BONDS`.
    """
    max_bonds = max_bonds or MAX_BONDS
    batch, n_bonds = [], 0
    for graph in graphs:
        n = len(graph.index1)
        if batch and (len(batch) == batch_size or n_bonds + n > max_bonds):
            yield batch
            batch, n_bonds = [], 0
        batch.append(graph)
        n_bonds += n
    if batch:
        yield batch
