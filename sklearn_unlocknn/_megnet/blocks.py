"""Features of structures in blocks: frozen MEGNets, descriptors, element fractions."""

import hashlib

import numpy as np

from .._parallel import run_blocks
from .._structures.descriptors import (
    DESCRIPTOR_GROUPS,
    check_groups,
    describe_structures,
    descriptor_names,
)
from .._structures.formulas import formulas_of
from .._structures.read import StructureError, describe, notes_of, read_many
from .batches import Extraction
from .network import whole_batches

#: The group of `StructureDescriptors` that is a block of its own.
FRACTIONS = "element_fractions"


def groups_of(descriptors):
    """Return the groups of a ``descriptors`` parameter, as a tuple."""
    if descriptors is None:
        return ()
    if isinstance(descriptors, str) and descriptors == "auto":
        return DESCRIPTOR_GROUPS
    return check_groups(descriptors, "descriptors", "'auto', None, or ")


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
        Columns by name: "network", of each network "network 0", ..., then
        "descriptors" and "element_fractions".
    width : int
        Number of columns.
    together : tuple of slice
        Columns that share one scale: an element fraction is zero wherever the element
        is absent from the training data, and has no scale of its own.
    kernel : str or None
        The default kernel; None: that of `make_kernel`. A second length scale of the
        descriptors is shared with the first network; an element has a linear effect;
        other networks have one length scale each, as more of them overfit
        (``benchmarks/TRIED.md``).
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
        self.groups = (*described, *(FRACTIONS,) * (FRACTIONS in groups))
        self.width = ends[-1]
        self.together = (self.slices[FRACTIONS],) if FRACTIONS in groups else ()
        self.kernel = self._default_kernel() if len(widths) > 1 else None

    def _default_kernel(self):
        """Return the shorthand of the default kernel on several blocks."""
        first, both = "network 0", "network 0"
        if "descriptors" in self.slices:
            first, both = "descriptors", "network 0, descriptors"
        terms = [f"matern52_ard[{first}]", f"matern32_ard[{both}]", f"linear[{both}]"]
        if self.together:
            terms.append(f"linear[{FRACTIONS}]")
        for i in range(1, len(self.networks)):
            terms.append(f"matern32[network {i}]")
        return " + ".join(terms)

    def formulas(self, features):
        """Return the formulas of structures, given features with element fractions."""
        return formulas_of(features[:, self.slices[FRACTIONS]])

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
        cut_up = whole_batches(structures, batch_size)
        blocks = ((start, items, batch_size, on_error) for start, items in cut_up)
        yield from run_blocks(FeatureBlocks._run_block, self, blocks, n_jobs)

    def _run_block(self, block):
        """Compute the features of some structures; the first has index ``start``."""
        start, items, batch_size, on_error = block
        structures = read_many(items, start)
        parts, errors = [], {}
        for network in self.networks:
            names = network.resolve_layer(self.layer)
            width = network.n_features(self.layer)
            options = (names, width, True, batch_size, "nan")
            parts.append(network._run_block((start, structures, options)))
            errors = {**parts[-1].errors, **errors}
        good = [i for i in range(len(items)) if start + i not in errors]
        values = np.full((len(items), self.width), np.nan)
        latent = [part.features for part in parts]
        values[:, self.slices["network"]] = np.hstack(latent)
        if self.groups and good:
            some, failed = [structures[i] for i in good], {}
            rows = describe_structures(some, self.groups, failed)
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
        notes = {start + i: note for i in good if (note := notes_of(structures[i]))}
        return Extraction(values, parts[0].prediction, parts[0].n_atoms, errors, notes)
