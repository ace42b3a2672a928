"""The variational Gaussian process on numeric features."""

import numpy as np
from sklearn.utils.validation import validate_data

from .._gp.encoded import Latent
from .base import BaseVGPRegressor
from .parameters import DEFAULTS, document_head

# float32 rows, on disk perhaps, become float64 a block at a time.
_DTYPES = (np.float64, np.float32)


@document_head(means='{"zero", "constant", "linear"}')
class VGPRegressor(BaseVGPRegressor):
    r"""Variational Gaussian process regression on numeric features.

    Features and target are standardised. Hyperparameters maximise the marginal
    likelihood of some rows, then the posterior of all rows at many inducing points
    is computed in closed form, in one pass and in memory that does not grow with the
    rows. With as many inducing points as rows it is the exact Gaussian process.

    Parameters
    ----------
    [head parameters]

    Attributes
    ----------
    [head attributes]

    See Also
    --------
    ProbNNRegressor : The same on a latent layer of a frozen Keras network.
    sklearn.gaussian_process.GaussianProcessRegressor : Exact, for few rows.

    Notes
    -----
    With inducing points Z, :math:`K_{uu} = k(Z, Z)`, noise variance
    :math:`\sigma^2` and rows X with targets y, the optimal posterior of the function
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

    Both need the rows only through sums, so rows can be added later
    (:meth:`partial_fit`). The minibatch solver follows [2]_. Vector length scales
    have a log-normal prior about their geometric mean (standard deviation 0.5 in
    the logarithm): it keeps many of them from overfitting.

    A fitted object holds NumPy arrays alone: it unpickles without TensorFlow.

    References
    ----------
    .. [1] M. Titsias, "Variational learning of inducing variables in sparse Gaussian
       processes", AISTATS 2009.
    .. [2] J. Hensman, N. Fusi, N. Lawrence, "Gaussian processes for big data", UAI
       2013, arXiv:1309.6835.
    .. [3] D. Burt, C. Rasmussen, M. van der Wilk, "Convergence of sparse variational
       inference in Gaussian processes regression", JMLR 2020, arXiv:2008.00323.

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
    ):
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

    def _training_features(self, X, y, sample_weight):
        X, y = validate_data(
            self, X, y, dtype=_DTYPES, multi_output=True, y_numeric=True
        )
        return Latent(X), np.asarray(y, dtype=np.float64)

    def _features_of(self, X, keep=True):
        return Latent(validate_data(self, X, reset=False, dtype=_DTYPES))
