"""scikit-learn kernels as fast covariance functions with adjoints, in NumPy.

scikit-learn's own ``kernel.theta`` (logarithms of the free hyperparameters) and
``kernel.bounds`` are the parameters everywhere: "fixed" and bounds are honoured by
construction, and the fitted kernel is ``kernel.clone_with_theta(theta)``. Squared
distances are matrix products, and a gradient by many length scales is one more. The
same kernels in TFP (:mod:`~sklearn_unlocknn._gp.tfp_kernels`) are the witness.
"""

import numpy as np
from sklearn.gaussian_process import kernels as gpk

from .kernel_blocks import ALL, Gradients, Node, diagonal, evaluator
from .kernel_checks import check, contains

# Rows of a block of K(X, X): temporaries then stay in the cache (2 to 3 times faster
# than all rows at once).
BLOCK_ROWS = 128


class Covariance:
    """A scikit-learn kernel, evaluated and differentiated in float64.

    White noise (``WhiteKernel``) is split off as the observation noise. Where the
    kernel has none, a free noise level is added: :attr:`template` is then
    ``kernel + WhiteKernel``.

    Parameters
    ----------
    kernel : sklearn.gaussian_process.kernels.Kernel
        The kernel.
    n_features : int
        Number of columns of the data.
    noise_level : float, default=0.01
        Initial noise variance where the kernel brings none.
    noise_level_bounds : (float, float), default=(1e-6, 10)
        Its bounds.

    Raises
    ------
    ValueError
        If the kernel cannot be translated; the message names it.
    """

    def __init__(
        self, kernel, n_features, *, noise_level=0.01, noise_level_bounds=(1e-6, 10.0)
    ):
        check(kernel, n_features)
        self.has_noise = contains(kernel, gpk.WhiteKernel)
        if not self.has_noise:
            kernel = kernel + gpk.WhiteKernel(noise_level, noise_level_bounds)
        self.template = kernel
        self.n_features = n_features
        self._root = Node(kernel)
        self._bounds = kernel.bounds.reshape(-1, 2)
        # glibc hands temporaries of a block back to the system and faults them in
        # again, unless a larger array was freed before: half the time of a fit.
        np.empty(2**25 - 2**16, dtype=np.uint8)

    @property
    def theta(self):
        """Initial log hyperparameters, within the bounds."""
        theta, bounds = self.template.theta, self.bounds
        return np.clip(theta, bounds[:, 0], bounds[:, 1]) if theta.size else theta

    @property
    def bounds(self):
        """Bounds of the log hyperparameters, of shape (n_theta, 2)."""
        return self._bounds.copy()

    @property
    def vectors(self):
        """Slices of ``theta`` that hold one hyperparameter per feature."""
        return [part for _, part in self._root.free() if part.stop - part.start > 1]

    @property
    def noise_index(self):
        """Indices into ``theta`` of free noise levels."""
        return [part.start for name, part in self._root.free() if name == "noise_level"]

    def fitted_kernel(self, theta):
        """Return the scikit-learn kernel at ``theta``, as the user wrote it."""
        kernel = self.template.clone_with_theta(np.asarray(theta))
        return kernel if self.has_noise else kernel.k1

    def matrix(self, theta, X, Z, adjoints=None):
        """Return K(X, Z) without noise, a C-ordered array of shape (n, m).

        A list passed as ``adjoints`` receives what :meth:`vjp` then need not compute
        again, as long as the matrix is left as it is.
        """
        shape = (len(X), len(Z))
        evaluate = evaluator(self._root, theta, X, Z) if len(X) else None
        value, pull = (0.0, None) if evaluate is None else evaluate(ALL, ALL)
        if adjoints is not None:
            adjoints.append(pull)
        return np.full(shape, value) if np.ndim(value) == 0 else value

    def diagonal(self, theta, X):
        """Return diag K(X, X) without noise, of shape (n,)."""
        part = diagonal(self._root, theta, X)
        return np.zeros(len(X)) if part is None else part[0] + np.zeros(len(X))

    def noise(self, theta):
        """Return the observation noise variance."""
        return float(_noise(self._root, theta)[0][0])

    def noise_gradient(self, theta):
        """Return the derivative of the noise variance by ``theta``."""
        return _noise(self._root, theta)[0][1]

    def lower(self, theta, X, adjoints=None):
        """Return the lower triangle of K(X, X), Fortran-ordered, in cached blocks.

        Above the diagonal the array is zero. A list passed as ``adjoints`` receives
        what :meth:`lower_vjp` then need not compute again.
        """
        evaluate = evaluator(self._root, theta, X, X) if len(X) else None
        if evaluate is None:
            return np.zeros((len(X), len(X)), order="F")
        K = np.empty((len(X), len(X)), order="F")
        for start in range(0, len(X), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            value, pull = evaluate(block, slice(start, None))
            K[:start, block] = 0.0
            K[start:, block] = np.transpose(value)
            K[block, block] *= np.tri(len(K[block]))
            if adjoints is not None:
                adjoints.append(pull)
        # Distances of rows to themselves are zero, not rounding errors.
        K[np.diag_indices_from(K)] = self.diagonal(theta, X)
        return K

    def lower_vjp(self, theta, X, cotangent, adjoints=None):
        """Pull a cotangent that is zero above the diagonal back to ``theta``."""
        if adjoints is None:
            self.lower(theta, X, adjoints := [])
        out = Gradients(len(theta), X, X, wrt_inputs=False)
        for i, pull in enumerate(adjoints):
            start = i * BLOCK_ROWS
            pull(cotangent[start:, start : start + BLOCK_ROWS].T, out)
        return out.theta

    def vjp(
        self,
        theta,
        X,
        Z,
        cotangent,
        diagonal_cotangent=None,
        wrt_inputs=False,
        adjoints=None,
    ):
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
        adjoints : list, default=None
            What :meth:`matrix` put there.

        Returns
        -------
        theta_grad : ndarray of shape (n_theta,)
            Derivative with respect to ``theta``.
        X_grad, Z_grad : ndarray of shapes (n, d) and (m, d)
            Only if ``wrt_inputs``.
        """
        if adjoints is None:
            self.matrix(theta, X, Z, adjoints := [])
        out = Gradients(len(theta), X, Z, wrt_inputs)
        if adjoints[0] is not None:
            adjoints[0](cotangent, out)
        if diagonal_cotangent is not None:
            part = diagonal(self._root, theta, X)
            if part is not None:
                part[1](diagonal_cotangent, out)
        return (out.theta, out.X, out.Z) if wrt_inputs else out.theta

    def tfp(self, theta):
        """Return the latent kernel at ``theta`` as a TFP object."""
        from .tfp_kernels import translate

        return translate(self.template.clone_with_theta(np.asarray(theta)))


def _noise(node, theta):
    """Return (noise, constant diagonal), each a pair (value, gradient by theta).

    (l1 + n1 delta)(l2 + n2 delta) has the noise n1 l2(x, x) + n2 l1(x, x) + n1 n2,
    one number as long as those diagonals are constant (checked before).
    """
    zero = (0.0, np.zeros(len(theta)))
    kernel, parts = node.kernel, [_noise(child, theta) for child in node.children]
    if isinstance(kernel, gpk.Sum):
        (n1, d1), (n2, d2) = parts
        return _plus(n1, n2), _plus(d1, d2)
    if isinstance(kernel, gpk.Product):
        return _noise_of_product(*parts[0], *parts[1])
    if isinstance(kernel, gpk.Exponentiation):
        noise, diagonal = parts[0]
        for _ in range(int(kernel.exponent) - 1):
            noise, diagonal = _noise_of_product(noise, diagonal, *parts[0])
        return noise, diagonal
    if not isinstance(kernel, (gpk.ConstantKernel, gpk.WhiteKernel)):
        return zero, (1.0, zero[1])
    value, where = node.get(next(iter(node.values)), theta)
    gradient = np.zeros(len(theta))
    if where is not None:
        gradient[where] = value
    scalar = (value, gradient)
    return (scalar, zero) if isinstance(kernel, gpk.WhiteKernel) else (zero, scalar)


def _plus(a, b):
    """Add two (value, gradient) pairs."""
    return a[0] + b[0], a[1] + b[1]


def _times(a, b):
    """Multiply two (value, gradient) pairs."""
    return a[0] * b[0], a[0] * b[1] + b[0] * a[1]


def _noise_of_product(n1, d1, n2, d2):
    """Return noise and diagonal of a product of kernels."""
    noise = _plus(_plus(_times(n1, d2), _times(n2, d1)), _times(n1, n2))
    return noise, _times(d1, d2)
