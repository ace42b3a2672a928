"""Return a fitted posterior as a TensorFlow Probability distribution."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy.linalg import lapack
from scipy.linalg.blas import dtrmm

from .posterior import ExactPosterior, sparse_posterior
from .tfp_kernels import OnColumns

tfd = tfp.distributions
tfpk = tfp.math.psd_kernels


def variational_gaussian_process(posterior, X, output, y_mean, y_scale, one_output):
    """Return the predictive distribution at X as TFP's own sparse GP.

    Parameters
    ----------
    posterior : ExactPosterior or SparsePosterior
        The fitted posterior.
    X : ndarray of shape (n, d)
        Standardised samples.
    output : ndarray of shape (n, k) or None
        The network's own output where it is the prior mean.
    y_mean, y_scale : ndarray of shape (k,)
        The target's standardisation.
    one_output : bool
        Whether to drop the batch dimension of outputs.

    Returns
    -------
    distribution : tfp.distributions.VariationalGaussianProcess
        In target units, noise included; batch shape () or (k,).
    """
    kernel = posterior.kernel
    if isinstance(posterior, ExactPosterior):
        statistics, Lz, jitter = posterior.statistics()
        posterior = sparse_posterior(
            kernel, posterior.theta, posterior.Z, Lz, statistics, len(y_scale), jitter
        )
    Z, d = posterior.Z, posterior.Z.shape[1]
    # q(v) of v = Lz^-1 u: mean Lz' alpha (beside the prior mean), covariance B^-1.
    # Of u itself TFP would solve with Kuu twice, once without its jitter.
    loc = dtrmm(1.0, posterior.factor(), posterior.alpha, lower=1, trans_a=1)
    inverse, _ = lapack.dtrtri(posterior.Lb, lower=1)
    # TFP takes it for lower triangular
    factor = np.linalg.qr(inverse, "r").T

    # The network's output is appended as columns that the kernel does not read, as a
    # prior mean has to be a function of the index points.
    k = len(y_scale)
    if output is None:
        output = np.zeros((len(X), k))
    beta = tf.constant(posterior.beta)

    def prior_mean(points):
        features = points[..., :d]
        mean = points[..., d:]
        if len(beta):
            mean += y_scale * beta[0]
        if len(beta) > 1:
            mean += y_scale * tf.linalg.matmul(features, beta[1:])
        return tf.linalg.matrix_transpose(mean + y_mean)

    points = np.hstack([X, output])
    inducing = np.hstack([Z, np.zeros((len(Z), k))])
    latent = kernel.tfp(posterior.theta)
    if latent is None:  # white noise alone
        latent = tfpk.Constant(tf.constant(0.0, tf.float64))
    if one_output:
        scale, pick = y_scale[0], lambda array: array[0]
    else:
        scale, pick = y_scale, lambda array: array
    scaled = tfpk.Constant(tf.constant(scale**2)) * OnColumns(latent, slice(d))
    # Each output has the jitter of its posterior, in its own units.
    jitter = tf.constant(posterior.jitter * scale[..., None] ** 2)

    def factored(K):
        return tf.linalg.cholesky(
            tf.linalg.set_diag(K, tf.linalg.diag_part(K) + jitter)
        )

    # TFP subtracts the same value to the last bit: a large mean costs no digits.
    prior = tf.linalg.triangular_solve(
        factored(scaled.matrix(inducing, inducing)),
        pick(prior_mean(inducing))[..., None],
    )[..., 0]
    return tfd.VariationalGaussianProcess(
        kernel=scaled,
        index_points=points,
        inducing_index_points=inducing,
        variational_inducing_observations_loc=pick(loc.T) + prior,
        variational_inducing_observations_scale=factor,
        mean_fn=lambda x: pick(prior_mean(x)),
        observation_noise_variance=tf.constant(scale**2 * posterior.noise),
        predictive_noise_variance=tf.constant(scale**2 * posterior.noise),
        cholesky_fn=factored,
        use_whitening_transform=True,
    )


def joint_distribution(mean, covariance, dof):
    """Return a normal or a Student t by its moments, one per output.

    Parameters
    ----------
    mean : ndarray of shape (n,) or (n, k)
        Means.
    covariance : ndarray of shape (n, n) or (n, n, k)
        Covariances.
    dof : float
        Degrees of freedom; infinite for a normal distribution.

    Returns
    -------
    distribution : MultivariateNormalTriL or MultivariateStudentTLinearOperator
        Event shape (n,), batch shape () or (k,).
    """
    if covariance.ndim == 3:
        covariance = np.moveaxis(covariance, -1, 0)
    factor = np.linalg.cholesky(covariance)
    if np.isinf(dof):
        return tfd.MultivariateNormalTriL(loc=mean.T, scale_tril=factor)
    scale = tf.linalg.LinearOperatorLowerTriangular(factor * np.sqrt(1.0 - 2.0 / dof))
    return tfd.MultivariateStudentTLinearOperator(
        df=tf.constant(dof, tf.float64), loc=mean.T, scale=scale
    )
