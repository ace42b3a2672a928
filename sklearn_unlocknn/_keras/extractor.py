"""The frozen Keras network as a transformer."""

from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted

from .._features.encoder import SharedNetworkMixin
from .._validation import check_batch_size
from .encoder import KerasEncoder


class KerasFeatureExtractor(
    SharedNetworkMixin,
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
        flattened to two dimensions; the outputs of a list are concatenated. An index
        of an output other than -1 warns. A model without a functional graph has only
        -1, its output.
    memory : str, path-like, joblib.Memory or None, default=None
        Folder that keeps features by the content of their sample, shared by processes.
        None keeps features of this process alone, in memory, bounded, and only where
        the network costs more than the look-up.
    batch_size : int, default=1024
        Samples in a pass of the network, which bounds the memory.

    Attributes
    ----------
    network_ : NetworkHandle or None
        Handle on the network; ``network_.model`` is the Keras model.
    n_features_in_ : int
        Number of features in X; over all inputs if X is a list of arrays.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns if X is a DataFrame with string names.
    n_features_out_ : int
        Number of features of `transform`.

    See Also
    --------
    ProbNNRegressor : The network with a Gaussian process on these features.

    Notes
    -----
    For a network with several inputs X is a list or tuple of arrays, a dict of arrays
    by input name, a DataFrame whose columns are named ``<input>`` or ``<input>_...``
    (or have a MultiIndex with the input as level 0), or an array with the columns of
    all inputs side by side.
    Cross-validation takes the last two, not the list.

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

    _encoder_type = KerasEncoder

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
            Samples for the network.
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
            When ``network`` is neither a network, nor a path, nor an estimator.
        FileNotFoundError
            When there is no such file.
        """
        check_batch_size(self.batch_size)
        encoder = KerasEncoder()
        arrays = encoder.freeze(self, X, y)
        first = encoder._run(self, [array[:1] for array in arrays], keep=True)
        encoder.width = first.features.shape[1]
        self._encoder = encoder
        vars(self).update(encoder.public)
        return self

    def transform(self, X):
        """Run the network up to the layer.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...), \
list of array-like or DataFrame
            Samples for the network.

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
        return self._encoder.encode(self, X).features

    @property
    def _n_features_out(self):
        return self.n_features_out_
