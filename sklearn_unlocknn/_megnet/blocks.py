"""Features of structures in blocks: frozen MEGNets, descriptors, element fractions."""

import hashlib

import numpy as np

from .._parallel import run_blocks
from .._structures.descriptors import GROUPS, describe_structures, descriptor_names
from .._structures.read import StructureError, as_items, describe
from .batches import Extraction, cut
from .convert import read_many
from .network import BLOCK

#: The group of `StructureDescriptors` that is a block of its own.
FRACTIONS = "element_fractions"


def check_groups(descriptors):
    """Return the groups of a ``descriptors`` parameter, as a tuple."""
    if descriptors is None:
        return ()
    if isinstance(descriptors, str):
        descriptors = GROUPS if descriptors == "auto" else (descriptors,)
    groups = tuple(descriptors) if isinstance(descriptors, list | tuple) else None
    if groups is None or not set(groups) <= set(GROUPS):
        raise ValueError(
            f"Got descriptors={descriptors!r}, expected None, 'auto', or a list of "
            f"{list(GROUPS)}."
        )
    return groups


class FeatureBlocks:
    """Compute features of structures by networks and descriptors, side by side.

    Each structure is read once for all of them.

    Parameters
    ----------
    networks : list of MEGNetSnapshot
        Frozen networks, at least one.
    layer : int, str or list of int or str
        Latent layer of each.
    groups : tuple of str, default=()
        Groups of `StructureDescriptors`.

    Attributes
    ----------
    slices : dict of str to slice
        Columns by name: "network", of several also "network 0", "network 1", ...; then
        "descriptors" and "element_fractions".
    width : int
        Number of columns.
    together : tuple of slice
        Columns that share one scale: an element fraction is zero wherever the element
        is absent from the training data, and has no scale of its own.
    kernel : str or None
        The default kernel (``benchmarks/RESULTS.md``): descriptors vary on length
        scales of their own, an element has a linear effect; None: that of a network
        alone.
    """

    def __init__(self, networks, layer, groups=()):
        self.networks, self.layer = list(networks), layer
        described = tuple(group for group in groups if group != FRACTIONS)
        widths = {}
        for i, network in enumerate(self.networks):
            widths[f"network {i}"] = network.n_features(layer)
        n_latent = sum(widths.values())
        if described:
            widths["descriptors"] = len(descriptor_names(described)[0])
        if FRACTIONS in groups:
            widths[FRACTIONS] = len(descriptor_names((FRACTIONS,))[0])
        ends = np.cumsum(list(widths.values())).tolist()
        self.slices = {"network": slice(0, n_latent)}
        for name, width, end in zip(widths, widths.values(), ends, strict=True):
            self.slices[name] = slice(end - width, end)
        if len(self.networks) == 1:
            del self.slices["network 0"]
        self.groups = (*described, *(FRACTIONS,) * (FRACTIONS in groups))
        self.width = ends[-1]
        self.together, terms = (), []
        if described:
            both = "network, descriptors"
            terms = ["matern52_ard[descriptors]", f"matern32_ard[{both}]"]
            terms += [f"linear[{both}]"]
        elif self.groups:
            terms = ["matern52_ard[network]", "matern32_ard[network]"]
            terms += ["linear[network]"]
        if FRACTIONS in groups:
            self.together = (self.slices[FRACTIONS],)
            terms += [f"linear[{FRACTIONS}]"]
        self.kernel = " + ".join(terms) or None

    @property
    def fingerprint(self):
        """Hash of the networks and of the names of the descriptors."""
        parts = [network.fingerprint for network in self.networks]
        if self.groups:
            parts += descriptor_names(self.groups)[0]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def stream(self, structures, *, batch_size, n_jobs, on_error):
        """Compute features over any iterable in bounded memory.

        Parameters are those of `MEGNetSnapshot.stream`.

        Yields
        ------
        Extraction
            Features, the first network's prediction, numbers of atoms and errors of
            successive structures. A descriptor that is not defined is NaN.
        """
        for network in self.networks:
            network.check()  # raises before the first structure is read
        # Whole batches, so that they do not depend on the number of processes
        size = batch_size * max(1, BLOCK // batch_size)
        blocks = (
            (start, items, batch_size, on_error)
            for start, items in cut(as_items(structures), size)
        )
        yield from run_blocks(FeatureBlocks._run_block, self, blocks, n_jobs)

    def _run_block(self, block):
        """Compute the features of some structures; the first has index ``start``."""
        start, items, batch_size, on_error = block
        structures = read_many(items, start)
        parts, errors = [], {}
        for network in self.networks:
            names, width = (
                network.resolve_layer(self.layer),
                network.n_features(self.layer),
            )
            options = (names, width, True, batch_size, "nan")
            parts.append(network._run_block((start, structures, options)))
            errors = {**parts[-1].errors, **errors}
        good = [i for i in range(len(items)) if start + i not in errors]
        values = np.full((len(items), self.width), np.nan)
        latent = [part.features for part in parts]
        values[:, self.slices["network"]] = np.hstack(latent)
        if self.groups:
            rows, failed = _described([structures[i] for i in good], self.groups)
            values[good, self.slices["network"].stop :] = rows
            errors.update({start + good[i]: error for i, error in failed.items()})
        errors = {
            i: StructureError(i, describe(items[i - start]), errors[i].reason)
            for i in sorted(errors)
        }
        if errors and on_error == "raise":
            raise next(iter(errors.values()))
        failed = [i - start for i in errors]
        values[failed] = parts[0].prediction[failed] = np.nan
        parts[0].n_atoms[failed] = 0
        return Extraction(values, parts[0].prediction, parts[0].n_atoms, errors)


def _described(structures, groups):
    """Return the descriptors of structures, and errors by position."""
    try:
        return describe_structures(structures, groups), {}
    except StructureError:
        rows, failed = [], {}
        for i, structure in enumerate(structures):
            try:
                rows.append(describe_structures([structure], groups)[0])
            except StructureError as error:
                rows.append(np.nan)
                failed[i] = error
        return np.vstack(np.broadcast_arrays(*rows)), failed
