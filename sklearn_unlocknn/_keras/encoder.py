"""The frozen Keras network as an encoder of samples."""

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import validate_data

from .._features.cache import MAX_ROWS, FeatureCache, cache_location, hash_rows
from .._features.encoder import LiveModel, train
from .._gp.encoded import Encoded, NumericEncoder
from .graph import library_of, split
from .inputs import network_inputs
from .network import NetworkHandle

# Outputs of up to this number of values are cached beside the features, so that a
# search over `mean` runs the network once.
_MAX_KEPT_OUTPUTS = 64
# Without `memory`, a single sample is not worth the look-up.
_LEAST_CACHED = 2


def resolve_network(network, X, y=None, sample_weight=None):
    """Return the handle of a ``network`` parameter.

    An estimator is cloned and fitted on the data; it must then have the Keras model
    as ``model_``, as SciKeras' have, else this raises ValueError.
    """
    if not hasattr(type(network), "get_params"):  # not an estimator
        return NetworkHandle.of(network)
    model = getattr(train(network, X, y, sample_weight), "model_", None)
    if library_of(model) is None:
        raise ValueError(
            f"`network` is an estimator, {type(network).__name__}, that after `fit` "
            f"has `model_`={model!r}, expected a keras or tf_keras model there."
        )
    return NetworkHandle.of(model)


class KerasEncoder(NumericEncoder):
    """Encode samples as the features of a layer of a frozen Keras network.

    See `sklearn_unlocknn._gp.encoded.NumericEncoder` for the methods of an encoder.

    Attributes
    ----------
    network : NetworkHandle or None
        The network; None passes numeric X through.
    layer : int, str or list of them
        Layer at which it is cut.
    width : int
        Number of features.
    with_output : bool
        Whether the network's own output is the prior mean.
    """

    @staticmethod
    def is_model(network):
        """Return whether a ``network`` parameter is a live model."""
        return library_of(network) is not None

    @staticmethod
    def portable(model):
        """Return what stands for a live model in a pickle."""
        return LiveModel(NetworkHandle.of(model))

    @property
    def public(self):
        """Public attributes of a fitted estimator."""
        return {"network_": self.network, "n_features_out_": self.width}

    def fit(self, estimator, X, y, sample_weight=None):
        """Freeze the network, training it first if it is an estimator; encode."""
        y = validate_data(estimator, y=y, multi_output=True, y_numeric=True)
        y = np.asarray(y, dtype=np.float64)
        if hasattr(X, "__len__") and not isinstance(X, list | tuple | dict):
            check_consistent_length(X, y)
        arrays = self.freeze(estimator, X, y, sample_weight)
        encoded = self._run(estimator, arrays, keep=True)
        self.width = encoded.features.shape[1]
        check_consistent_length(encoded.features, y)
        encoded.inputs = X
        return encoded, y

    def freeze(self, estimator, X, y=None, sample_weight=None):
        """Resolve network and layer; return X as one array for each input."""
        if estimator.memory is not None:
            cache_location(estimator.memory)  # raises if it is none
        self.network, self.layer = None, estimator.layer
        self.with_output = getattr(estimator, "mean", None) == "network"
        if estimator.network is not None:
            network = resolve_network(estimator.network, X, y, sample_weight)
            network.warn_of_outputs(self.layer)
            self.use(network)
        elif self.with_output:
            raise ValueError(
                'Got mean="network" and network=None, which has no output. Pass a '
                'network, or mean="constant".'
            )
        arrays = self.inputs(estimator, X, reset=True)
        if self.network is not None:
            _, both = self._plan(estimator, arrays)
            self.network.check_frozen(arrays, self.layer, both, self.checksum)
        return arrays

    def use(self, network):
        """Use a network with its present weights."""
        self.network, self.checksum = network, network.checksum()

    def inputs(self, estimator, X, reset=False):
        """Check X on behalf of the estimator; return one array for each input."""
        if self.network is None:
            return [validate_data(estimator, X, reset=reset, dtype=np.float64)]
        return network_inputs(estimator, X, self.network.input_specs, reset)

    def encode(self, estimator, X, keep=True, start=0):
        """Encode samples; ``keep=False`` does not use the cache."""
        arrays = self.inputs(estimator, X)
        if self.network is not None and self.network.checksum() != self.checksum:
            raise ValueError(
                f"The network {self.network.model.name!r} has other weights than when "
                f"this {type(estimator).__name__} was fitted, so its features differ. "
                "Fit again, or pass a copy of the network to one "
                "that you train on (`keras.models.clone_model` and `set_weights`)."
            )
        encoded = self._run(estimator, arrays, keep)
        if encoded.features.shape[1] != self.width:
            raise ValueError(
                f"Layer {self.layer!r} has {encoded.features.shape[1]} features for X, "
                f"but had {self.width} in fit. Pass samples of the same shape, or "
                "choose a layer whose size does not depend on it."
            )
        return encoded

    def _plan(self, estimator, arrays):
        """Return whether features pay to be cached, and whether to compute outputs."""
        cached = estimator.memory is not None or self.network.worth_caching(arrays)
        n_outputs = self.network.n_outputs
        few = n_outputs is not None and n_outputs <= _MAX_KEPT_OUTPUTS
        return cached, self.with_output or (cached and few)

    def _run(self, estimator, arrays, keep):
        """Return the features of checked inputs, by the network or from the cache."""
        network, layer, n = self.network, self.layer, len(arrays[0])
        if network is None:
            return Encoded(arrays[0])
        batch_size = getattr(estimator, "extract_batch_size", None)
        batch_size = batch_size or estimator.batch_size
        n_jobs = getattr(estimator, "n_jobs", None)
        cached, both = self._plan(estimator, arrays)
        location = estimator.memory
        if location is not None:
            location = cache_location(location)
        elif not _LEAST_CACHED <= n <= MAX_ROWS:
            cached = False
        if not keep or not cached or (both and network.n_outputs is None):
            values, width = network.run(arrays, layer, batch_size, both, n_jobs)
        else:
            names = network.resolve_layer(layer)
            identity = network.identity(names, arrays, self.checksum)
            cache = FeatureCache(location, identity, repr(names), str(both))

            def compute(rows):
                part = arrays
                if len(rows) < n:
                    part = [array[rows] for array in arrays]
                return [network.run(part, layer, batch_size, both, n_jobs)[0]]

            values = cache.fetch(hash_rows(*arrays), compute)
            width = values.shape[1] - (network.n_outputs if both else 0)
        features, outputs = split(values, width, self.with_output)
        return Encoded(features, outputs, dtype=np.float32)
