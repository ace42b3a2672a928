"""The frozen MEGNet as an encoder of samples."""

import difflib
import itertools
import os
from pathlib import Path

import numpy as np

from .._features.cache import MAX_ROWS, FeatureCache, cache_location, hash_bytes
from .._features.encoder import train
from .._gp.encoded import Encoded
from .._parallel import count_workers
from .._structures.checks import as_list, check_structure_targets
from .._structures.content import content_of
from .._structures.read import StructureError, as_structure, describe, notes_of
from ..datasets import MEGNET_MODELS, fetch_megnet_model
from .batches import Extraction
from .blocks import FeatureBlocks, groups_of
from .network import MEGNetSnapshot

# Structures of a stream that are in memory together, for each process.
STREAM_STRUCTURES = 1024


def resolve_megnets(network, X=None, y=None, sample_weight=None):
    """Return the snapshots of a ``network`` parameter, which may be a list."""
    several = isinstance(network, list | tuple)
    networks = list(network) if several else [network]
    if not networks:
        raise ValueError("Got an empty list as `network`, expected at least one.")
    names = [f"network[{i}]" if several else "network" for i in range(len(networks))]
    return [
        resolve_megnet(one, X, y, sample_weight, name)
        for one, name in zip(networks, names, strict=True)
    ]


def resolve_megnet(network, X=None, y=None, sample_weight=None, name="network"):
    """Return the snapshot of a ``network`` parameter, named ``name`` in errors.

    An estimator is cloned and fitted on the data; it must then have the MEGNet as
    ``network_``.
    """
    if isinstance(network, str) and network in MEGNET_MODELS:
        return MEGNetSnapshot.of(fetch_megnet_model(network))
    if isinstance(network, str | os.PathLike) and not Path(network).is_file():
        close = difflib.get_close_matches(str(network), MEGNET_MODELS, 3, 0.4)
        names = [*close, *(known for known in MEGNET_MODELS if known not in close)]
        raise ValueError(
            f"Got `{name}`={str(network)!r}, which is neither a file nor the name of a "
            f"pretrained network: {', '.join(names)}."
        )
    if not hasattr(type(network), "get_params"):  # not an estimator
        return MEGNetSnapshot.of(network)
    trained = getattr(train(network, X, y, sample_weight, name), "network_", None)
    if not isinstance(trained, MEGNetSnapshot):
        raise ValueError(
            f"`{name}` is an estimator, {type(network).__name__}, that after `fit` "
            f"has `network_`={trained!r}, expected a trained MEGNet there, as "
            "MEGNetRegressor has."
        )
    return trained


class MEGNetEncoder:
    """Encode structures as latent features of a frozen MEGNet.

    See `sklearn_unlocknn._gp.encoded.NumericEncoder` for the methods of an encoder.
    """

    @staticmethod
    def is_model(network):
        """Return whether a ``network`` parameter is a live model, or a list of some."""
        if isinstance(network, list | tuple):
            return any(map(MEGNetEncoder.is_model, network))
        # Without getattr: megnet's models hand unknown names on to Keras.
        return hasattr(type(network), "save_model") and hasattr(network, "model")

    @staticmethod
    def portable(model):
        """Return what stands for a live model in a pickle; of a list, for each."""
        if isinstance(model, list | tuple):
            is_model = MEGNetEncoder.is_model
            return [MEGNetSnapshot.of(one) if is_model(one) else one for one in model]
        return MEGNetSnapshot.of(model)

    @property
    def public(self):
        """Public attributes of a fitted estimator."""
        network = self.networks if self.several else self.network
        return {
            "network_": network,
            "n_features_out_": self.blocks.width,
            "feature_blocks_": dict(self.blocks.slices),
        }

    def fit(self, estimator, X, y, sample_weight=None):
        """Freeze the network, training it first if it is an estimator; encode."""
        items, y = self.check_added(X, y)
        self.freeze(estimator, items, y, sample_weight)
        encoded = self._encoded(self.extract(estimator, items))
        encoded.inputs = items
        return encoded, y

    def freeze(self, estimator, X, y=None, sample_weight=None):
        """Resolve network and layer; return X as a list."""
        cache_location(estimator.memory)  # a wrong `memory` is an error at once
        if estimator.on_error not in ("raise", "nan"):
            raise ValueError(
                f"Got `on_error`={estimator.on_error!r}, expected 'raise' or 'nan'."
            )
        items = as_list(X)
        self.layer = estimator.layer
        self.groups = groups_of(getattr(estimator, "descriptors", None))
        self.with_output = getattr(estimator, "mean", None) == "network"
        self.several = isinstance(estimator.network, list | tuple)
        if self.several and len(estimator.network) != 1 and self.with_output:
            raise ValueError(
                f'Got mean="network" with a list of {len(estimator.network)} networks, '
                'expected a single one. Pass mean="constant", or one network.'
            )
        self.use(*resolve_megnets(estimator.network, items, y, sample_weight))
        return items

    def use(self, *networks):
        """Take the networks."""
        self.networks, self.network = list(networks), networks[0]
        self.blocks = FeatureBlocks(networks, self.layer, self.groups)

    def encode(self, estimator, X, keep=True, start=0):
        """Encode structures; ``keep=False`` neither looks features up nor keeps them.

        ``start`` is the number of the first in errors.
        """
        try:
            return self._encoded(self.extract(estimator, as_list(X), keep))
        except StructureError as error:
            raise error.at(start + error.index) from error

    def check_added(self, X, y, start=0):
        """Return structures as a list and their targets, checked."""
        items = as_list(X)
        return items, check_structure_targets(y, items, start)

    def chunks(self, estimator, stream):
        """Cut structures that come one by one into lists."""
        stream = iter(stream)
        size = STREAM_STRUCTURES * min(count_workers(estimator.n_jobs), 32)
        while piece := list(itertools.islice(stream, size)):
            yield piece

    def _encoded(self, done):
        """Return the samples with features as an `Encoded` batch."""
        n = len(done.n_atoms)
        index = np.flatnonzero(done.n_atoms > 0)
        pick = slice(None) if len(index) == n else index  # without a copy
        offset = scale = None
        if self.with_output:
            offset = done.prediction[pick]
            if self.network.extensive:
                scale = done.n_atoms[pick, None].astype(float)
        return Encoded(
            done.features[pick], offset, scale, index, n, done.errors,
            dtype=np.float32, gaps=bool(self.groups), blocks=self.blocks.slices,
            together=self.blocks.together, kernel=self.blocks.kernel, notes=done.notes,
            formulas=self.blocks.formulas if self.blocks.together else None,
        )  # fmt: skip

    def extract(self, estimator, items, keep=True):
        """Run the network on structures, or look the results up.

        The estimator has ``memory``, ``on_error``, ``n_jobs``, ``verbose`` and a batch
        size. Return an `Extraction`, with NaN for failed structures, or raise the
        `StructureError` of the first.
        """
        location = cache_location(estimator.memory)
        if not keep or (location is None and len(items) > MAX_ROWS):
            parts = self._run(estimator, items, np.arange(len(items)))
            return Extraction.joined(parts)
        layers = repr([net.resolve_layer(self.layer) for net in self.networks])
        cache = FeatureCache(location, self.blocks.fingerprint, layers)
        errors, notes = {}, {}

        def compute(rows):
            start = 0
            for done in self._run(estimator, items, rows):
                errors.update(done.errors)
                notes.update(done.notes)
                # NaN throughout is a failure, which the cache does not keep.
                n_atoms = np.where(done.n_atoms > 0, done.n_atoms, np.nan)
                part = rows[start : start + len(n_atoms)]
                n_atoms[np.isin(part, list(done.notes))] *= -1.0  # it has a note
                start += len(part)
                yield np.column_stack([done.features, done.prediction, n_atoms])

        keys = hash_bytes(content_of(item) for item in items)
        values = cache.fetch(keys, compute)
        if errors:  # of one of several equal structures
            failed = {keys[i].tobytes(): error for i, error in errors.items()}
            names = [key.tobytes() for key in keys]
            errors = {i: failed[k].at(i) for i, k in enumerate(names) if k in failed}
        features, prediction, n_atoms = np.split(values, [self.blocks.width, -1], 1)
        for i in np.flatnonzero(n_atoms < 0.0):
            if i not in notes:
                notes[int(i)] = notes_of(as_structure(items[i]))
        return Extraction(
            np.ascontiguousarray(features),
            np.ascontiguousarray(prediction),
            np.abs(np.nan_to_num(n_atoms[:, 0])).astype(int),
            errors,
            notes,
        )

    def _run(self, estimator, items, rows):
        """Run the network on some structures, by blocks; errors have their indices."""
        batch_size = getattr(estimator, "extract_batch_size", None)
        batch_size = batch_size or estimator.batch_size
        chosen = shown = [items[i] for i in rows]
        if estimator.verbose:
            from tqdm import tqdm

            # None: on a terminal only
            shown = tqdm(chosen, "Extracting features", disable=None)
        try:
            start = 0
            for done in self.blocks.stream(
                shown, batch_size=batch_size, n_jobs=estimator.n_jobs,
                on_error=estimator.on_error,
            ):  # fmt: skip
                part = rows[start : start + len(done.n_atoms)]
                done.errors = {
                    int(rows[i]): error.at(rows[i]) for i, error in done.errors.items()
                }
                done.notes = {int(rows[i]): note for i, note in done.notes.items()}
                latent = done.features[:, self.blocks.slices["network"]]
                values = np.hstack([latent, done.prediction])
                finite = np.isfinite(values).all(axis=1)
                bad = np.flatnonzero(~finite & ~np.isin(part, list(done.errors)))
                if len(bad):
                    raise ValueError(
                        "The network's values are not finite for structure "
                        f"{part[bad[0]]} ({describe(chosen[start + bad[0]])}; "
                        f"{len(bad)} of {len(part)} in its block). Check its weights "
                        "for NaN."
                    )
                start += len(part)
                yield done
        except StructureError as error:
            raise error.at(rows[error.index]) from error
