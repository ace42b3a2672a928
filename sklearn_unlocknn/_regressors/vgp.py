"""The regressor of numeric features."""

from .base import BaseVGPRegressor


class VGPRegressor(BaseVGPRegressor):
    r"""Variational Gaussian process regression on numeric features.

    Features and target are standardised. Hyperparameters maximise the marginal
    likelihood of a subset, then the posterior of all samples at many inducing points is
    computed in closed form, in one pass and in memory that does not grow with the
    samples. With as many inducing points as samples it is the exact GP.

    Parameters
    ----------
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
    mean : {"zero", "constant", "linear"}, default="constant"
        Prior mean, to which predictions fall back far from the data.
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
        Processes that share passes over the samples; -1 uses all processors. None is
        1, or the setting of ``joblib.parallel_config``: inside
        ``parallel_config("dask")`` the cluster. The result does not depend on it. It
        pays from some ten thousand samples on.

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

    See Also
    --------
    ProbNNRegressor : The same on a latent layer of a frozen Keras network.
    sklearn.gaussian_process.GaussianProcessRegressor : Exact, for few samples.

    Notes
    -----
    With inducing points Z, :math:`K_{uu} = k(Z, Z)`, noise variance
    :math:`\sigma^2` and samples X with targets y, the optimal posterior of the function
    values at Z is Gaussian with [1]_

    .. math::
        \Sigma = K_{uu} + \sigma^{-2} K_{uf} K_{fu}, \quad
        \mu = \sigma^{-2} K_{uu} \Sigma^{-1} K_{uf} y, \quad
        S = K_{uu} \Sigma^{-1} K_{uu},

    and the evidence lower bound [1]_ is

    .. math::
        \log N(y; 0, Q_{ff} + \sigma^2 I)
        - \tfrac{1}{2 \sigma^2} \mathrm{tr}(K_{ff} - Q_{ff}), \quad
        Q_{ff} = K_{fu} K_{uu}^{-1} K_{uf}.

    Both depend on the samples through sums alone, so samples can be added later
    (:meth:`partial_fit`). Batches that move inducing points follow [2]_. Vector length
    scales have a log-normal prior about their geometric mean (standard deviation 0.5 in
    the logarithm), which keeps many of them from overfitting.

    Errors are fitted to the residuals of training samples predicted without themselves,
    in closed form: a Student t by maximum likelihood, the logarithm of the noise by a
    second Gaussian process [4]_. Both become weights of the samples, with which the
    posterior is computed again; those by the residuals are of a mixture of two
    Gaussians. With kernels given by name the scale of errors is multiplied by
    :math:`\sqrt{n / (n - p)}`, p being the number of well determined parameters [5]_,
    and ``likelihood="auto"`` has n - p degrees of freedom at most (3 at least). For a
    standardised target, noise variances have a log-normal prior (median .08, standard
    deviation 1.5 in the logarithm) there, length scales one about 1 (3), and standard
    deviations of summands an exponential one [6]_ of mean .71. With the default kernel
    a feature beyond the training samples by more than a standard deviation grows with
    its logarithm.

    A fitted object holds NumPy arrays alone: it unpickles without TensorFlow.

    References
    ----------
    .. [1] M. Titsias, "Variational learning of inducing variables in sparse Gaussian
       processes", AISTATS 2009.
    .. [2] J. Hensman, N. Fusi, N. Lawrence, "Gaussian processes for big data", UAI
       2013, arXiv:1309.6835.
    .. [3] D. Burt, C. Rasmussen, M. van der Wilk, "Convergence of sparse variational
       inference in Gaussian processes regression", JMLR 2020, arXiv:2008.00323.
    .. [4] P. Goldberg, C. Williams, C. Bishop, "Regression with input-dependent noise:
       a Gaussian process treatment", NIPS 1997.
    .. [5] D. MacKay, "Bayesian interpolation", Neural Computation 4, 415 (1992),
       doi:10.1162/neco.1992.4.3.415.
    .. [6] D. Simpson et al., "Penalising model component complexity", Statistical
       Science 32, 1 (2017), doi:10.1214/16-STS576.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_unlocknn import VGPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = VGPRegressor(kernel="matern52", random_state=0).fit(X[:400], y[:400])
    >>> mean, std = model.predict(X[400:], return_std=True)
    >>> mean.shape, std.shape
    ((42,), (42,))
    """

    def __init__(
        self,
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
    ):
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
