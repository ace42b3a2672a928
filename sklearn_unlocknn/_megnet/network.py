"""A frozen MEGNet: graphs -> batches -> what the network makes of them."""

import functools
import hashlib
import json
import os
import threading
import weakref

import numpy as np

from .._keras.graph import limit_threads
from .._parallel import Recent, run_blocks
from .._structures.read import StructureError, as_items
from .batches import Extraction, batches, cut, join
from .compat import build_network, network_state, thaw_object
from .convert import _Graph, _limits, _thaw_cached, convert_many

#: Live handles, by file (loaded and unchanged since) and by content.
_FILES = weakref.WeakValueDictionary()
_CONTENTS = weakref.WeakValueDictionary()
_OF = threading.RLock()
#: What a search drops with one candidate and asks for with the next.
_RECENT = Recent(4)

#: Structures of a block: converted, then run in batches, by one process.
BLOCK = 512


class MEGNetSnapshot:
    """A MEGNet network that never changes: extract, predict, fingerprint, pickle.

    Holds JSON text and NumPy arrays; TensorFlow and megnet are imported on first use.
    Copies and clones are the object itself.

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
        self._lock = threading.RLock()
        self._functions = {}

    @classmethod
    def of(cls, network):
        """Return a handle, the same one for a handle, a file and equal content.

        A model object may be trained on, so each call takes a new snapshot of it.
        """
        if isinstance(network, cls):
            return network
        with _OF:
            handle = key = None
            if isinstance(network, str | os.PathLike) and os.path.isfile(network):
                info = os.stat(network)
                key = (os.path.realpath(network), info.st_mtime_ns, info.st_size)
                handle = _FILES.get(key)
            if handle is None:
                new = cls(network)
                # What was compiled for the same network serves again.
                handle = _CONTENTS.setdefault(new.fingerprint(), new)
            if key is not None:
                _FILES[key] = handle
            return _RECENT.put(handle.fingerprint(), handle)

    @property
    def n_outputs(self):
        """Number of targets the network predicts."""
        return int(self.keras_model.output.shape[-1])

    @property
    def extensive(self):
        """Whether a target grows with the number of atoms, by the target scaler."""
        one, two = self.scale_std(1.0, 1), self.scale_std(1.0, 2)
        return not np.allclose(one, two)

    def n_features(self, layer):
        """Return the number of features that ``layer`` (or a list of them) gives."""
        names = self.resolve_layer(layer)
        if bad := [name for name in names if name not in self._widths]:
            raise ValueError(
                f"Got `layer`={layer!r}, of which {bad} describe atoms or bonds and "
                f"not whole structures. Those that do: {list(self._widths)}."
            )
        return sum(self._widths[name] for name in names)

    def resolve_layer(self, layer):
        """Return ``layer`` as a tuple of layer names; ValueError if there is none."""
        if isinstance(layer, str) and layer == "auto":
            return self._readout
        several = isinstance(layer, list | tuple)
        return tuple(self._layer(k).name for k in (layer if several else [layer]))

    def __reduce__(self):
        # A function: cloudpickle would send a class method by value, with what it uses.
        return revive, (self._state,)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __sklearn_clone__(self):
        return self

    def fingerprint(self):
        """Hash of architecture, weights, graph converter and target scaler."""
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self):
        state = self._state
        # Where classes live and what shapes they saw first is no architecture.
        skip = ("module", "registered_name", "build_config")
        config = json.loads(
            state["config"],
            object_hook=lambda d: {k: v for k, v in d.items() if k not in skip},
        )
        parts = [
            json.dumps(config, sort_keys=True),
            *map(repr, (state["converter"], state["scaler"])),
        ]
        digest = hashlib.sha256("\n".join(parts).encode())
        for w in state["weights"]:
            digest.update(f"{w.shape}{w.dtype}".encode() + np.ascontiguousarray(w).data)
        return digest.hexdigest()

    @functools.cached_property
    def keras_model(self):
        """The rebuilt tf-keras network."""
        limit_threads()
        return build_network(self._state)

    @functools.cached_property
    def scaler(self):
        """MEGNet's target scaler, or None."""
        return thaw_object(self._state["scaler"])

    @functools.cached_property
    def converter(self):
        """MEGNet's graph converter."""
        return _thaw_cached(self._state["converter"])

    @functools.cached_property
    def _spec(self):
        """What a worker process needs to convert structures."""
        return self._state["converter"], _limits(self.keras_model)

    @functools.cached_property
    def _gaussians(self):
        """Centres and width, where distances are expanded on the way in."""
        bonds = self.converter.bond_converter
        if type(bonds).__name__ != "GaussianDistance":
            return None
        n, got = self.keras_model.inputs[1].shape[-1], len(bonds.centers)
        if n != got:
            raise ValueError(
                f"The graph converter expands bonds to {got} features, the network "
                f"expects {n}."
            )
        return np.asarray(bonds.centers, np.float32), float(bonds.width)

    def extract(self, structures, layer="auto", with_output=False, **options):
        """Compute latent vectors.

        Parameters
        ----------
        structures : iterable of Structure, Molecule, Atoms, dict, str or path-like
            pymatgen or ASE objects, MEGNet graphs, CIF or POSCAR (or molecule) files,
            or their text.
        layer : int, str or list of these, default="auto"
            Layers by index or name; several are concatenated. "auto" is the
            concatenated readout of atoms, bonds and state (-4 in the released
            networks) and, of the blocks before it, what they know of the state.
        with_output : bool, default=False
            Also return the network's own prediction, from the same pass.
        **options
            Those of `stream`.

        Returns
        -------
        features : ndarray of shape (n_structures, n_features), float64
        output : ndarray of shape (n_structures, n_outputs), float64
            Only if ``with_output``; in target units.
        """
        done = self.run(structures, layer, predict=with_output, **options)
        return (done.features, done.prediction) if with_output else done.features

    def predict(self, structures, **options):
        """Predict by the network itself, in target units.

        Returns
        -------
        ndarray of shape (n_structures, n_outputs), float64
        """
        return self.run(structures, None, predict=True, **options).prediction

    def run(self, structures, layer="auto", *, predict=False, **options):
        """Compute latent vectors and, in the same pass, predictions.

        Parameters
        ----------
        structures, layer
            As in `extract`. With `layer=None` no latent vectors are computed.
        predict : bool, default=False
            Whether to predict as well.
        **options
            Those of `stream`.

        Returns
        -------
        Extraction
        """
        stream = self.stream(structures, layer, predict=predict, **options)
        return self.joined(stream, layer, predict)

    def joined(self, parts, layer, predict):
        """Join what `stream` yields; arguments are those of `run`."""
        none = self._finish([], [], self._output_widths(layer, predict), {})
        done = [none, *parts]

        def whole(name):
            values = [getattr(d, name) for d in done]
            return None if values[0] is None else np.concatenate(values)

        errors = {i: e for d in done for i, e in d.errors.items()}
        arrays = map(whole, ("features", "prediction", "n_atoms"))
        return Extraction(*arrays, errors)

    def stream(
        self,
        structures,
        layer="auto",
        *,
        predict=False,
        batch_size=128,
        n_jobs=None,
        on_error="raise",
        allow_isolated=False,
    ):
        """Run over any iterable in bounded memory.

        Parameters
        ----------
        structures, layer, predict
            As in `run`.
        batch_size : int, default=128
            Structures per forward pass (fewer where they are large).
        n_jobs : int, default=None
            Processes that read, convert and run blocks of structures, each with a copy
            of the network; joblib's meaning and joblib's backends, so that None is
            what ``joblib.parallel_config`` says.
        on_error : {"raise", "nan"}, default="raise"
            What to do with a structure that cannot be converted.
        allow_isolated : bool, default=False
            Whether to accept an atom without bonds within the cutoff. The released
            networks never saw one.

        Yields
        ------
        Extraction
            For successive chunks of structures; indices in `errors` are global.
        """
        if on_error not in ("raise", "nan"):
            raise ValueError(f"Got `on_error`={on_error!r}, expected 'raise' or 'nan'.")
        if batch_size < 1:
            raise ValueError(f"Got `batch_size`={batch_size!r}, expected 1 or more.")
        # What is wrong with these is known here and now.
        _ = self._output_widths(layer, predict), self._gaussians
        options = (layer, predict, batch_size, on_error, allow_isolated)
        # Whole batches, so that the same ones are run whoever runs them.
        size = batch_size * max(1, BLOCK // batch_size)
        blocks = (
            (start, items, options) for start, items in cut(as_items(structures), size)
        )
        yield from run_blocks(type(self)._run_block, self, blocks, n_jobs)

    def _run_block(self, block):
        """Read, convert and run some structures; the first has index ``start``."""
        start, items, (layer, predict, batch_size, on_error, allow_isolated) = block
        graphs = convert_many(self._spec, items, start, allow_isolated=allow_isolated)
        errors = {}
        for index, graph in enumerate(graphs, start):
            if isinstance(graph, StructureError):
                if on_error == "raise":
                    raise graph
                errors[index] = graph
        good = [graph for graph in graphs if type(graph) is _Graph]
        function, widths = self._function(layer, predict)
        rows = [
            function(*join(batch, self.keras_model.inputs)).numpy()[0]
            for batch in batches(good, batch_size)
        ]
        return self._finish(graphs, rows, widths, errors)

    def graphs(self, structures, *, n_jobs=None, allow_isolated=False):
        """Convert structures, with a `StructureError` in place of a failure.

        Parameters
        ----------
        structures, n_jobs, allow_isolated
            As in `stream`.

        Returns
        -------
        list of graph or StructureError
        """
        blocks = (
            (self._spec, start, items, allow_isolated)
            for start, items in cut(as_items(structures), BLOCK)
        )
        done = run_blocks(MEGNetSnapshot._convert_block, self, blocks, n_jobs)
        return [graph for graphs in done for graph in graphs]

    def _convert_block(self, block):
        spec, start, items, allow_isolated = block
        return convert_many(spec, items, start, allow_isolated=allow_isolated)

    def scale_std(self, std, n_atoms=1):
        """Turn the std of the network's raw output into target units.

        A std is multiplied by the scaler's std, and by the number of atoms where the
        scaler is extensive; unlike a mean it is never shifted.
        """
        std, n_atoms = np.asarray(std, float), np.asarray(n_atoms)
        if self.scaler is None:
            return std
        at = [self.scaler.inverse_transform(x, n_atoms) for x in (0.0, 1.0, 2.0)]
        at = [np.asarray(a, float) for a in at]
        if not np.allclose(at[2] - at[1], at[1] - at[0]):
            name = type(self.scaler).__name__
            raise ValueError(f"A std cannot be scaled by the nonlinear scaler {name}.")
        return std * np.abs(at[1] - at[0])

    def _finish(self, graphs, rows, widths, errors):
        """Put rows in place, NaN where a structure failed, and scale predictions."""
        ok = [i for i, g in enumerate(graphs) if type(g) is _Graph]
        n_atoms = np.zeros(len(graphs), int)
        n_atoms[ok] = [len(graphs[i].atom) for i in ok]
        d, k = widths
        out = np.full((len(graphs), d + k), np.nan)
        if ok:
            out[ok] = np.concatenate(rows)
        y = out[:, d:]
        if self.scaler is not None:
            for n in np.unique(n_atoms[ok]):
                at = n_atoms == n
                y[at] = self.scaler.inverse_transform(y[at], int(n))
        return Extraction(out[:, :d] if d else None, y if k else None, n_atoms, errors)

    def _output_widths(self, layer, predict):
        """Give (n_features, n_targets) of a pass."""
        width = 0 if layer is None else self.n_features(layer)
        if not width and not predict:
            raise ValueError("Nothing to compute: got `layer=None`, `predict=False`.")
        return width, predict * self.n_outputs

    def _function(self, layer, predict):
        """Compile the pass; gives (function of 7 arrays, (n_features, n_targets))."""
        widths = self._output_widths(layer, predict)
        names = () if layer is None else self.resolve_layer(layer)
        key = (*names, predict)
        with self._lock:
            if key not in self._functions:
                self._functions[key] = self._compile(names, predict), widths
            return self._functions[key]

    def _compile(self, names, predict):
        import tensorflow as tf

        outputs = [self._layer(name).output for name in names]
        outputs += [self.keras_model.output] if predict else []
        forward, signature = self.forward(outputs)

        @tf.function(input_signature=signature)
        def function(*inputs):
            return tf.concat(forward(*inputs), -1)

        # Called directly: TensorFlow counts new functions as retracing, and warns.
        concrete = function.get_concrete_function()

        def run(*inputs):
            return concrete(*map(tf.constant, inputs))

        return run

    def forward(self, outputs):
        """Give the pass from joined graphs to tensors of ``keras_model``, untraced.

        Parameters
        ----------
        outputs : list of KerasTensor
            What to compute, such as ``[keras_model.output]``.

        Returns
        -------
        forward : callable
            From the seven inputs to a list of tensors of shape (1, n, width).
        signature : list of TensorSpec
            For a ``tf.function`` that is traced once, whatever the sizes.
        """
        import tensorflow as tf
        import tf_keras

        inputs, gaussians = self.keras_model.inputs, self._gaussians
        network = tf_keras.Model(inputs, outputs)
        signature = [tf.TensorSpec([1, None, *t.shape[2:]], t.dtype) for t in inputs]
        if gaussians is not None:
            signature[1] = tf.TensorSpec([1, None], tf.float32)

        def forward(atom, bond, *rest):
            if gaussians is not None:
                centers, width = gaussians
                bond = tf.exp(-(((bond[..., None] - centers) / width) ** 2))
            return tf.nest.flatten(network([atom, bond, *rest], training=False))

        return forward, signature

    @functools.cached_property
    def _widths(self):
        """Features per structure, by name, of the layers that describe structures."""
        import tensorflow as tf
        import tf_keras

        # Two graphs, five atoms, six bonds: the row count tells what a layer describes.
        model = self.keras_model
        index = [[0, 1, 2, 3, 4, 3], [1, 0, 3, 4, 2, 2], [0, 0, 1, 1, 1]]
        index.append([0, 0, 1, 1, 1, 1])
        probe = [
            tf.zeros((1, rows, *tensor.shape[2:]), tensor.dtype)
            for rows, tensor in zip((5, 6, 2), model.inputs, strict=False)
        ]
        probe += [tf.constant([i], tf.int32) for i in index]
        tensors = {layer.name: getattr(layer, "output", None) for layer in model.layers}
        tensors = {k: v for k, v in tensors.items() if hasattr(v, "shape")}
        out = tf_keras.Model(model.inputs, tensors)(probe, training=False)
        shapes = {name: out[name].shape for name in tensors}
        return {k: s[2] for k, s in shapes.items() if len(s) == 3 and s[1] == 2}

    @functools.cached_property
    def _readout(self):
        """All that describes whole structures, up to the concatenated readout.

        Parts of the concatenation are left out, and what comes before the first graph
        layer and knows of the given state alone.
        """
        import tf_keras

        layers = self.keras_model.layers
        joins = [layer for layer in layers if layer.name in self._widths]
        joins = [j for j in joins if isinstance(j, tf_keras.layers.Concatenate)]
        kinds = [type(layer).__name__ for layer in layers]
        graph = [k for k, kind in enumerate(kinds) if kind == "MEGNetLayer"]
        if not joins or not graph:
            raise ValueError(
                "Got `layer`='auto' for a network without graph layers or without a "
                f"concatenated readout. Choose from {list(self._widths)}."
            )
        readout = joins[-1]
        parts = {t._keras_history.layer.name for t in readout.input}
        names = [layer.name for layer in layers[graph[0] :]]
        names = [n for n in names if n in self._widths and n not in parts]
        return tuple(names[: names.index(readout.name) + 1])

    def _layer(self, name):
        layers = self.keras_model.layers
        if isinstance(name, str):
            for layer in layers:
                if layer.name == name:
                    return layer
        elif isinstance(name, int | np.integer) and -len(layers) <= name < len(layers):
            return layers[name]
        raise ValueError(
            f"Got `layer`={name!r}, expected an index in [-{len(layers)}, "
            f"{len(layers) - 1}] or one of {[layer.name for layer in layers]}."
        )


def revive(state):
    """Return the handle of a pickled network, the same one for equal content."""
    return MEGNetSnapshot.of(state)
