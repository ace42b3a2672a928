"""Translate scikit-learn kernels to :mod:`tfp.math.psd_kernels`.

scikit-learn's own ``kernel.theta`` (logarithms of the free hyperparameters) and
``kernel.bounds`` are the parameters everywhere: "fixed" and bounds are honoured by
construction, and the fitted kernel is ``kernel.clone_with_theta(theta)``.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from sklearn.gaussian_process import kernels as gpk

tfpk = tfp.math.psd_kernels

_MATERN = {
    0.5: tfpk.MaternOneHalf,
    1.5: tfpk.MaternThreeHalves,
    2.5: tfpk.MaternFiveHalves,
    np.inf: tfpk.ExponentiatedQuadratic,
}

_KNOWN = (
    gpk.ConstantKernel,
    gpk.WhiteKernel,
    gpk.RBF,
    gpk.Matern,
    gpk.RationalQuadratic,
    gpk.ExpSineSquared,
    gpk.DotProduct,
)

# Rows of a block of K(X, X): temporaries then stay in the cache (2 to 3 times faster
# than all rows at once).
BLOCK_ROWS = 256


class _Parts(NamedTuple):
    """A kernel as latent covariance plus white noise."""

    latent: Any  # tfp PositiveSemidefiniteKernel, or None
    noise: Any  # scalar tensor, or None
    diagonal: Any  # the latent kernel's constant k(x, x), or None if it varies


class TranslatedKernel:
    """A scikit-learn kernel, evaluated and differentiated by TFP in float64.

    White noise (``WhiteKernel``) is split off as the observation noise. Where the
    kernel has none, a free noise level is added: :attr:`template` is then
    ``kernel + WhiteKernel``.

    Parameters
    ----------
    kernel : sklearn.gaussian_process.kernels.Kernel
        The kernel to translate.
    n_features : int
        Number of columns of the data.
    noise_level : float, default=0.01
        Initial noise variance where the kernel brings none.
    noise_level_bounds : (float, float), default=(1e-6, 10)
        Its bounds.
    """

    def __init__(
        self, kernel, n_features, *, noise_level=0.01, noise_level_bounds=(1e-6, 10.0)
    ):
        _check(kernel, n_features)
        self.has_noise = _has_noise(kernel)
        if not self.has_noise:
            kernel = kernel + gpk.WhiteKernel(noise_level, noise_level_bounds)
        self.template = kernel
        self.n_features = n_features
        self._functions = _compiled(_structure(kernel))

    @property
    def theta(self):
        """Initial log hyperparameters, within the bounds."""
        theta, bounds = self.template.theta, self.bounds
        return np.clip(theta, bounds[:, 0], bounds[:, 1]) if theta.size else theta

    @property
    def bounds(self):
        """Bounds of the log hyperparameters, of shape (n_theta, 2)."""
        return self.template.bounds.reshape(-1, 2)

    @property
    def vectors(self):
        """Slices of ``theta`` that hold one hyperparameter per feature."""
        slices, start = [], 0
        for hyper in self.template.hyperparameters:
            stop = start + (0 if hyper.fixed else hyper.n_elements)
            if stop - start > 1:
                slices.append(slice(start, stop))
            start = stop
        return slices

    def fitted_kernel(self, theta):
        """Return the scikit-learn kernel at ``theta``, as the user wrote it."""
        kernel = self.template.clone_with_theta(np.asarray(theta))
        return kernel if self.has_noise else kernel.k1

    def matrix(self, theta, X, Z):
        """Return K(X, Z) without noise, a C-ordered array of shape (n, m)."""
        return self._functions.matrix(theta, X, Z).numpy()

    def diagonal(self, theta, X):
        """Return diag K(X, X) without noise, of shape (n,)."""
        return self._functions.diagonal(theta, X).numpy()

    def noise(self, theta):
        """Return the observation noise variance."""
        return float(self._functions.noise(theta).numpy())

    def lower(self, theta, X):
        """Return the lower triangle of K(X, X), Fortran-ordered, in cache-sized blocks.

        Above the diagonal blocks the array is zero.
        """
        K = np.zeros((len(X), len(X)), order="F")
        for start in range(0, len(X), BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, len(X))
            K[start:stop, :stop] = self.matrix(theta, X[start:stop], X[:stop])
        return K

    def lower_vjp(self, theta, X, cotangent):
        """Pull a cotangent that is zero above the diagonal back to ``theta``."""
        gradient = np.zeros(len(theta))
        for start in range(0, len(X), BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, len(X))
            block = cotangent[start:stop, :stop]
            gradient += self.vjp(theta, X[start:stop], X[:stop], block)
        return gradient

    def vjp(self, theta, X, Z, cotangent, diagonal_cotangent=None, wrt_inputs=False):
        """Pull a cotangent of K(X, Z) (and of diag K(X, X)) back.

        Parameters
        ----------
        theta : ndarray of shape (n_theta,)
            Log hyperparameters.
        X : ndarray of shape (n, d)
            Rows.
        Z : ndarray of shape (m, d)
            Columns.
        cotangent : ndarray of shape (n, m)
            Derivative of the objective with respect to K(X, Z).
        diagonal_cotangent : ndarray of shape (n,), default=None
            Derivative with respect to diag K(X, X).
        wrt_inputs : bool, default=False
            Whether to return the derivatives by X and Z too.

        Returns
        -------
        theta_grad : ndarray of shape (n_theta,)
            Derivative with respect to ``theta``.
        X_grad, Z_grad : ndarray of shapes (n, d) and (m, d)
            Only if ``wrt_inputs``.
        """
        if diagonal_cotangent is None:
            diagonal_cotangent = np.zeros(len(X))
        function = self._functions.vjp_inputs if wrt_inputs else self._functions.vjp
        grads = function(theta, X, Z, cotangent, diagonal_cotangent)
        grads = [grad.numpy() for grad in grads]
        return tuple(grads) if wrt_inputs else grads[0]

    def noise_gradient(self, theta):
        """Return the derivative of the noise variance by ``theta``."""
        return self._functions.noise_gradient(theta).numpy()

    def parts(self, theta):
        """Return the TFP kernel and the noise variance (a tensor) at ``theta``."""
        return self._functions.build(theta)


class _Functions(NamedTuple):
    """Traced functions of one kernel structure."""

    build: Any
    matrix: Any
    diagonal: Any
    noise: Any
    vjp: Any
    vjp_inputs: Any
    noise_gradient: Any


@functools.lru_cache(maxsize=64)
def _compiled(structure):
    """Trace the functions of one structure once a process, whatever the data."""
    vector = tf.TensorSpec([None], tf.float64)
    matrix = tf.TensorSpec([None, None], tf.float64)

    def build(theta):
        parts = _build(structure, iter(tf.unstack(theta, num=_n_free(structure))))
        noise = tf.constant(0.0, tf.float64) if parts.noise is None else parts.noise
        return parts.latent, noise

    def evaluate(theta, X, Z):
        latent, _ = build(theta)
        if latent is None:
            return tf.zeros([tf.shape(X)[0], tf.shape(Z)[0]], tf.float64)
        return latent.matrix(X, Z)

    def diagonal(theta, X):
        latent, _ = build(theta)
        if latent is None:
            return tf.zeros([tf.shape(X)[0]], tf.float64)
        # Sums of constants come back as scalars.
        return latent.apply(X, X) + tf.zeros([tf.shape(X)[0]], tf.float64)

    def pull_back(theta, X, Z, cotangent, diagonal_cotangent, sources):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for source in sources:
                tape.watch(source)
            value = tf.reduce_sum(cotangent * evaluate(theta, X, Z))
            value += tf.reduce_sum(diagonal_cotangent * diagonal(theta, X))
        return tape.gradient(value, sources, unconnected_gradients="zero")

    def vjp(theta, X, Z, cotangent, diagonal_cotangent):
        return pull_back(theta, X, Z, cotangent, diagonal_cotangent, [theta])

    def vjp_inputs(theta, X, Z, cotangent, diagonal_cotangent):
        return pull_back(theta, X, Z, cotangent, diagonal_cotangent, [theta, X, Z])

    def noise_gradient(theta):
        with tf.GradientTape() as tape:
            tape.watch(theta)
            noise = build(theta)[1]
        return tape.gradient(noise, theta, unconnected_gradients="zero")

    def traced(function, *signature):
        return tf.function(function, input_signature=signature, autograph=False)

    pull = (vector, matrix, matrix, matrix, vector)
    return _Functions(
        build=build,
        matrix=traced(evaluate, vector, matrix, matrix),
        diagonal=traced(diagonal, vector, matrix),
        noise=traced(lambda theta: build(theta)[1], vector),
        vjp=traced(vjp, *pull),
        vjp_inputs=traced(vjp_inputs, *pull),
        noise_gradient=traced(noise_gradient, vector),
    )


def _structure(kernel):
    """Return a hashable description: types, options, fixed values, free counts."""
    if isinstance(kernel, gpk.KernelOperator):
        return (type(kernel).__name__, _structure(kernel.k1), _structure(kernel.k2))
    if isinstance(kernel, gpk.Exponentiation):
        return ("Exponentiation", _structure(kernel.kernel), int(kernel.exponent))
    params = kernel.get_params()
    values = tuple(
        (
            hyper.name,
            hyper.n_elements,
            tuple(np.atleast_1d(params[hyper.name]).tolist()) if hyper.fixed else None,
        )
        for hyper in kernel.hyperparameters
    )
    return (type(kernel).__name__, values, float(params.get("nu", 0.0)))


def _n_free(structure):
    """Count the free hyperparameters."""
    name = structure[0]
    if name in ("Sum", "Product"):
        return _n_free(structure[1]) + _n_free(structure[2])
    if name == "Exponentiation":
        return _n_free(structure[1])
    return sum(count for _, count, fixed in structure[1] if fixed is None)


def _build(structure, theta):
    """Build the TFP kernel, consuming ``theta`` in scikit-learn's order."""
    name = structure[0]
    if name == "Sum":
        return _add(_build(structure[1], theta), _build(structure[2], theta))
    if name == "Product":
        return _multiply(_build(structure[1], theta), _build(structure[2], theta))
    if name == "Exponentiation":
        base = _build(structure[1], theta)
        power = base
        for _ in range(structure[2] - 1):
            power = _multiply(power, base)
        return power
    values = {}
    for hyper, count, fixed in structure[1]:
        if fixed is not None:
            value = tf.constant(fixed, tf.float64)
        else:
            value = tf.exp(tf.stack([next(theta) for _ in range(count)]))
        values[hyper] = value if count > 1 else value[0]
    return _leaf(name, values, structure[2])


def _leaf(name, values, nu):
    """Build one elementary kernel; every formula is scikit-learn's."""
    one = tf.constant(1.0, tf.float64)
    if name == "ConstantKernel":
        constant = values["constant_value"]
        return _Parts(tfpk.Constant(constant), None, constant)
    if name == "WhiteKernel":
        return _Parts(None, values["noise_level"], None)
    if name == "DotProduct":
        linear = tfpk.Linear(bias_amplitude=values["sigma_0"], slope_amplitude=one)
        return _Parts(linear, None, None)
    if name == "ExpSineSquared":
        periodic = tfpk.ExpSinSquared(
            length_scale=values["length_scale"], period=values["periodicity"]
        )
        return _Parts(periodic, None, one)
    length_scale = values["length_scale"]
    if name == "RationalQuadratic":
        kernel = tfpk.RationalQuadratic(
            length_scale=length_scale, scale_mixture_rate=values["alpha"]
        )
        return _Parts(kernel, None, one)
    kernel = tfpk.ExponentiatedQuadratic() if name == "RBF" else _MATERN[nu]()
    if length_scale.shape.rank == 0:
        length_scale = length_scale[None]
    return _Parts(tfpk.FeatureScaled(kernel, length_scale), None, one)


def _add(left, right):
    """Add two kernels, latent and noise parts apart."""
    if left.latent is None or right.latent is None:
        kept = right if left.latent is None else left
        latent, diagonal = kept.latent, kept.diagonal
    else:
        latent = left.latent + right.latent
        diagonal = _combine(left.diagonal, right.diagonal, tf.add)
    noises = [part.noise for part in (left, right) if part.noise is not None]
    return _Parts(latent, tf.add_n(noises) if noises else None, diagonal)


def _multiply(left, right):
    """Multiply (l1 + n1 delta)(l2 + n2 delta); needs constant l(x, x) beside noise."""
    noises = []
    if left.noise is not None and right.noise is not None:
        noises.append(left.noise * right.noise)
    for one, other in ((left, right), (right, left)):
        if one.noise is not None and other.latent is not None:
            noises.append(one.noise * other.diagonal)
    latent = diagonal = None
    if left.latent is not None and right.latent is not None:
        latent = left.latent * right.latent
        diagonal = _combine(left.diagonal, right.diagonal, tf.multiply)
    return _Parts(latent, tf.add_n(noises) if noises else None, diagonal)


def _combine(left, right, function):
    """Combine two constant diagonals, or return None where one varies."""
    return None if left is None or right is None else function(left, right)


def _has_noise(kernel):
    """Tell whether a WhiteKernel is inside."""
    if isinstance(kernel, gpk.KernelOperator):
        return _has_noise(kernel.k1) or _has_noise(kernel.k2)
    if isinstance(kernel, gpk.Exponentiation):
        return _has_noise(kernel.kernel)
    return isinstance(kernel, gpk.WhiteKernel)


def _varies(kernel):
    """Tell whether the latent part has a diagonal that varies with x."""
    if isinstance(kernel, gpk.KernelOperator):
        return _varies(kernel.k1) or _varies(kernel.k2)
    if isinstance(kernel, gpk.Exponentiation):
        return _varies(kernel.kernel)
    return isinstance(kernel, gpk.DotProduct)


def _check(kernel, n_features):
    """Raise a ValueError that names what cannot be translated."""
    if isinstance(kernel, gpk.KernelOperator):
        _check(kernel.k1, n_features)
        _check(kernel.k2, n_features)
        pairs = ((kernel.k1, kernel.k2), (kernel.k2, kernel.k1))
        if isinstance(kernel, gpk.Product) and any(
            _has_noise(one) and _varies(other) for one, other in pairs
        ):
            raise ValueError(
                f"Got kernel {kernel}: a WhiteKernel times a DotProduct is noise that "
                "varies with x, expected one noise level. Add the WhiteKernel instead."
            )
        return
    if isinstance(kernel, gpk.Exponentiation):
        _check(kernel.kernel, n_features)
        if kernel.exponent < 1 or kernel.exponent != int(kernel.exponent):
            raise ValueError(
                f"Got kernel {kernel} with exponent {kernel.exponent}, expected a "
                "positive integer: other powers of a kernel need not be positive "
                "semi-definite."
            )
        if _has_noise(kernel.kernel) and _varies(kernel.kernel):
            raise ValueError(
                f"Got kernel {kernel}: a power of a WhiteKernel plus a DotProduct is "
                "noise that varies with x, expected one noise level. Add the "
                "WhiteKernel outside the power."
            )
        return
    # By exact type: a subclass may compute something else.
    if type(kernel) not in _KNOWN:
        raise ValueError(
            f"Got kernel {kernel} of type {type(kernel).__name__}, which has no "
            "translation to tfp.math.psd_kernels. Expected sums, products and integer "
            f"powers of {[known.__name__ for known in _KNOWN]}."
        )
    if isinstance(kernel, gpk.Matern) and kernel.nu not in _MATERN:
        raise ValueError(
            f"Got kernel {kernel} with nu={kernel.nu}, expected nu in "
            f"{list(_MATERN)}, the half-integers that TFP evaluates in closed form."
        )
    if isinstance(kernel, gpk.ExpSineSquared) and n_features > 1:
        raise ValueError(
            f"Got kernel {kernel} for {n_features} features: periodic in the "
            "Euclidean distance, it is positive semi-definite for one feature only. "
            "Use it on one column, or another kernel."
        )
    if isinstance(kernel, gpk.RBF) and np.ndim(kernel.length_scale) == 1:
        count = len(kernel.length_scale)
        if count not in (1, n_features):
            raise ValueError(
                f"Got kernel {kernel} with {count} length scales for {n_features} "
                "features, expected a single one or one per feature."
            )
