"""The regressor of crystals and molecules, with a frozen MEGNet."""

from .._features.encoder import SharedNetworkMixin
from .._megnet.encoder import MEGNetEncoder
from .._structures.checks import structure_tags
from .base import BaseVGPRegressor


class MEGNetProbRegressor(SharedNetworkMixin, BaseVGPRegressor):
    """Predict a property of structures with an error bar, by a frozen MEGNet.

    The network is cut at its readout and a variational Gaussian process is fitted on
    it and on descriptors of composition and geometry. The network need not have been
    trained on the property: the readout of one for formation energies serves many
    others.

    Parameters
    ----------
    network : str, path-like, GraphModel, estimator or list, default="Eform_MP_2019"
        A pretrained name (see `sklearn_unlocknn.datasets.fetch_megnet_model`), which
        is fetched at the first use; an .hdf5 file with its .json beside it; a
        ``megnet.models.MEGNetModel`` or ``GraphModel``, of which `fit` takes a
        snapshot; or an unfitted `MEGNetRegressor`, which is cloned and trained in
        `fit` on the same samples as the GP, so that cross-validation does not leak. Of
        a list of these, the features of all networks are used.
    layer : int, str or list of int or str, default="auto"
        Latent layer, as an index or a name, with one vector a structure; the outputs
        of several are concatenated. "auto" is the concatenated readout of atoms, bonds
        and state (-4 in the released networks) and the state features of the blocks
        before it: measured best on two properties (``benchmarks/RESULTS.md``).
    descriptors : {"auto"}, list of str or None, default="auto"
        Features beside those of the network: groups of
        :class:`~sklearn_unlocknn.StructureDescriptors`, all for "auto"; None: none.
        One that is not defined for a structure, such as the density of a molecule or
        of a MEGNet graph, is replaced by its mean over the training samples.
    kernel : str, sklearn or TFP kernel, or None, default=None
        Covariance of the latent function, over standardised features: length scales are
        in standard deviations of a feature, variances in squared standard deviations of
        the target. Names joined by "+" and "*", with columns in brackets where a kernel
        is on some of them: "rbf_ard[0:96] + linear" (see
        :func:`~sklearn_unlocknn.kernels.make_kernel`). Or a kernel of scikit-learn,
        bounds and "fixed" honoured, or of your own subclass, evaluated by its
        ``__call__``, or of :mod:`tfp.math.psd_kernels`: both are slower. A
        ``WhiteKernel`` in it is the observation noise; without one, a noise variance is
        fitted too. Blocks of columns have the names "network", "descriptors" and
        "element_fractions". None is "matern52_ard[descriptors] +
        matern32_ard[network, descriptors] + linear[network, descriptors] +
        linear[element_fractions]": the last term is an effect of each element. A
        block that ``descriptors`` leaves out is left out here, too; of the network
        alone "matern52_ard + matern32_ard + linear". Of several networks these terms
        have the first; each of the others adds one such as "matern32[network 1]".
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
        pays from some ten thousand structures on.
    memory : str, path-like, joblib.Memory or None, default=None
        Folder that keeps features by the content of their sample, shared by processes,
        so that a search over parameters of the GP runs the network once a sample. None
        keeps features of this process alone, in memory, bounded, and only where the
        network costs more than the look-up.
    extract_batch_size : int, default=128
        Structures in a pass of the network; batches of large ones are cut further.
    on_error : {"raise", "nan"}, default="raise"
        What to do with a structure that cannot be converted: raise an error that
        names its index and formula; or leave it out of `fit`, with a warning that
        states the number of such structures, and predict NaN for it.
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
    network_ : MEGNetSnapshot or list of MEGNetSnapshot
        Snapshot of the network; ``network_.predict(X)`` is its own prediction. After
        fine-tuning that of a copy. A list for a list of networks.
    n_features_out_ : int
        Number of features.
    feature_blocks_ : dict of str to slice
        Columns of the features by the name of their block, for ``kernel``: "network",
        "network 0" (the first of several networks), ..., "descriptors",
        "element_fractions".
    failed_ : dict of int to StructureError
        Structures that the last `fit`, `fit_stream` or `partial_fit` left out with
        ``on_error="nan"``, by their index there; a value has ``name`` and ``reason``.
    fine_tune_curve_ : ndarray of shape (epochs + 1,)
        Bound of the samples that the network was tuned on before the first and after
        each epoch, in nats, of the standardised target. With ``fine_tuning``.
    fine_tune_validation_curve_ : ndarray of shape (epochs + 1,) or None
        Negative log density of the samples held out, mean per sample, likewise.
    fine_tune_best_epoch_ : int
        Epoch whose network is kept; 0 is the network as it was.

    See Also
    --------
    MEGNetFeatureExtractor : The latent features, as a transformer.
    StructureDescriptors : The descriptors, as a transformer.
    VGPRegressor : The GP alone, on numeric features.
    MEGNetRegressor : Trains a MEGNet; for ``network``.
    FineTuning : Training of network and GP together.

    Notes
    -----
    See :class:`VGPRegressor` for the GP [1]_ [2]_ and
    :class:`MEGNetFeatureExtractor` for what X may hold. MEGNet is [6]_; a GP on its
    latent space is unlockNN's idea [4]_.

    With ``mean="network"`` the network's prediction, its target scaler applied, is the
    prior mean, and the GP models the residual in target units: its standard
    deviation is that of the residual, on which the scaler's mean has no bearing. Where
    the scaler is extensive (per atom), the GP models the residual per atom, and
    mean and standard deviation are multiplied by the number of atoms;
    ``noise_std_`` is then per atom.

    Fit on structures that the network was not trained on where you can: its errors on
    its own training data are too small, and so are error bars learned there.

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
    .. [6] C. Chen et al., "Graph networks as a universal machine learning framework
       for molecules and crystals", Chem. Mater. 2019,
       doi:10.1021/acs.chemmater.9b01294.

    Examples
    --------
    With the pretrained network, which is fetched at the first use:

    >>> from sklearn_unlocknn import MEGNetProbRegressor, MEGNetRegressor
    >>> from sklearn_unlocknn.datasets import make_ionic_crystals
    >>> X, y = make_ionic_crystals(60, random_state=0, return_X_y=True)
    >>> model = MEGNetProbRegressor("Eform_MP_2019")
    >>> model.fit(X[:40], y[:40])  # doctest: +SKIP
    >>> mean, std = model.predict(X[40:], return_std=True)  # doctest: +SKIP

    With one that is trained in ``fit``:

    >>> network = MEGNetRegressor(max_iter=2, n_blocks=1, random_state=0)
    >>> model = MEGNetProbRegressor(network, kernel="rbf", random_state=0)
    >>> mean, std = model.fit(X[:40], y[:40]).predict(X[40:], return_std=True)
    >>> mean.shape, std.shape
    ((20,), (20,))
    """

    _encoder_type = MEGNetEncoder
    _means = ("zero", "constant", "linear", "network")

    def __init__(
        self,
        network="Eform_MP_2019",
        layer="auto",
        descriptors="auto",
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
        extract_batch_size=128,
        on_error="raise",
        fine_tuning=None,
    ):
        self.network = network
        self.layer = layer
        self.descriptors = descriptors
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
        self.on_error = on_error
        self.fine_tuning = fine_tuning

    def __sklearn_tags__(self):
        return structure_tags(self, super().__sklearn_tags__())

    def _publish(self, encoded):
        super()._publish(encoded)
        self.failed_ = dict(sorted(encoded.errors.items()))
