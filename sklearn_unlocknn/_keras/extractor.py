"""The frozen network as a transformer, and what every network estimator shares."""

import copy

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    clone,
)
from sklearn.utils.validation import (
    check_is_fitted,
    has_fit_parameter,
    validate_data,
)

from .._features.cache import MAX_ROWS, FeatureCache, cache_location, hash_rows
from .._validation import check_batch_size
from .inputs import network_inputs
from .network import NetworkHandle
from .serialization import library_of

# With `memory`, outputs of up to this many values are kept beside the features, so
# that a search over `mean` runs the network once.
_MAX_KEPT_OUTPUTS = 64


def resolve_network(network, X, y=None, sample_weight=None):
    """Return the frozen network that a ``network`` parameter stands for.

    Parameters
    ----------
    network : keras.Model, tf_keras.Model, path-like, NetworkHandle or estimator
        An estimator is cloned and fitted on the data; it must then have the Keras
        model as ``model_``, as SciKeras' have.
    X : array-like
        Rows to train such an estimator with.
    y : array-like, default=None
        Targets, likewise.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights, passed on if the estimator's ``fit`` takes them.

    Returns
    -------
    NetworkHandle

    Raises
    ------
    TypeError
        When it is none of these.
    ValueError
        When an estimator needs ``y`` and there is none, or has no ``model_``.
    """
    if isinstance(network, type) or not (
        hasattr(network, "fit") and hasattr(network, "get_params")
    ):
        return NetworkHandle.of(network)
    if y is None:
        raise ValueError(
            f"`network` is an estimator, {type(network).__name__}, that is trained in "
            "`fit`, which needs y. Pass y, or a trained Keras model as `network`."
        )
    trainer = clone(network)
    extra = {}
    if sample_weight is not None and has_fit_parameter(trainer, "sample_weight"):
        extra["sample_weight"] = sample_weight
    trainer.fit(X, y, **extra)
    model = getattr(trainer, "model_", None)
    if library_of(model) is None:
        raise ValueError(
            f"`network` is an estimator, {type(network).__name__}, that after `fit` "
            f"has `model_`={model!r}, expected a keras or tf_keras model there."
        )
    return NetworkHandle.of(model)


class _LiveModel:
    """In a pickle, stands for the model object that the user passed."""

    def __init__(self, handle):
        self.handle = handle


class _Shared:
    """A parameter that `sklearn.base.clone` hands on as it is."""

    def __sklearn_clone__(self):
        return self


class NetworkParamMixin:
    """Share a model object held as ``network`` between clones, copies and pickles.

    `sklearn.base.clone` and `copy.deepcopy` would copy the model; here they share it,
    as it is never modified. A pickle holds it once, as plain arrays, and gives a Keras
    model back. Other kinds of model override the three static methods.
    """

    @staticmethod
    def _is_model(network):
        return library_of(network) is not None

    @staticmethod
    def _handle_of(network):
        return NetworkHandle.of(network)

    @staticmethod
    def _model_of(handle):
        """Return what a pickle gives back in the model's place."""
        return handle.model

    def __sklearn_clone__(self):
        network = self.network
        if not self._is_model(network):
            return super().__sklearn_clone__()
        # Clones come and go in a search: keep the handle, with what it compiled.
        self._network_handle = self._handle_of(network)
        stand_in = object.__new__(type(self))
        stand_in.__dict__.update(self.__dict__, network=_Shared())
        new = super(NetworkParamMixin, stand_in).__sklearn_clone__()
        new.network = network
        new._network_handle = self._network_handle
        return new

    def __deepcopy__(self, memo):
        if self._is_model(self.network):
            memo[id(self.network)] = self.network
        new = object.__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new

    def __getstate__(self):
        state = dict(super().__getstate__())
        state.pop("_network_handle", None)
        if self._is_model(self.network):
            state["network"] = _LiveModel(self._handle_of(self.network))
        return state

    def __setstate__(self, state):
        live = state.get("network")
        if isinstance(live, _LiveModel):
            handle = live.handle
            network = self._model_of(handle)
            state = {**state, "network": network, "_network_handle": handle}
        super().__setstate__(state)


class NetworkFeaturesMixin(NetworkParamMixin):
    """Features of a frozen network for estimators with ``network, layer, memory``.

    `_fit_features` sets ``network_``, ``n_features_in_``, ``feature_names_in_`` (for
    a frame) and ``n_features_out_``; both methods check X on the estimator's behalf.
    """

    def _fit_features(
        self, X, y=None, sample_weight=None, *, batch_size=1024, with_output=False
    ):
        """Freeze the network and give the features of the training rows.

        Parameters
        ----------
        X : array-like, list of array-like or DataFrame
            Rows for the network.
        y, sample_weight : array-like or None
            Used only to train a ``network`` that is an estimator.
        batch_size : int, default=1024
            Rows in a pass.
        with_output : bool, default=False
            Also give the network's own output.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features_out_), float64
            The inputs themselves where ``network`` is None.
        output : ndarray of shape (n_samples, n_outputs), float64
            Only if ``with_output``.
        """
        arrays = self._freeze(X, y, sample_weight)
        result = self._run_network(arrays, batch_size, with_output)
        features = result[0] if with_output else result
        self.n_features_out_ = features.shape[1]
        return result

    def _freeze(self, X, y=None, sample_weight=None):
        cache_location(self.memory)  # a wrong `memory` is an error without rows, too
        if self.network is None:
            arrays = self._check_X(X, None, reset=True)
            self.network_ = None
            self._fingerprint = None
            return arrays
        network = resolve_network(self.network, X, y, sample_weight)
        network.resolve_layer(self.layer)
        arrays = self._check_X(X, network, reset=True)
        self.network_ = network
        self._fingerprint = network.fingerprint()
        return arrays

    def _features(self, X, *, batch_size=1024, with_output=False, keep=True):
        """Give the features of new rows; parameters and returns as `_fit_features`.

        Features are neither looked up nor kept with ``keep=False``.

        Raises
        ------
        ValueError
            Also when the network was changed after ``fit``.
        """
        arrays = self._check_X(X, self.network_, reset=False)
        if self.network_ is not None and (
            self.network_.fingerprint() != self._fingerprint
        ):
            raise ValueError(
                f"The network {self.network_.model.name!r} has other weights than "
                f"when this {type(self).__name__} was fitted, so its features would "
                "mean something else. Fit again, or pass a copy of the network to one "
                "that you train on (`keras.models.clone_model` and `set_weights`)."
            )
        result = self._run_network(arrays, batch_size, with_output, keep)
        features = result[0] if with_output else result
        if features.shape[1] != self.n_features_out_:
            raise ValueError(
                f"Layer {self.layer!r} gives {features.shape[1]} features for X, but "
                f"gave {self.n_features_out_} in fit. Pass rows of the same shape, or "
                "choose a layer whose size does not depend on it."
            )
        return result

    def _check_X(self, X, network, reset):
        if network is None:
            return [validate_data(self, X, reset=reset, dtype=np.float64)]
        return network_inputs(self, X, network.input_specs, reset)

    def _run_network(self, arrays, batch_size, with_output, keep=True):
        # the regressors' own `batch_size` is that of their head
        own = hasattr(self, "extract_batch_size")
        check_batch_size(batch_size, "extract_batch_size" if own else "batch_size")
        network = self.network_
        if network is None:
            if with_output:
                raise ValueError(
                    "The network's own output was asked for, but `network` is None. "
                    "Pass a network."
                )
            return arrays[0]
        location = cache_location(self.memory)
        n_jobs = getattr(self, "n_jobs", None)
        if not keep or (location is None and len(arrays[0]) > MAX_ROWS):
            return network.extract(
                arrays, self.layer, batch_size, with_output, n_jobs=n_jobs
            )
        n_outputs = network.n_outputs
        both = with_output or (n_outputs or np.inf) <= _MAX_KEPT_OUTPUTS
        layers = repr(network.resolve_layer(self.layer))
        cache = FeatureCache(location, self._fingerprint, layers, str(both))

        def compute(rows):
            part = [array[rows] for array in arrays]
            result = network.extract(part, self.layer, batch_size, both, n_jobs=n_jobs)
            if not both:
                return [result]
            # the first column says how many of the others are features
            width = np.full((len(rows), 1), result[0].shape[1])
            return [np.hstack([width, *result])]

        values = cache.fetch(hash_rows(*arrays), compute)
        if not both:
            return values
        width = int(values[0, 0])
        features, output = values[:, 1 : 1 + width], values[:, 1 + width :]
        features = np.ascontiguousarray(features)
        return (features, np.ascontiguousarray(output)) if with_output else features


class KerasFeatureExtractor(
    NetworkFeaturesMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Latent features of a frozen Keras network.

    The network is cut at a layer and run in inference mode. It is never modified, and
    clones, copies and search candidates share it.

    Parameters
    ----------
    network : keras.Model, tf_keras.Model, path-like or estimator, default=None
        The trained network: a Keras 3 or ``tf_keras`` model (functional, Sequential
        or a subclass with a functional graph), or a saved one (.keras, .h5, .hdf5).
        An estimator that trains a network, such as SciKeras' ``KerasRegressor``, is
        cloned and fitted in `fit`. None passes numeric X through.
    layer : int, str or list of int or str, default=-2
        Index in ``network.layers`` or name of the layer whose output is taken,
        flattened to two dimensions; the outputs of a list are concatenated. A model
        without a functional graph has only -1, its output.
    memory : str, path-like or joblib.Memory, default=None
        Folder that keeps features: a row seen before, by any process, does not go
        through the same network again. None: the process and its workers share them
        while it runs, 256 MB at most, for calls of up to 100000 rows.
    batch_size : int, default=1024
        Rows that go through the network at a time; bounds the memory.

    Attributes
    ----------
    network_ : NetworkHandle or None
        Handle on the network; ``network_.model`` is the Keras model.
    n_features_in_ : int
        Number of features in X; over all inputs if X is a list of arrays.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns if X is a DataFrame with string names.
    n_features_out_ : int
        Number of features that `transform` gives.

    See Also
    --------
    ProbNNRegressor : The network with a Gaussian process on these features.

    Notes
    -----
    For a network with several inputs X is a list or tuple of arrays, a DataFrame
    whose columns are named ``<input>`` or ``<input>_...`` (or have a MultiIndex with
    the input as level 0), or an array with the columns of all inputs side by side.
    Cross-validation splits rows, so it takes the last two and not the list.

    A pickle holds the architecture, the weights and the classes of custom layers. It
    loads without the code that made the network, save that custom classes from
    importable modules are imported. The loaded network is not compiled; a subclass
    with a functional graph comes back as a plain functional model.

    If the network is trained on after `fit`, `transform` raises.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_unlocknn import KerasFeatureExtractor
    >>> X = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> KerasFeatureExtractor().fit_transform(X)
    array([[1., 2.],
           [3., 4.]])

    With a network:

    >>> import keras
    >>> net = keras.Sequential(
    ...     [keras.Input((2,)), keras.layers.Dense(3), keras.layers.Dense(1)]
    ... )
    >>> extractor = KerasFeatureExtractor(net, layer=-2).fit(X)
    >>> extractor.transform(X).shape
    (2, 3)
    >>> extractor.get_feature_names_out()
    array(['kerasfeatureextractor0', 'kerasfeatureextractor1',
           'kerasfeatureextractor2'], dtype=object)
    """

    def __init__(self, network=None, layer=-2, *, memory=None, batch_size=1024):
        self.network = network
        self.layer = layer
        self.memory = memory
        self.batch_size = batch_size

    def fit(self, X, y=None):
        """Freeze the network, training it first if it is an estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...), \
list of array-like or DataFrame
            Rows for the network.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            Targets, needed only if ``network`` is an estimator.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            When a parameter or X does not suit the network, or X is not finite.
        TypeError
            When ``network`` is nothing that holds a network.
        FileNotFoundError
            When there is no such file.
        """
        arrays = self._freeze(X, y)
        check_batch_size(self.batch_size, "batch_size")
        width = None if self.network is None else self.network_.width(self.layer)
        if width is None:  # the rows themselves, or as wide as the rows are long
            first = [array[:1] for array in arrays]
            width = self._run_network(first, self.batch_size, False).shape[1]
        self.n_features_out_ = width
        return self

    def transform(self, X):
        """Run the network up to the layer.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...), \
list of array-like or DataFrame
            Rows for the network.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out_), float64
            Features in the network's own units, or a frame after ``set_output``.

        Raises
        ------
        ValueError
            When X does not suit the network, a feature is not finite, or the network
            was changed after `fit`.
        """
        check_is_fitted(self)
        return self._features(X, batch_size=self.batch_size)

    @property
    def _n_features_out(self):
        return self.n_features_out_
