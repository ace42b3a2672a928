"""Cut, freeze and run a Keras network: the handle that estimators share."""

import contextlib
import functools
import importlib
import math
import os
import threading
import uuid
import weakref
from collections import deque
from numbers import Integral

import numpy as np

from .._parallel import in_worker, run_blocks
from .._validation import warn_user
from . import serialization
from .fingerprint import checksum, identify, probe
from .graph import (
    InputSpec,
    as_numpy,
    filled,
    follows_only_scaling,
    graph_of,
    hidden_layer_before,
    integer_limit,
    library_of,
    limit_threads,
    multiply_adds,
    outputs_of,
    traced,
    unsteady_layer,
)

# One handle a live model, by the model's id (a handle keeps its model alive, so the id
# is never that of a later object), a file, or the token and weights of a pickle.
_HANDLES = weakref.WeakValueDictionary()
_OF = threading.RLock()
# Handles used last, alive between the candidates of a search.
_RECENT = deque(maxlen=4)

#: Samples of a block, which one process runs in batches.
BLOCK = 8192
# Samples that are run to find a layer that is not frozen.
_CHECKED = 8
# Multiply-adds above which caching pays, for a sample and for a byte of its inputs, by
# benchmarks/bench_cache.py: features that are computed take at most 1.3 x longer.
_KEY_COST, _BYTE_COST = 30_000, 64


class NetworkHandle:
    """Run a user's Keras network, whole or up to a layer, without changing it.

    Made by `NetworkHandle.of`. Estimators with the same network share one handle, so
    that each cut is compiled once and a pickle holds the network once. Copies and
    scikit-learn clones of a handle are the handle itself.

    Parameters
    ----------
    library : {"keras", "tf_keras"}
        Library of the network.
    name : str
        Its name.
    build : callable, default=None
        Returns the network when it is first needed; None: ``model`` is set.

    Attributes
    ----------
    model : keras.Model or tf_keras.Model
        The network. Unpickling rebuilds it: a Sequential model stays one, a subclass
        with a functional graph becomes a plain functional model with the same
        layers, and it is not compiled.
    """

    def __init__(self, library, name, build=None):
        self.library, self._name, self._build = library, name, build
        self._token = uuid.uuid4().hex  # the same in copies made by pickle
        self._weights, self._cuts, self._frozen = None, {}, set()
        self._identities = {}

    @classmethod
    def of(cls, network):
        """Return the handle of a model or a file, the same one for the same model."""
        if isinstance(network, cls):
            return network
        is_file = isinstance(network, str | os.PathLike)
        if not is_file and library_of(network) is None:
            raise TypeError(
                f"Got `network`={network!r} of type {type(network).__name__}, expected "
                "a keras (3) or tf_keras model, a path to a saved one (.keras, .h5, "
                ".hdf5), an estimator that trains one and has it as `model_` (as "
                "SciKeras does), or None."
            )
        key = id(network)
        if is_file:
            try:
                info = os.stat(network)
            except OSError:
                return cls.of(serialization.load(network))  # raises with the reason
            key = (os.path.realpath(network), info.st_mtime_ns, info.st_size)
        with _OF:
            handle = _HANDLES.get(key)
            # A loaded network that was trained since is no longer the file's.
            if is_file and (handle is None or handle.checksum() != handle._loaded):
                limit_threads()
                handle = cls.of(serialization.load(network))
                handle._loaded = handle.checksum()
            elif handle is None:
                handle = cls(library_of(network), network.name)
                handle.model = network
            return _kept(key, handle)

    @functools.cached_property
    def model(self):
        """The network."""
        with _OF:
            if "model" not in vars(self):
                limit_threads()
                self.model = self._build()
                _HANDLES[id(self.model)] = self
        return vars(self)["model"]

    @property
    def input_specs(self):
        """List of `InputSpec` in the network's order; None without a graph."""
        graph = graph_of(self.model)
        if graph is None:
            return None
        sequential = isinstance(
            self.model, importlib.import_module(self.library).Sequential
        )
        specs = []
        for tensor in graph.inputs:
            # the layer's name: what the user gave as `Input(name=...)`
            name = tensor._keras_history[0].name
            dtype = getattr(tensor.dtype, "name", tensor.dtype)
            batch, *shape = tuple(tensor.shape)
            # A Sequential built by a call keeps the batch size of that call.
            batch = None if sequential else batch
            specs.append(InputSpec(name, tuple(shape), str(dtype), batch))
        return specs

    @functools.cached_property
    def n_outputs(self):
        """Number of output values for a sample; None where it varies."""
        graph = graph_of(self.model)
        shapes = [(None,)] if graph is None else [t.shape[1:] for t in graph.outputs]
        return None if any(None in s for s in shapes) else sum(map(math.prod, shapes))

    @functools.cached_property
    def _multiply_adds(self):
        return multiply_adds(self.model)

    def checksum(self):
        """Hash the current weights, fast enough for every prediction."""
        weights = checksum(self.model.weights)
        if weights != self._weights:  # which a compiled pass may hold as constants
            self._weights, self._cuts, self._frozen = weights, {}, set()
        return weights

    def identity(self, names, inputs=None, weights=None):
        """Hash all that the features depend on but the inputs.

        Configuration, weights, and outputs on fixed probe inputs, which show the code
        of a `Lambda` or custom layer. Computed once for the same weights.

        Parameters
        ----------
        names : tuple of str
            Layers from `resolve_layer`.
        inputs : list of ndarray of shape (n_samples, ...), default=None
            Inputs of which a network without a functional graph has its probe inputs'
            shapes and types.
        weights : bytes, default=None
            The `checksum`, if the caller has it.

        Returns
        -------
        str
            32 hexadecimal digits, not changed by compiling, renaming or (un)freezing
            the network. If the network cannot be run on probe inputs, only its
            pickled copies have the same.
        """
        key = names, weights or self.checksum()
        if key not in self._identities:
            outputs = self._probe(names, bool(names), inputs) or self._token
            self._identities[key] = identify(self.model, self.library, key[1], outputs)
        return self._identities[key]

    def _probe(self, names, with_output, inputs):
        """Run a cut on the probe inputs; return None if that is impossible."""
        specs = self.input_specs or [
            InputSpec("", array.shape[1:], str(array.dtype)) for array in inputs or ()
        ]
        forward, _, batch, _ = self.cut(names, with_output)
        return specs and probe(forward, specs, integer_limit(self.model), batch)

    def worth_caching(self, inputs):
        """Return whether the network costs more than the cache, by its operations."""
        n_bytes = 0
        for array in inputs:
            n_bytes += array.nbytes // len(array)
        return self._multiply_adds >= _KEY_COST + _BYTE_COST * n_bytes

    def resolve_layer(self, layer):
        """Return ``layer`` as a tuple of names, ``()`` for a subclassed model."""
        graph = graph_of(self.model)
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
            if isinstance(item, Integral) and not isinstance(item, bool):
                item = dict(enumerate(names, -len(names))).get(item, item)
                item = dict(enumerate(names)).get(item, item)
            if item not in names:
                raise ValueError(
                    f"Got `layer`={layer!r}, expected an index from {-len(names)} to "
                    f"{len(names) - 1}, one of the names {names}, or a list of these."
                )
            resolved.append(item)
        if not resolved:
            raise ValueError("Got an empty `layer`, expected at least one layer.")
        return tuple(resolved)

    def warn_of_outputs(self, layer):
        """Warn of a layer that is an output of the network though its index is not -1.

        Names are taken as they are, and so is the last layer. Raises the errors of
        `resolve_layer`.
        """
        graph, layers = graph_of(self.model), self.model.layers
        items = layer if isinstance(layer, list | tuple) else [layer]
        for item, name in zip(items, self.resolve_layer(layer), strict=False):
            if isinstance(item, str):
                continue
            with contextlib.suppress(ValueError):  # called several times
                if name == layers[-1].name or not follows_only_scaling(graph, name):
                    continue
                better = hidden_layer_before(graph, name)
                remedy = f"Pass layer={better!r}, or " if better else "Pass "
                warn_user(
                    f"Got `layer`={item}, which is layer {name!r} of the network "
                    f"{self.model.name!r}, an output or one that is only rescaled "
                    "afterwards: the features of a hidden layer are usually better. "
                    f"{remedy}layer={name!r} to take this one as it is."
                )

    def run(self, inputs, layer, batch_size=1024, with_output=False, n_jobs=None):
        """Run the network up to a layer; every pass through it starts here.

        Parameters
        ----------
        inputs : list of ndarray of shape (n_samples, ...)
            One array for each input of the network, in its order.
        layer : int, str or list of int or str
            Index or name of the layer; the outputs of a list are concatenated.
        batch_size : int, default=1024
            Samples in a pass.
        with_output : bool, default=False
            Whether to compute the network's own output, too, in the same pass.
        n_jobs : int, default=None
            Number of processes that run blocks of samples, each with a copy of the
            network, with joblib's meaning and backends: None means what
            ``joblib.parallel_config`` sets.

        Returns
        -------
        values : ndarray of shape (n_samples, n_features + n_outputs)
            Features, then outputs, in float32 if the network computes in it; of a
            subclassed model the output alone.
        n_features : int
            Number of columns that are features.

        Raises
        ------
        ValueError
            When there is no such layer or it cannot be cut, or a feature is not
            finite.
        """
        names = self.resolve_layer(layer)
        n, options = len(inputs[0]), (names, batch_size, with_output and bool(names))
        # Whole batches, so that the same ones are run whoever runs them.
        size = batch_size * max(1, BLOCK // batch_size)
        if n <= size:
            values, width = self._run_block((inputs, *options))
        else:
            blocks = (
                ([a[i : i + size] for a in inputs], *options) for i in range(0, n, size)
            )
            done = run_blocks(NetworkHandle._run_block, self, blocks, n_jobs)
            part, width = next(done)
            # Filled block by block: two copies of all features may exceed the memory
            values, start = np.empty((n, part.shape[1]), part.dtype), len(part)
            values[:start] = part
            for part, _ in done:
                values[start : start + len(part)] = part
                start += len(part)
        bad = ~np.isfinite(values)
        if bad.any():
            sample, column = np.argwhere(bad)[0]
            is_output = column >= width or not names
            what = "The output" if is_output else f"A feature of layer {layer!r}"
            raise ValueError(
                f"{what} of the network {self.model.name!r} is not finite for sample "
                f"{sample} ({bad.any(axis=1).sum()} of {n} samples in all). Scale the "
                "inputs as in training, and check the network's weights for NaN."
            )
        return values, width

    def check_frozen(self, inputs, layer, with_output, checksum):
        """Raise unless the pass is a function of its inputs and changes no weight.

        Parameters
        ----------
        inputs, layer, with_output
            As in `run`; the probe inputs are run twice.
        checksum : bytes
            `checksum` of the weights.
        """
        names = self.resolve_layer(layer)
        with_output = with_output and bool(names)
        if (names, with_output) in self._frozen:
            return
        moving = self.model.non_trainable_weights
        before = list(map(as_numpy, moving))
        seen = [self._probe(names, with_output, inputs) or "" for _ in range(2)]
        first, again = (list(map(float, text.split())) for text in seen)
        same = np.allclose(first, again, 1e-2, equal_nan=True)
        if same and self.checksum() == checksum:
            self._frozen.add((names, with_output))
            return
        some = [array[:_CHECKED] for array in inputs]
        name = unsteady_layer(self.model, some)
        for weight, value in zip(moving, before, strict=True):
            weight.assign(value)
        raise ValueError(
            f"Layer {name!r} of the network {self.model.name!r} is not frozen: it "
            "draws at random or changes its weights when the network predicts, so that "
            "features of the same samples differ. Build the network without "
            "`training=True` in calls of its layers, and without layers that draw."
        )

    def _run_block(self, block):
        """Run some samples by batches; return values and number of features."""
        inputs, names, batch_size, with_output = block
        forward, n_tensors, batch, _ = self.cut(names, with_output)
        batch_size = batch or batch_size
        done = []
        for start in range(0, len(inputs[0]), batch_size):
            arrays = [np.asarray(a[start : start + batch_size]) for a in inputs]
            n_samples = len(arrays[0])
            arrays = filled(arrays, batch)
            flat = []
            for tensor in forward(arrays):
                value = as_numpy(tensor)
                if value.ndim == 0 or len(value) != len(arrays[0]):
                    raise ValueError(
                        f"Layer {list(names)} of {self.model.name!r} returned an "
                        f"array of shape {value.shape} for {len(arrays[0])} samples, "
                        "expected one vector for each. Choose another layer."
                    )
                if value.dtype != np.float32:
                    value = value.astype(float)
                flat.append(value[:n_samples].reshape(n_samples, -1))
            done.append(np.hstack(flat))
        return np.concatenate(done), np.hstack(flat[:n_tensors]).shape[1]

    def cut(self, names, with_output):
        """Compile the network up to the named layers (none: the whole network).

        Returns
        -------
        forward : callable
            Function from a list of arrays to a list of tensors of the Keras backend,
            layers first, then with ``with_output`` the network's own output.
        n_tensors : int or None
            Number of tensors that are of layers; None: all.
        batch : int or None
            Number of samples in every batch if the network fixes it.
        variables : list of variables
            Trainable variables that the tensors depend on.
        """
        key = (names, with_output)
        if key not in self._cuts:
            self._cuts[key] = self._compile(names, with_output)
        return self._cuts[key]

    def _compile(self, names, with_output):
        library = importlib.import_module(self.library)
        graph = graph_of(self.model)
        for layer in self.model._flatten_layers():
            if isinstance(layer, library.layers.RNN) and layer.stateful:
                raise ValueError(
                    f"Layer {layer.name!r} is stateful: running it would change the "
                    "network, and features would depend on the samples before. Build "
                    "the layer with stateful=False."
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
        """Return a handle on a copy of the network, which may then be trained."""
        return NetworkHandle.of(serialization.rebuild(serialization.dump(self.model)))

    def __reduce__(self):
        state = self._token, self.checksum(), self._identities
        return _rebuild, (serialization.pickled(self.model), *state)

    def __copy__(self, memo=None):
        return self

    __deepcopy__ = __sklearn_clone__ = __copy__

    def __repr__(self):
        return f"NetworkHandle({self._name!r}, library={self.library!r})"


def _kept(key, handle):
    """Register a handle by its key, keep it among the recent ones, and return it."""
    _HANDLES[key] = _HANDLES[id(handle.model)] = handle
    if handle in _RECENT:
        _RECENT.remove(handle)
    _RECENT.append(handle)
    return handle


def _rebuild(payload, token, weights, identities):
    """Build a pickled network, in a worker once for all tasks that bring it."""
    if not in_worker():  # code may have changed since, so without the identities
        handle = NetworkHandle.of(serialization.rebuild(payload))
        handle._token = token
        return handle
    limit_threads()
    with _OF:
        handle = _HANDLES.get((token, weights))
        if handle is None or handle.checksum() != weights:  # trained meanwhile
            handle = NetworkHandle.of(serialization.rebuild(payload))
            handle._token, handle._identities = token, identities
        return _kept((token, weights), handle)
