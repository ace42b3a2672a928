"""Docstring parts and defaults that all regressors share."""

import numbers

from ..kernels import DEFAULT_KERNEL

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
        and cover outliers too (of many features, clusters are found among the
        principal components with 95 % of the variance); "greedy" takes the row of
        largest conditional variance again and again [3]_; "random" takes rows; an
        array gives them, in units of the features.
    optimize_inducing_points : bool, default=False
        Move them by the gradient of the bound, with the hyperparameters. Pays with
        few points; many fixed ones are faster and more accurate.
    mean : {means}, default="constant"
        Prior mean, to which predictions fall back far from the data{mean_note}.
        Coefficients are generalised least squares estimates.
    solver : {{"auto", "collapsed", "minibatch"}}, default="auto"
        "collapsed": hyperparameters by L-BFGS on the marginal likelihood of
        ``hyper_subset_size`` rows, then the optimal posterior of all rows in one pass;
        with ``optimize_inducing_points`` L-BFGS on the bound of all rows in between.
        "minibatch": natural gradients and Adam on the bound of batches in between.
        Either ends with the noise level that all rows ask for (sparse models: by
        the leave-one-out density of some), at which the bound may be a little lower.
        "auto" is "collapsed", except to move inducing points with more than 20000
        rows.
    max_iter : int, default={max_iter}
        L-BFGS iterations on the ``hyper_subset_size`` rows or, where inducing points
        move, on the bound; epochs of the minibatch solver. Before these two the
        hyperparameters have 20 iterations on those rows. 0 keeps them as they are.
    tol : float, default={tol}
        A stage stops where an iteration improves the objective by less than ``tol``
        relative to its value; the minibatch solver, where five epochs (two, from
        250000 rows on) improve the mean of as many before by less than that.
    batch_size : int, default=1024
        Rows in a batch of the minibatch solver.
    hyper_subset_size : int or "auto", default="{hyper_subset_size}"
        Rows that the hyperparameters are fitted on: half drawn at random, half
        their nearest neighbours. Time grows with its cube. "auto" is a fifth of
        all rows, at least 800 and at most 2000.
    normalize_y : bool, default=True
        Standardise the target. Without, variances are in squared target units.
    random_state : int, RandomState instance or None, default=None
        Draws rows for ``hyper_subset_size``, "kmeans", "random" and batches.
    verbose : int, default=0
        1 prints a line every ten iterations, 2 every iteration.
    n_jobs : int or None, default=None
        Processes that share the network, where there is one, and the pass over the
        rows; -1 is one a core. None is one, or what ``joblib.parallel_config`` says:
        inside ``parallel_config("dask")`` it is the cluster. The result does not
        depend on it. Pays for some ten thousand rows or structures.
    warm_start : bool, default=False
        Let `fit` go on where the last one stopped. On the same rows, with an int as
        ``random_state``, the result is that of one fit with the sum of the
        ``max_iter`` (the head's; a network is not fine-tuned further); on other rows
        hyperparameters start where they were."""

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
        ``hyper_subset_size`` rows, bound of all rows where inducing points move, or
        mean bound of the batches of each epoch.
    n_iter_ : int
        Iterations (epochs) of the last stage.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns where X is a frame of named columns."""

FINE_TUNING_PARAMETERS = """\
    fine_tune_epochs : int, default=0
        Passes over the rows in which a copy of the network and the head are trained
        together on the bound, after the head is fitted; then the head is fitted again
        to the tuned network. 0 leaves the network as it is.
    network_learning_rate : float, default={network_learning_rate}
        Of the network's weights (Adam) in fine-tuning.
    head_learning_rate : float, default={head_learning_rate}
        Of hyperparameters and inducing points (Adam) in fine-tuning.
    fine_tune_batch_size : int, default={fine_tune_batch_size}
        Rows in a batch of fine-tuning.
    fine_tune_validation_fraction : float, default={fine_tune_validation_fraction}
        Share of the rows held out of fine-tuning, to choose the epoch whose network is
        kept: that which predicts them best, or else the network as it was. 0 keeps
        the last."""

FINE_TUNING_ATTRIBUTES = """\
    fine_tune_curve_ : ndarray of shape (fine_tune_epochs + 1,)
        Bound of the rows that the network was tuned on before the first and after
        each epoch, in nats, of the standardised target. With ``fine_tune_epochs``.
    fine_tune_validation_curve_ : ndarray of shape (fine_tune_epochs + 1,) or None
        Negative log density of the rows held out, mean per row, likewise.
    fine_tune_best_epoch_ : int
        Epoch whose network is kept; 0 is the network as it was."""

FINE_TUNING_NOTES = """\
    Fine-tuning runs the network as it predicts: dropout is off and batch
    normalisation keeps its averages. Layers that are not trainable stay as they are. A
    tuned network fits its own training rows too well, as all deep kernels do. So some
    rows are held out of it: they choose the epoch, which is the network as it was where
    the gain does not exceed its standard error, and the noise level of the head,
    which is fitted to all rows in the end. It pays where the latent layer was made for
    another target; where it predicts well already there is little to gain. Unless
    ``mean="network"`` only the layers up to ``layer`` are tuned, and the network's own
    output then means nothing."""

FINE_TUNING = {
    "network_learning_rate": 1e-3,
    "head_learning_rate": 0.01,
    "fine_tune_batch_size": 128,
    "fine_tune_validation_fraction": 0.1,
}

DEFAULTS = {
    "inducing_init": "kmeans",
    "n_inducing_points": 4000,
    "max_iter": 20,
    "tol": 1e-4,
    "hyper_subset_size": "auto",
}


def document_head(means, mean_note=""):
    """Insert the shared parameters and attributes into a class docstring."""

    def decorate(cls):
        parameters = HEAD_PARAMETERS.format(
            means=means, mean_note=mean_note, default_kernel=DEFAULT_KERNEL, **DEFAULTS
        )
        parts = {
            "head parameters": parameters,
            "head attributes": HEAD_ATTRIBUTES,
            "fine-tuning parameters": FINE_TUNING_PARAMETERS.format(**FINE_TUNING),
            "fine-tuning attributes": FINE_TUNING_ATTRIBUTES,
            "fine-tuning notes": FINE_TUNING_NOTES,
        }
        for name, text in parts.items():
            cls.__doc__ = cls.__doc__.replace(f"    [{name}]", text)
        return cls

    return decorate


_INITS = ("greedy", "kmeans", "random")

_SOLVERS = ("auto", "collapsed", "minibatch")


def check_parameters(estimator, means):
    """Raise on parameters that no data could make right."""
    count = estimator.n_inducing_points
    whole = isinstance(count, numbers.Integral) and not isinstance(count, bool)
    share = isinstance(count, numbers.Real) and not isinstance(count, bool)
    if not ((whole and count >= 1) or (share and not whole and 0 < count <= 1)):
        raise ValueError(
            f"Got n_inducing_points={count!r}, expected an int of at least 1 or a "
            "float in (0, 1], a share of the rows."
        )
    init = estimator.inducing_init
    if isinstance(init, str) and init not in _INITS:
        raise ValueError(
            f"Got inducing_init={init!r}, expected one of {list(_INITS)} or an "
            "array of shape (m, n_features)."
        )
    for name, allowed in (("mean", means), ("solver", _SOLVERS)):
        value = getattr(estimator, name)
        if not (isinstance(value, str) and value in allowed):
            raise ValueError(f"Got {name}={value!r}, expected one of {list(allowed)}.")
    counts = (
        ("max_iter", 0, ""),
        ("batch_size", 1, ""),
        ("hyper_subset_size", 2, "auto"),
    )
    for name, least, word in counts:
        value = getattr(estimator, name)
        if word and isinstance(value, str) and value == word:
            continue
        if not (isinstance(value, numbers.Integral) and value >= least):
            other = f" or {word!r}" if word else ""
            raise ValueError(
                f"Got {name}={value!r}, expected an int of at least {least}{other}."
            )
    if not (isinstance(estimator.tol, numbers.Real) and estimator.tol >= 0):
        raise ValueError(f"Got tol={estimator.tol!r}, expected a number of at least 0.")
