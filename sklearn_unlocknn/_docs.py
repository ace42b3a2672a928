"""Docstring parts and defaults that all regressors share."""

from .kernels import DEFAULT_KERNEL

HEAD_PARAMETERS = """\
    kernel : str, sklearn.gaussian_process.kernels.Kernel or None, default=None
        Covariance of the latent function, over standardised features: length scales
        count in standard deviations of a feature, variances in squared standard
        deviations of the target. A kernel object of scikit-learn, bounds and "fixed"
        honoured, or names joined by "+" and "*" (see
        :func:`sklearn_unlocknn.kernels.make_kernel`). A ``WhiteKernel`` in it is the
        observation noise; where there is none, a noise variance is fitted too. None
        is {default_kernel!r}.
    n_inducing_points : int or float, default={n_inducing_points}
        Number of inducing points, or a share of the rows in (0, 1]. At most the
        number of distinct rows; with that many the model is the exact Gaussian
        process.
    inducing_init : {{"greedy", "kmeans", "random"}} or array-like of shape \
(n_inducing_points, n_features), default={inducing_init!r}
        How they are chosen: "kmeans" takes cluster centres, which follow the density
        and cover outliers too; "greedy" takes the row of largest conditional variance
        again and again [3]_; "random" takes rows; an array gives them, in units of
        the features.
    optimize_inducing_points : bool, default=False
        Move them by the gradient of the bound, with the hyperparameters. Pays with
        few points; many fixed ones are faster and more accurate.
    mean : {means}, default="constant"
        Prior mean, to which predictions fall back far from the data{mean_note}.
        Coefficients are generalised least squares estimates.
    solver : {{"auto", "collapsed", "minibatch"}}, default="auto"
        "collapsed": hyperparameters by L-BFGS on the marginal likelihood of
        ``n_hyper_samples`` rows, then the optimal posterior of all rows in one pass,
        with the noise level fitted again on all of them; with
        ``optimize_inducing_points`` L-BFGS on the bound of all rows in between.
        "minibatch": natural gradients and Adam on the bound of batches in between.
        "auto" is "collapsed", except to move inducing points with more than 20000
        rows.
    max_iter : int, default={max_iter}
        L-BFGS iterations of each stage; epochs of the minibatch solver. 0 keeps the
        hyperparameters as they are.
    tol : float, default={tol}
        A stage stops where an iteration improves the objective by less than ``tol``
        relative to its value.
    batch_size : int, default=1024
        Rows in a batch of the minibatch solver.
    n_hyper_samples : int, default={n_hyper_samples}
        Rows that the hyperparameters are fitted on: half drawn at random, half
        their nearest neighbours. Time grows with its cube.
    normalize_y : bool, default=True
        Standardise the target. Without, variances are in squared target units.
    random_state : int, RandomState instance or None, default=None
        Draws rows for ``n_hyper_samples``, "kmeans", "random" and batches.
    verbose : int, default=0
        1 prints a line every ten iterations, 2 every iteration."""

HEAD_ATTRIBUTES = """\
    kernel_ : sklearn.gaussian_process.kernels.Kernel
        The kernel with its fitted values, in the units of ``kernel``.
    inducing_points_ : ndarray of shape (n_inducing_points_, n_features)
        In units of the features that the head sees.
    n_inducing_points_ : int
        How many.
    noise_std_ : float or ndarray of shape (n_outputs,)
        Standard deviation of the observation noise, in target units.
    elbo_ : float
        Evidence lower bound of all rows in target units, in nats, summed over
        outputs: the log marginal likelihood where the model is exact.
    elbo_curve_ : ndarray of shape (n_iter_ + 1,) or (n_iter_,)
        The objective at the start and after each iteration of the last stage, in
        nats, of the standardised target: log marginal likelihood of the
        ``n_hyper_samples`` rows, bound of all rows where inducing points move, or
        mean bound of the batches of each epoch.
    n_iter_ : int
        Iterations (epochs) of the last stage.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns where X is a frame of named columns."""

DEFAULTS = {
    "inducing_init": "kmeans",
    "n_inducing_points": 4000,
    "max_iter": 20,
    "tol": 1e-4,
    "n_hyper_samples": 800,
}


def document_head(means, mean_note=""):
    """Insert the shared parameters and attributes into a class docstring."""

    def decorate(cls):
        parameters = HEAD_PARAMETERS.format(
            means=means, mean_note=mean_note, default_kernel=DEFAULT_KERNEL, **DEFAULTS
        )
        doc = cls.__doc__.replace("    [head parameters]", parameters)
        cls.__doc__ = doc.replace("    [head attributes]", HEAD_ATTRIBUTES)
        return cls

    return decorate
