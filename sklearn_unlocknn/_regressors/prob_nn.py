"""Any frozen Keras network with a variational Gaussian process on a latent layer."""

from sklearn.utils import check_consistent_length

from .._fine_tuning.mixin import FineTuningMixin
from .._gp.encoded import Latent
from .._keras.extractor import NetworkFeaturesMixin
from .._validation import check_targets
from .base import BaseVGPRegressor
from .parameters import DEFAULTS, FINE_TUNING, document_head


@document_head(
    means='{"zero", "constant", "linear", "network"}',
    mean_note=(
        '; "network" is the\n        network\'s own output, and the process models '
        "what it misses [5]_"
    ),
)
class ProbNNRegressor(FineTuningMixin, NetworkFeaturesMixin, BaseVGPRegressor):
    """A frozen Keras network as a regressor with calibrated uncertainty.

    The network is cut at a latent layer and a variational Gaussian process is fitted
    on it. The network itself is never modified.

    Parameters
    ----------
    network : keras.Model, tf_keras.Model, path-like, estimator or None, default=None
        A Keras 3 or Keras 2 (``tf_keras``) model, a file of one (.keras, .h5,
        .hdf5), or None: the process then sees X itself. An unfitted estimator that
        has a Keras model as ``model_`` once fitted (SciKeras' ``KerasRegressor``) is
        cloned and trained in ``fit``, on the same rows as the process, so that
        cross-validation does not leak.
    layer : int, str or list of them, default=-2
        Latent layer, as an index into ``network.layers`` or a name; the outputs of
        several are concatenated. Ignored without a network.
    [head parameters]
    memory : str, path-like, joblib.Memory or None, default=None
        Folder that keeps features by the content of their row, so that a search over
        parameters of the process runs the network once a row. None: the process and
        its workers share them in temporary files while it runs, 256 MB at most, for
        calls of up to 100000 rows.
    extract_batch_size : int, default=1024
        Rows in a pass of the network.
    [fine-tuning parameters]

    Attributes
    ----------
    [head attributes]
    network_ : NetworkHandle or None
        Handle of the network that gives the features; ``network_.model`` is the Keras
        model, after fine-tuning a copy.
    n_features_out_ : int
        Number of latent features.
    [fine-tuning attributes]

    See Also
    --------
    VGPRegressor : The process alone, on numeric features.
    KerasFeatureExtractor : The latent features, as a transformer.

    Notes
    -----
    See :class:`VGPRegressor` for the process [1]_ [2]_. X is what the network takes:
    an array of any number of dimensions, a list of arrays for several inputs, or a
    frame whose columns are named by the inputs (see :class:`KerasFeatureExtractor`).
    A process on a network's latent space is unlockNN's idea [4]_.

    Fit on rows that the network was not trained on where you can: it looks better on
    its own training rows than it is, and error bars learned there are too small.

    [fine-tuning notes]

    References
    ----------
    .. [1] M. Titsias, "Variational learning of inducing variables in sparse Gaussian
       processes", AISTATS 2009.
    .. [2] J. Hensman, N. Fusi, N. Lawrence, "Gaussian processes for big data", UAI
       2013, arXiv:1309.6835.
    .. [3] D. Burt, C. Rasmussen, M. van der Wilk, "Convergence of sparse variational
       inference in Gaussian processes regression", JMLR 2020, arXiv:2008.00323.
    .. [4] A. Moriarty et al., "UnlockNN: Uncertainty quantification for neural network
       models of chemical systems", JOSS 2022, doi:10.21105/joss.03700.
    .. [5] X. Qiu, E. Meyerson, R. Miikkulainen, "Quantifying point-prediction
       uncertainty in neural networks via residual estimation with an I/O kernel",
       ICLR 2020, arXiv:1906.00588.

    Examples
    --------
    >>> import keras
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_unlocknn import ProbNNRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> keras.utils.set_random_seed(0)
    >>> network = keras.Sequential([
    ...     keras.Input((10,)),
    ...     keras.layers.Dense(16, activation="relu"),
    ...     keras.layers.Dense(1),
    ... ])
    >>> network.compile("adam", "mse")
    >>> _ = network.fit(X[:400], y[:400], verbose=0)
    >>> model = ProbNNRegressor(network, kernel="rbf", random_state=0)
    >>> mean, std = model.fit(X[:400], y[:400]).predict(X[400:], return_std=True)
    >>> mean.shape, std.shape
    ((42,), (42,))
    """

    _means = ("zero", "constant", "linear", "network")

    def __init__(
        self,
        network=None,
        layer=-2,
        kernel=None,
        n_inducing_points=DEFAULTS["n_inducing_points"],
        *,
        inducing_init=DEFAULTS["inducing_init"],
        optimize_inducing_points=False,
        mean="constant",
        solver="auto",
        max_iter=DEFAULTS["max_iter"],
        tol=DEFAULTS["tol"],
        batch_size=1024,
        hyper_subset_size=DEFAULTS["hyper_subset_size"],
        normalize_y=True,
        random_state=None,
        verbose=0,
        n_jobs=None,
        warm_start=False,
        memory=None,
        extract_batch_size=1024,
        fine_tune_epochs=0,
        network_learning_rate=FINE_TUNING["network_learning_rate"],
        head_learning_rate=FINE_TUNING["head_learning_rate"],
        fine_tune_batch_size=FINE_TUNING["fine_tune_batch_size"],
        fine_tune_validation_fraction=FINE_TUNING["fine_tune_validation_fraction"],
    ):
        self.network = network
        self.layer = layer
        self.kernel = kernel
        self.n_inducing_points = n_inducing_points
        self.inducing_init = inducing_init
        self.optimize_inducing_points = optimize_inducing_points
        self.mean = mean
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.batch_size = batch_size
        self.hyper_subset_size = hyper_subset_size
        self.normalize_y = normalize_y
        self.random_state = random_state
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.warm_start = warm_start
        self.memory = memory
        self.extract_batch_size = extract_batch_size
        self.fine_tune_epochs = fine_tune_epochs
        self.network_learning_rate = network_learning_rate
        self.head_learning_rate = head_learning_rate
        self.fine_tune_batch_size = fine_tune_batch_size
        self.fine_tune_validation_fraction = fine_tune_validation_fraction

    def _training_features(self, X, y, sample_weight):
        self._check_fine_tuning()
        y = check_targets(y)
        if hasattr(X, "__len__") and not isinstance(X, (list, tuple)):
            check_consistent_length(X, y)
        with_output = self.mean == "network"
        result = self._fit_features(
            X, y, sample_weight, batch_size=self.extract_batch_size,
            with_output=with_output,
        )  # fmt: skip
        features, output = result if with_output else (result, None)
        check_consistent_length(features, y)
        return Latent(features, output, inputs=X), y

    def _features_of(self, X, keep=True):
        with_output = self.mean == "network"
        result = self._features(
            X, batch_size=self.extract_batch_size, with_output=with_output, keep=keep
        )
        return Latent(*result) if with_output else Latent(result)

    def _trainee(self, inputs, kept):
        from .._fine_tuning.trainable_copy import KerasTrainableCopy

        arrays = [a[kept] for a in self._check_X(inputs, self.network_, reset=False)]
        with_output = self.mean == "network"
        return KerasTrainableCopy(self.network_, self.layer, arrays, with_output)

    def _use_tuned(self, network, inputs):
        self.network_, self._fingerprint = network, network.fingerprint()
        return self._features_of(inputs)
