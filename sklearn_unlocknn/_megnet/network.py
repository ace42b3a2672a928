"""Run a frozen MEGNet on structures."""

import functools
import hashlib
import json
import os
import threading

import numpy as np

from .._gp.linalg import map_in_threads
from .._keras.graph import limit_threads
from .._parallel import run_blocks
from .._structures.read import StructureError, as_items
from .batches import Extraction, batches, cut, join
from .convert import Graph, convert_many
from .converter import CrystalGraph, identify, read_object
from .forward import SETTINGS, NumpyPass, runs
from .keras_pass import KerasPass, traceable
from .layers import (
    find_layer,
    input_limits,
    layers_of,
    names_of,
    readout_layers,
    structure_widths,
)
from .state import build_network, network_state

#: Snapshots used last, by fingerprint and by file: clones, copies, candidates of a
#: search and tasks of a worker share a snapshot and its compiled functions.
_HANDLES, _MOST_HANDLES = {}, 8
_LOCK = threading.RLock()

#: Number of structures that a process converts and runs at a time.
BLOCK = 512
#: Greatest number of bonds in a pass in NumPy, whose arrays then fit in a cache.
PASS_BONDS = 20_000


class MEGNetSnapshot:
    """Frozen MEGNet network: extract features, predict, fingerprint, pickle.

    Holds JSON text and NumPy arrays. Networks of MEGNet's own layers run in NumPy;
    TensorFlow and megnet are imported for others, for graph converters other than
    CrystalGraph, and for ``keras_model``. Copies and clones are the object itself.

    Parameters
    ----------
    network : str, path-like, GraphModel or MEGNetSnapshot
        An .hdf5 file with its .json beside it, or a model object, of which a snapshot
        is taken.
    """

    def __init__(self, network):
        if isinstance(network, MEGNetSnapshot):
            network = network._state
        self._state = network if isinstance(network, dict) else network_state(network)
        self._config = json.loads(self._state["config"])
        self._layers = layers_of(self._config)
        self._inputs = names_of(self._config["input_layers"])
        self._in_numpy = not self._state["classes"] and runs(self._layers, self._config)

    @classmethod
    def of(cls, network):
        """Return a snapshot, the same one for a snapshot, a file and equal content.

        A model object may be trained on, so each call takes a new snapshot of it.
        """
        if isinstance(network, cls):
            return network
        with _LOCK:
            handle = file = None
            if isinstance(network, str | os.PathLike) and os.path.isfile(network):
                info = os.stat(network)
                file = (os.path.realpath(network), info.st_mtime_ns, info.st_size)
                handle = _HANDLES.get(file)
            if handle is None:
                new = cls(network)
                handle = _HANDLES.get(new.fingerprint) or new
            for key in (file, handle.fingerprint):
                if key is not None:
                    _HANDLES.pop(key, None)
                    _HANDLES[key] = handle  # the newest
            for key in list(_HANDLES)[:-_MOST_HANDLES]:
                del _HANDLES[key]
            return handle

    def __reduce__(self):
        # A function: cloudpickle would send a class method by value, with what it uses.
        return revive, (self._state,)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __sklearn_clone__(self):
        return self

    @functools.cached_property
    def fingerprint(self):
        """Hash of architecture, weights, graph converter and target scaler."""
        if self._in_numpy:
            settings = [
                [{key: one.config.get(key) for key in SETTINGS[one.kind]}, *one[::3]]
                for one in self._layers
            ]
        else:  # where classes live and what shapes they saw first is no architecture
            skip = ("module", "registered_name", "build_config")
            settings = json.loads(
                self._state["config"],
                object_hook=lambda d: {k: v for k, v in d.items() if k not in skip},
            )
        parts = [json.dumps(settings, sort_keys=True)]
        parts += [identify(self._state[name]) for name in ("converter", "scaler")]
        digest = hashlib.sha256("\n".join(parts).encode())
        for w in self._state["weights"]:
            digest.update(f"{w.shape}{w.dtype}".encode() + np.ascontiguousarray(w).data)
        return digest.hexdigest()

    @functools.cached_property
    def keras_model(self):
        """The rebuilt tf-keras network."""
        limit_threads()
        return build_network(self._state)

    @functools.cached_property
    def scaler(self):
        """MEGNet's target scaler or its equivalent, or None."""
        return read_object(self._state["scaler"])

    @functools.cached_property
    def converter(self):
        """MEGNet's graph converter or its equivalent."""
        return read_object(self._state["converter"])

    @property
    def needs_tensorflow(self):
        """Whether to convert and to run structures imports TensorFlow."""
        return not (self._in_numpy and isinstance(self.converter, CrystalGraph))

    @property
    def n_outputs(self):
        """Number of targets that the network predicts."""
        return self._widths[self._output]

    @property
    def extensive(self):
        """Whether the target scaler makes a target grow with the number of atoms."""
        one, two = self.target_affine([1, 2])[1]
        return not np.allclose(one, two)

    def target_affine(self, n_atoms):
        """Return the affine map from raw network output to target units.

        A prediction is ``shift + slope * output``; a standard deviation of the raw
        output is multiplied by ``abs(slope)`` and not shifted. For numbers of atoms of
        shape (n,), both are of shape (n, 1), or (n, n_targets) for a scaler with one
        number a target. ValueError if the target scaler is not affine.
        """
        n_atoms, index = np.unique(n_atoms, return_inverse=True)
        if self.scaler is None:
            return np.zeros((len(index), 1)), np.ones((len(index), 1))
        zero, one, two = (
            np.array(
                [np.ravel(self.scaler.inverse_transform(x, int(n))) for n in n_atoms],
                float,
            )
            for x in (0.0, 1.0, 2.0)
        )
        slope = one - zero
        if not np.allclose(two - one, slope, atol=1e-9 * np.abs([zero, two]).max()):
            raise ValueError(
                "Got a MEGNet with the nonlinear target scaler "
                f"{type(self.scaler).__name__}, expected an affine map, such as "
                "StandardScaler, or none."
            )
        return zero[index], slope[index]

    def resolve_layer(self, layer):
        """Return ``layer`` as a tuple of layer names; ValueError if there is none."""
        if isinstance(layer, str) and layer == "auto":
            return self._readout
        several = isinstance(layer, list | tuple)
        layers = layer if several else [layer]
        return tuple(find_layer(self._layers, k) for k in layers)

    def n_features(self, layer):
        """Return the number of features of ``layer``, or of a list of layers."""
        names = self.resolve_layer(layer)
        if bad := [name for name in names if name not in self._widths]:
            raise ValueError(
                f"Got `layer`={layer!r}, of which {bad} describe atoms or bonds and "
                f"not whole structures. Those that do: {list(self._widths)}."
            )
        return sum(self._widths[name] for name in names)

    def extract(self, structures, layer="auto", **options):
        """Return the ``features`` of `run` alone."""
        return self.run(structures, layer, **options).features

    def predict(self, structures, **options):
        """Return the ``prediction`` of `run` alone, in target units."""
        return self.run(structures, None, predict=True, **options).prediction

    def run(self, structures, layer="auto", **options):
        """Return what `stream` yields, joined as one `Extraction`."""
        return Extraction.joined(self.stream(structures, layer, **options))

    def stream(
        self,
        structures,
        layer="auto",
        *,
        predict=False,
        batch_size=128,
        n_jobs=None,
        on_error="raise",
    ):
        """Run the network over any iterable in bounded memory.

        Parameters
        ----------
        structures : iterable of Structure, Molecule, Atoms, dict, str or path-like
            pymatgen or ASE objects, MEGNet graphs, CIF or POSCAR (or molecule) files,
            or their text.
        layer : int, str, list of these or None, default="auto"
            Layers by index or name; several are concatenated. "auto" is the
            concatenated readout of atoms, bonds and state (-4 in the released
            networks) and the state features of the blocks before it. None computes no
            features.
        predict : bool, default=False
            Whether to return the network's own prediction, from the same pass.
        batch_size : int, default=128
            Number of structures in a forward pass, fewer if they are large.
        n_jobs : int, default=None
            Number of processes that read, convert and run blocks of structures, with
            joblib's meaning and backends.
        on_error : {"raise", "nan"}, default="raise"
            What to do with a structure that cannot be converted.

        Yields
        ------
        Extraction
            Results of successive structures, at least one; the indices in `errors`
            count from the first structure of all.
        """
        if on_error not in ("raise", "nan"):
            raise ValueError(f"Got `on_error`={on_error!r}, expected 'raise' or 'nan'.")
        if batch_size < 1:
            raise ValueError(f"Got `batch_size`={batch_size!r}, expected 1 or more.")
        if layer is None and not predict:
            raise ValueError("Nothing to compute: got `layer=None`, `predict=False`.")
        n_features = 0 if layer is None else self.n_features(layer)
        names = () if layer is None else self.resolve_layer(layer)
        self.check()  # raises before the first structure is read
        options = (names, n_features, predict, batch_size, on_error)
        cut_up = whole_batches(structures, batch_size)
        blocks = ((start, items, options) for start, items in cut_up)
        yield from run_blocks(type(self)._run_block, self, blocks, n_jobs)

    def _run_block(self, block):
        """Read, convert and run some structures; the first has index ``start``."""
        start, items, (names, n_features, predict, batch_size, on_error) = block
        graphs = self._convert_block((start, items))
        errors = {g.index: g for g in graphs if isinstance(g, StructureError)}
        if errors and on_error == "raise":
            raise next(iter(errors.values()))
        good = [i for i, g in enumerate(graphs) if type(g) is Graph]
        n_atoms = np.zeros(len(graphs), int)
        n_atoms[good] = [len(graphs[i].atom) for i in good]
        values = np.full((len(graphs), n_features + predict * self.n_outputs), np.nan)
        names += (self._output,) * predict
        if good:
            values[good] = self._values([graphs[i] for i in good], names, batch_size)
        features, prediction = np.split(values, [n_features], axis=1)
        if self.scaler is not None:
            for n in np.unique(n_atoms[good]):
                at = n_atoms == n
                prediction[at] = self.scaler.inverse_transform(prediction[at], int(n))
        features = features if n_features else None
        return Extraction(features, prediction if predict else None, n_atoms, errors)

    def check(self):
        """Raise ValueError if graph converter and network do not fit together."""
        _ = self._gaussians

    def graphs(self, structures, *, n_jobs=None):
        """Return structures as graphs, with a `StructureError` in place of a failure.

        Parameters are those of `stream`.
        """
        blocks = cut(as_items(structures), BLOCK)
        done = run_blocks(MEGNetSnapshot._convert_block, self, blocks, n_jobs)
        return [graph for graphs in done for graph in graphs]

    def _convert_block(self, block):
        start, items = block
        return convert_many(self.converter, self._limits, items, start)

    def _values(self, graphs, names, batch_size):
        """Return the values of layers for graphs, side by side."""

        def run(batch):
            return np.hstack(self._pass(join(batch), names))

        if not self._in_numpy:  # TensorFlow has threads of its own
            return np.concatenate(list(map(run, batches(graphs, batch_size))))
        parts = map_in_threads(run, batches(graphs, batch_size, PASS_BONDS))
        return np.concatenate(parts)

    def forward(self, outputs):
        """Return a function for TensorFlow to trace, from joined graphs to tensors.

        See `keras_pass.traceable`.
        """
        return traceable(self.keras_model, outputs, self._gaussians)

    @functools.cached_property
    def _pass(self):
        if self._in_numpy:
            return self._numpy_pass(self._gaussians)
        return KerasPass(self.keras_model, self._gaussians)

    def _numpy_pass(self, gaussians):
        weights = self._state["weights"]
        return NumpyPass(self._layers, self._inputs, weights, gaussians)

    @property
    def _output(self):
        """Name of the layer that returns the prediction."""
        (name,) = names_of(self._config["output_layers"])
        return name

    @functools.cached_property
    def _gaussians(self):
        """Centres and width that distances are expanded in, or None."""
        bonds = self.converter.bond_converter
        if type(bonds).__name__ != "GaussianDistance":
            return None
        n, got = self._limits[1][1], len(bonds.centers)
        if n != got:
            raise ValueError(
                f"The graph converter expands bonds to {got} features, the network "
                f"expects {n}."
            )
        return np.asarray(bonds.centers, np.float32), float(bonds.width)

    @functools.cached_property
    def _limits(self):
        return input_limits(self._layers, self._inputs)

    @functools.cached_property
    def _widths(self):
        # Without the graph converter, which may import megnet
        run = self._numpy_pass(None) if self._in_numpy else self._pass
        return structure_widths(run, self._layers, self._inputs)

    @functools.cached_property
    def _readout(self):
        return readout_layers(self._layers, self._widths)


def whole_batches(structures, batch_size):
    """Yield (start, structures) of blocks for processes.

    They are of whole batches, which do not depend on the number of processes.
    """
    return cut(as_items(structures), batch_size * max(1, BLOCK // batch_size))


def revive(state):
    """Return the snapshot of a pickled state, the same one for equal content."""
    return MEGNetSnapshot.of(state)
