"""Cut, freeze and run a Keras network: the handle that estimators share."""

import importlib
import os
import threading
import weakref
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from .._parallel import Recent, in_worker, run_blocks
from . import serialization
from .fingerprint import architecture_digest, weights_digest
from .graph import as_numpy, filled, limit_threads, outputs_of, traced

# One handle per live model, found by the model's id: a handle keeps its model alive,
# so an id in this table is never that of another, later object.
_HANDLES = weakref.WeakValueDictionary()
# ... and one per file that is loaded and unchanged since.
_FILES = weakref.WeakValueDictionary()
_OF = threading.RLock()
# What a search drops with one candidate and asks for with the next: by file or content.
_RECENT = Recent(4)

#: Rows of a block, which one process runs in batches.
BLOCK = 8192


@dataclass(frozen=True)
class InputSpec:
    """What one input of a network takes.

    Parameters
    ----------
    name : str
        Name of the input layer.
    shape : tuple of int or None
        Shape of one row, without the batch axis; None for a free length.
    dtype : str
        Type the network takes the input in.
    batch : int or None
        Number of rows the network insists on, usually None.
    """

    name: str
    shape: tuple
    dtype: str
    batch: int | None = None

    @property
    def size(self):
        """Number of values in a row, or None where a length is free."""
        return None if None in self.shape else _volume(self.shape)


def _volume(shape):
    return int(np.prod(shape, dtype=int))


class NetworkHandle:
    """A handle on a user's Keras network that runs it and never changes it.

    Build it by `NetworkHandle.of`. Estimators that hold the same network share the
    handle, so that a cut network is compiled once and a pickle holds it once. Copies
    and scikit-learn clones of a handle are the handle itself.

    Parameters
    ----------
    model : keras.Model or tf_keras.Model
        The network; the handle refers to it and does not copy it.

    Attributes
    ----------
    model : keras.Model or tf_keras.Model
        The network. After unpickling it is rebuilt: a Sequential model stays one, a
        subclass with a functional graph becomes a plain functional model with the
        same layers. It is not compiled then.
    library : {"keras", "tf_keras"}
        The library the network belongs to.
    """

    def __init__(self, model, _digest=None):
        self.model = model
        self.library = serialization.library_of(model)
        self._digest = _digest
        self._cuts = {}

    @classmethod
    def of(cls, network):
        """Return the handle of a network, the same one for the same live network.

        Parameters
        ----------
        network : keras.Model, tf_keras.Model, path-like or NetworkHandle
            The network, or a file (.keras, .h5, .hdf5) to load it from.

        Returns
        -------
        NetworkHandle

        Raises
        ------
        TypeError
            When it is none of these.
        ValueError, FileNotFoundError
            When a file does not load.
        """
        if isinstance(network, cls):
            return network
        if isinstance(network, str | os.PathLike):
            try:
                info = os.stat(network)
            except OSError:
                return cls(serialization.load(network))  # raises with the right words
            key = (os.path.realpath(network), info.st_mtime_ns, info.st_size)
            with _OF:
                handle = _FILES.get(key)
                # One that was trained on meanwhile is no longer the file's.
                if handle is None or handle.fingerprint() != handle._loaded:
                    limit_threads()
                    handle = _FILES[key] = cls.of(serialization.load(network))
                    handle._loaded = handle.fingerprint()
            return _RECENT.put(key, handle)
        if serialization.library_of(network) is None:
            raise TypeError(
                f"Got `network`={network!r} of type {type(network).__name__}, expected "
                "a keras (3) or tf_keras model, a path to a saved one (.keras, .h5, "
                ".hdf5), an estimator that trains one and has it as `model_` (as "
                "SciKeras does), or None."
            )
        if (handle := _HANDLES.get(id(network))) is None:
            handle = _HANDLES[id(network)] = cls(network)
        return handle

    @property
    def input_specs(self):
        """Inputs in the network's order, a list of `InputSpec`; None if it has none."""
        graph = serialization.graph_of(self.model)
        if graph is None:
            return None
        library = importlib.import_module(self.library)
        sequential = isinstance(self.model, library.Sequential)
        specs = []
        for tensor in graph.inputs:
            # the layer's name: what the user gave as `Input(name=...)`
            name = tensor._keras_history[0].name
            dtype = getattr(tensor.dtype, "name", tensor.dtype)
            batch, *shape = tuple(tensor.shape)
            # A Sequential built by calling it has that call's batch size: no demand.
            batch = None if sequential else batch
            specs.append(InputSpec(name, tuple(shape), str(dtype), batch))
        return specs

    @property
    def n_outputs(self):
        """Number of values the network puts out for a row; None where it varies."""
        graph = serialization.graph_of(self.model)
        if graph is None:
            return None
        shapes = [tuple(tensor.shape)[1:] for tensor in graph.outputs]
        return None if any(None in s for s in shapes) else sum(map(_volume, shapes))

    def fingerprint(self):
        """Hash of the architecture and of the current weights (blake2b).

        Returns
        -------
        str
            32 hexadecimal digits. Compiling, naming or (un)freezing the network does
            not change it; training does.
        """
        if self._digest is None:
            self._digest = architecture_digest(self.model)
        weights = weights_digest(self.model)
        return bytes(a ^ b for a, b in zip(self._digest, weights, strict=True)).hex()

    def resolve_layer(self, layer):
        """Return ``layer`` as a tuple of valid keys, for messages and cache names.

        Parameters
        ----------
        layer : int, str or list of int or str
            Index in ``model.layers`` (negative from the end) or name.

        Returns
        -------
        tuple of str
            Names of the layers; ``()`` for the whole of a subclassed model.

        Raises
        ------
        ValueError
            When there is no such layer or it cannot be cut.
        """
        graph = serialization.graph_of(self.model)
        several = isinstance(layer, list | tuple)
        wanted = list(layer) if several else [layer]
        if graph is None:
            if wanted == [-1]:
                return ()
            raise ValueError(
                f"Got `layer`={layer!r}, but the network {self.model.name!r} is a "
                "subclassed model without a functional graph, which cannot be cut. "
                "Use layer=-1 (its output), or pass a functional model that ends at "
                "the layer wanted: `keras.Model(inputs, latent)`."
            )
        layers = self.model.layers
        names = [item.name for item in layers]
        resolved = []
        for item in wanted:
            if isinstance(item, str) and item in names:
                resolved.append(item)
            elif (
                isinstance(item, Integral)
                and not isinstance(item, bool)
                and -len(names) <= item < len(names)
            ):
                resolved.append(names[item])
            else:
                raise ValueError(
                    f"Got `layer`={layer!r}, expected an index from {-len(names)} to "
                    f"{len(names) - 1}, one of the names {names}, or a list of these."
                )
        if not resolved:
            raise ValueError("Got an empty `layer`, expected at least one layer.")
        return tuple(resolved)

    def width(self, layer):
        """Return the number of features a layer (or a list) gives; None if it varies.

        Raises
        ------
        ValueError
            When there is no such layer or it cannot be cut.
        """
        names = self.resolve_layer(layer)
        if not names:
            return None
        graph = serialization.graph_of(self.model)
        tensors = [t for name in names for t in outputs_of(graph, name)]
        shapes = [tuple(tensor.shape)[1:] for tensor in tensors]
        return None if any(None in s for s in shapes) else sum(map(_volume, shapes))

    def extract(self, inputs, layer, batch_size=1024, with_output=False, n_jobs=None):
        """Run the network up to a layer, in inference mode.

        Parameters
        ----------
        inputs : list of ndarray of shape (n_samples, ...)
            One array for each input of the network, in its order.
        layer : int, str or list of int or str
            Index or name of the layer; the outputs of a list are concatenated.
        batch_size : int, default=1024
            Rows that go through the network at a time.
        with_output : bool, default=False
            Also return the network's own output, from the same pass.
        n_jobs : int, default=None
            Processes that run blocks of rows, each with a copy of the network;
            joblib's meaning and joblib's backends, so that None is what
            ``joblib.parallel_config`` says.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features), float64
            Output of the layer, flattened to two dimensions.
        output : ndarray of shape (n_samples, n_outputs), float64
            Only if ``with_output``.

        Raises
        ------
        ValueError
            When the layer is unknown or cannot be cut, or a feature is not finite.
        """
        names = self.resolve_layer(layer)
        if not names:  # a subclassed model: its output is all there is
            features = self.predict(inputs, batch_size, n_jobs)
            return (features, features.copy()) if with_output else features
        features, output = self._run(inputs, names, batch_size, with_output, n_jobs)
        self._check_finite(features, f"A feature of layer {layer!r}")
        if not with_output:
            return features
        self._check_finite(output, "The output")
        return features, output

    def predict(self, inputs, batch_size=1024, n_jobs=None):
        """Run the whole network, in inference mode.

        Parameters
        ----------
        inputs : list of ndarray of shape (n_samples, ...)
            One array for each input of the network, in its order.
        batch_size : int, default=1024
            Rows that go through the network at a time.
        n_jobs : int, default=None
            As in `extract`.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs), float64
            The network's own output, flattened to two dimensions.
        """
        output, _ = self._run(inputs, (), batch_size, False, n_jobs)
        self._check_finite(output, "The output")
        return output

    def _check_finite(self, values, what):
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            raise ValueError(
                f"{what} of the network {self.model.name!r} is not finite for row "
                f"{bad[0]} ({len(bad)} of {len(values)} rows in all). Scale the "
                "inputs as in training, and check the network's weights for NaN."
            )

    def _run(self, inputs, names, batch_size, with_output, n_jobs=None):
        """Run a cut over all rows; every pass through the network starts here."""
        n = len(inputs[0])
        # Whole batches, so that the same ones are run whoever runs them.
        size = batch_size * max(1, BLOCK // batch_size)
        blocks = (
            ([a[i : i + size] for a in inputs], names, batch_size, with_output)
            for i in range(0, n, size)
        )
        start, whole = 0, None
        for parts in run_blocks(NetworkHandle._run_block, self, blocks, n_jobs):
            if whole is None:
                whole = [np.empty((n, part.shape[1])) for part in parts]
            for values, part in zip(whole, parts, strict=True):
                values[start : start + len(part)] = part
            start += len(parts[0])
        return whole

    def _run_block(self, block):
        """Run a cut over some rows; gives features and output, batch by batch."""
        inputs, names, batch_size, with_output = block
        forward, n_tensors, batch, _ = self.cut(names, with_output)
        batch_size = batch or batch_size
        done = []
        for start in range(0, len(inputs[0]), batch_size):
            arrays = [np.asarray(a[start : start + batch_size]) for a in inputs]
            n_rows = len(arrays[0])
            arrays = filled(arrays, batch)
            results = [as_numpy(value) for value in forward(arrays)]
            for value in results:
                if value.ndim == 0 or len(value) != len(arrays[0]):
                    raise ValueError(
                        f"Layer {list(names)} of {self.model.name!r} gave an output "
                        f"of shape {value.shape} for {len(arrays[0])} rows; expected "
                        "one row of features for each. Choose another layer."
                    )
            flat = [r[:n_rows].reshape(n_rows, -1) for r in results]
            parts = [np.hstack(flat[:n_tensors]), flat[n_tensors:]]
            parts[1] = np.hstack(parts[1]) if parts[1] else np.empty((n_rows, 0))
            done.append(parts)
        return [np.concatenate(parts) for parts in zip(*done, strict=True)]

    def cut(self, names, with_output):
        """Compile the network up to the named layers (none: the whole network).

        Parameters
        ----------
        names : tuple of str
            As `resolve_layer` gives them.
        with_output : bool
            Whether to compute the network's own output, too.

        Returns
        -------
        forward : callable
            From a list of arrays to a list of tensors of the Keras backend, layers
            first.
        n_tensors : int or None
            How many are of layers; None: all.
        batch : int or None
            Number of rows that the network insists on.
        variables : list of variables
            Trainable ones that the tensors depend on.
        """
        key = (names, with_output)
        if key not in self._cuts:
            self._cuts[key] = self._compile(names, with_output)
        return self._cuts[key]

    def _compile(self, names, with_output):
        library = importlib.import_module(self.library)
        graph = serialization.graph_of(self.model)
        for layer in self.model._flatten_layers():
            if isinstance(layer, library.layers.RNN) and layer.stateful:
                raise ValueError(
                    f"Layer {layer.name!r} is stateful: running it would change the "
                    "network and make a row depend on those before it. Build it with "
                    "stateful=False."
                )
        if graph is None:
            forward = traced(self.model, self.library, None)
            return forward, None, None, self.model.trainable_variables
        tensors = [t for name in names for t in outputs_of(graph, name)]
        n_tensors = len(tensors) or None
        if with_output or not tensors:
            tensors = tensors + list(graph.outputs)
        inputs = list(graph.inputs)
        model = library.Model(inputs if len(inputs) > 1 else inputs[0], tensors)
        specs = self.input_specs
        batch = next((spec.batch for spec in specs if spec.batch), None)
        forward = traced(model, self.library, specs)
        return forward, n_tensors, batch, model.trainable_variables

    def trainable_copy(self):
        """Return a handle on a copy of the network, which may then be trained.

        Raises
        ------
        ValueError
            When the network cannot be built again from its configuration.
        """
        return _handle(serialization.rebuild(serialization.dump(self.model)), None)

    def __reduce__(self):
        if self._digest is None:
            self._digest = architecture_digest(self.model)
        content = serialization.dump(self.model), self._digest, self.fingerprint()
        return _rebuild, content

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __sklearn_clone__(self):
        return self

    def __repr__(self):
        return f"NetworkHandle({self.model.name!r}, library={self.library!r})"


def _rebuild(payload, digest, fingerprint=None):
    """Build a pickled network, in a worker once for all tasks that bring it."""
    if fingerprint is None or not in_worker():
        return _handle(serialization.rebuild(payload), digest)
    limit_threads()
    with _OF:
        kept = _RECENT.get(fingerprint)
        if kept is None or kept.fingerprint() != fingerprint:  # trained meanwhile
            kept = _handle(serialization.rebuild(payload), digest)
        return _RECENT.put(fingerprint, kept)


def _handle(model, digest):
    handle = _HANDLES[id(model)] = NetworkHandle(model, digest)
    return handle
