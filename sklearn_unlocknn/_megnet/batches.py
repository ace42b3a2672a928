"""Blocks of structures, batches of graphs, and what a network makes of them."""

import itertools
from dataclasses import dataclass, field

import numpy as np

#: Bonds of one batch: bounds memory whatever the sizes (about 200 MB of activations).
MAX_BONDS = 60_000


@dataclass
class Extraction:
    """What the network made of n structures; rows of failed ones are NaN.

    Attributes
    ----------
    features : ndarray of shape (n, d), or None
        Latent vectors.
    prediction : ndarray of shape (n, n_targets), or None
        The network's own prediction, in target units.
    n_atoms : ndarray of shape (n,)
        Sites per structure, 0 for a failed one.
    errors : dict of int to StructureError
        The failures, by index.
    """

    features: np.ndarray | None
    prediction: np.ndarray | None
    n_atoms: np.ndarray
    errors: dict = field(default_factory=dict)

    @property
    def failed(self):
        """Boolean mask of the structures that failed."""
        return np.isin(np.arange(len(self.n_atoms)), list(self.errors))


def join(graphs, inputs):
    """Join graphs into one disjoint graph, as the seven arrays of a network.

    Parameters
    ----------
    graphs : list of graph
        As `megnet_convert.convert_many` gives them.
    inputs : list of KerasTensor
        The network's, for their types.

    Returns
    -------
    list of ndarray of shape (1, ...)
    """
    n_atoms = np.array([len(g.atom) for g in graphs])
    n_bonds = np.array([len(g.index1) for g in graphs])
    shift = np.repeat(np.cumsum(n_atoms) - n_atoms, n_bonds)
    which = np.arange(len(graphs))
    arrays = [
        np.concatenate([g.atom for g in graphs]),
        np.concatenate([g.bond for g in graphs]),
        np.concatenate([g.state for g in graphs]),
        np.concatenate([g.index1 for g in graphs]) + shift,
        np.concatenate([g.index2 for g in graphs]) + shift,
        np.repeat(which, n_atoms),
        np.repeat(which, n_bonds),
    ]
    dtypes = [t.dtype.as_numpy_dtype for t in inputs]
    return [a[None].astype(t) for a, t in zip(arrays, dtypes, strict=True)]


def cut(items, size):
    """Yield (start, list of at most ``size`` items) from an iterable."""
    items, start = iter(items), 0
    while block := list(itertools.islice(items, size)):
        yield start, block
        start += len(block)


def batches(graphs, batch_size):
    """Group graphs, at most `batch_size` and about `MAX_BONDS` bonds together."""
    batch, n_bonds = [], 0
    for graph in graphs:
        n = len(graph.index1)
        if batch and (len(batch) == batch_size or n_bonds + n > MAX_BONDS):
            yield batch
            batch, n_bonds = [], 0
        batch.append(graph)
        n_bonds += n
    if batch:
        yield batch
