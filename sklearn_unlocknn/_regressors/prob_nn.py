"""The regressor with a frozen Keras network."""

from .._features.encoder import SharedNetworkMixin
from .._keras.encoder import KerasEncoder
from .base import BaseVGPRegressor


class ProbNNRegressor(SharedNetworkMixin, BaseVGPRegressor):
    """A frozen Keras network as a regressor with calibrated uncertainty.

    The network is cut at a latent layer and a variational Gaussian process is fitted
    on it. The network itself is never modified.

    Parameters
    ----------
    network : keras.Model, tf_keras.Model, path-like, estimator or None, default=None
        A Keras 3 or Keras 2 (``tf_keras``) model, a file of one (.keras, .h5,
        .hdf5), or None: the GP is then fitted to X itself. An unfitted estimator that
        has a Keras model as ``model_`` once fitted (SciKeras' ``KerasRegressor``) is
        cloned and trained in ``fit``, on the same samples as the GP, so that
        cross-validation does not leak.
    layer : int, str or list of them, default=-2
        Latent layer, as an index into ``network.layers`` or a name; the outputs of
        several are concatenated. An index of an output other than -1 warns. Ignored
        without a network.
    kernel : str, sklearn or TFP kernel, or None, default=None
        Covariance of the latent function, over standardised features: length scales are
        in standard deviations of a feature, variances in squared standard deviations of
        the target. Names joined by "+" and "*", with columns in brackets where a kernel
        is on some of them: "rbf_ard[0:96] + linear" (see
        :func:`~sklearn_unlocknn.kernels.make_kernel`). Or a kernel of scikit-learn,
        bounds and "fixed" honoured, or of your own subclass, evaluated by its
        ``__call__``, or of :mod:`tfp.math.psd_kernels`: both are slower. A
        ``WhiteKernel`` in it is the observation noise; without one, a noise variance is
        fitted too. None is "matern52_ard + matern32_ard + linear".
    n_inducing_points : int, float or "auto", default="auto"
        Number of inducing points, or a share of the samples in (0, 1]. At most the
        number of distinct samples; with that many, of at most four times as many
        samples, the model is the exact GP. "auto" is the exact GP while it takes at
        most 1.5 times the operations of 4000 points and a quarter of the machine's
        memory (24 bytes for each pair of samples): up to some 8600 samples. Beyond it
        is 4000 points or, where these predict training samples left out worse, the
        exact GP of the 64 samples nearest to each new one.
    inducing_init : {"greedy", "kmeans", "random"} or array-like, default="kmeans"
        Initial inducing points. "kmeans": cluster centres, which follow the density and
        cover outliers too (of many features, clusters are found among the principal
        components with 95 % of the variance); "greedy": the sample of largest
        conditional variance, repeatedly [3]_; "random": random samples; an array of
        shape (n_inducing_points, n_features): these points, in units of the features.
    optimize_inducing_points : bool, default=False
        Optimise the points with the hyperparameters by the gradient of the bound, which
        pays with few points; many fixed ones are faster and more accurate. With more
        than 20000 samples by natural gradients and Adam on batches, else by L-BFGS.
        An exact GP has none to move ("auto": up to some 8600 samples).
    mean : {"zero", "constant", "linear", "network"}, default="constant"
        Prior mean, to which predictions fall back far from the data; "network" is the
        network's own output, and the GP models its residual [5]_.
        Coefficients are generalised least squares estimates.
    likelihood : {"gaussian", "student_t", "auto"}, default="auto"
        Distribution of observations about the function. "student_t" has heavier tails
        and leaves outliers little effect on the mean; "auto" chooses by the log density
        of training samples predicted without themselves, with Schwarz's penalty, lets
        standard deviations grow as a power of those of the GP and, where ``kernel`` is
        a name, has at most the degrees of freedom that the fitted parameters leave, if
        those are below 200.
    noise : {"constant", "varying", "auto"}, default="auto"
        Noise variance: the same for all samples, or a function of the features, which
        may depend on the predicted value, fitted to the residuals of samples predicted
        without themselves; "auto" as above.
    max_iter : int, default=20
        L-BFGS iterations on the ``hyper_subset_size`` samples or, where inducing points
        move, on the bound (epochs, where batches move them). Of 5 or more, those on
        samples go on, to five times as many, while the mean gain of the last five is at
        least .0015 nats per sample and output and .02 per hyperparameter. 0 keeps the
        hyperparameters of ``kernel``.
    hyper_subset_size : int or "auto", default="auto"
        Number of samples to which the hyperparameters are fitted: half drawn at random,
        half their nearest neighbours. Time grows with its cube. "auto" is a fifth of
        all samples, at least 800 and at most 2000.
    normalize_y : bool, default=True
        Standardise the target. Without, variances are in squared target units.
    random_state : int, RandomState instance or None, default=None
        Seed of the subset for the hyperparameters, of inducing points and of batches.
    verbose : int, default=0
        1 prints a line every ten iterations, 2 every iteration.
    n_jobs : int or None, default=None
        Processes that share the network and passes over the samples; -1 uses all
        processors. None is 1, or the setting of ``joblib.parallel_config``: inside
        ``parallel_config("dask")`` the cluster. The result does not depend on it. It
        pays from some ten thousand samples on.
    memory : str, path-like, joblib.Memory or None, default=None
        Folder that keeps features by the content of their sample, shared by processes,
        so that a search over parameters of the GP runs the network once a sample. None
        keeps features of this process alone, in memory, bounded, and only where the
        network costs more than the look-up.
    extract_batch_size : int, default=1024
        Samples in a pass of the network.
    fine_tuning : FineTuning or None, default=None
        Train a copy of the network and the GP together on the bound after the GP is
        fitted, then fit the GP again to the tuned network; see `FineTuning`. None
        leaves the network as it is.

    Attributes
    ----------
    kernel_ : sklearn.gaussian_process.kernels.Kernel
        The kernel with its fitted values, in the units of ``kernel``.
    inducing_points_ : ndarray of shape (n_inducing_points_, n_features)
        In units of the features.
    n_inducing_points_ : int
        Number of inducing points.
    n_neighbors_ : int or None
        Number of nearest training samples that a prediction uses; None: all.
    noise_std_ : float or ndarray of shape (n_outputs,)
        Standard deviation of the observation noise, in target units; where noise
        varies, the root of its mean variance over the training samples. A growth of
        standard deviations by a power is not counted.
    likelihood_, noise_ : str
        Those of the predictive distribution.
    dof_ : float
        Degrees of freedom of the predictive Student t; infinite for a Gaussian.
    elbo_ : float
        Evidence lower bound of all samples in target units, in nats, summed over
        outputs: the log marginal likelihood where the model is exact.
    elbo_curve_ : ndarray of shape (n_iter_ + 1,)
        Objective at the start and after each iteration, in nats, of the standardised
        target: log marginal likelihood of the ``hyper_subset_size`` samples with
        constant Gaussian noise, or the bound where inducing points move, each plus the
        log prior.
    n_iter_ : int
        Iterations (epochs) of ``elbo_curve_``.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns where X is a frame of named columns.
    network_ : NetworkHandle or None
        Handle of the network; ``network_.model`` is the Keras model, after
        fine-tuning a copy.
    n_features_out_ : int
        Number of latent features.
    fine_tune_curve_ : ndarray of shape (epochs + 1,)
        Bound of the samples that the network was tuned on before the first and after
        each epoch, in nats, of the standardised target. With ``fine_tuning``.
    fine_tune_validation_curve_ : ndarray of shape (epochs + 1,) or None
        Negative log density of the samples held out, mean per sample, likewise.
    fine_tune_best_epoch_ : int
        Epoch whose network is kept; 0 is the network as it was.

    See Also
    --------
    VGPRegressor : The GP alone, on numeric features.
    KerasFeatureExtractor : The latent features, as a transformer.
    FineTuning : Training of network and GP together.

    Notes
    -----
    See :class:`VGPRegressor` for the GP [1]_ [2]_. X is what the network takes: an
    array of any number of dimensions, a list of arrays for several inputs, or a
    frame whose columns are named by the inputs (see :class:`KerasFeatureExtractor`).
    A GP on a network's latent space is unlockNN's idea [4]_.

    Fit on samples that the network was not trained on where you can: its errors on its
    own training samples are too small, and so are error bars learned there.

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

    _encoder_type = KerasEncoder
    _means = ("zero", "constant", "linear", "network")

    def __init__(
        self,
        network=None,
        layer=-2,
        kernel=None,
        n_inducing_points="auto",
        *,
        inducing_init="kmeans",
        optimize_inducing_points=False,
        mean="constant",
        likelihood="auto",
        noise="auto",
        max_iter=20,
        hyper_subset_size="auto",
        normalize_y=True,
        random_state=None,
        verbose=0,
        n_jobs=None,
        memory=None,
        extract_batch_size=1024,
        fine_tuning=None,
    ):
        self.network = network
        self.layer = layer
        self.kernel = kernel
        self.n_inducing_points = n_inducing_points
        self.inducing_init = inducing_init
        self.optimize_inducing_points = optimize_inducing_points
        self.mean = mean
        self.likelihood = likelihood
        self.noise = noise
        self.max_iter = max_iter
        self.hyper_subset_size = hyper_subset_size
        self.normalize_y = normalize_y
        self.random_state = random_state
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.memory = memory
        self.extract_batch_size = extract_batch_size
        self.fine_tuning = fine_tuning
