"""scikit-learn kernels as fast covariance functions with adjoints, in NumPy.

scikit-learn's own ``kernel.theta`` (logarithms of the free hyperparameters) and
``kernel.bounds`` are the parameters everywhere: "fixed" and bounds are honoured by
construction, and the fitted kernel is ``kernel.clone_with_theta(theta)``. Squared
distances are matrix products, and a gradient by many length scales is one more. The
same kernels in TFP (:mod:`~sklearn_unlocknn._backend.psd_kernels`) are the witness.
"""

import numpy as np
from sklearn.gaussian_process import kernels as gpk

from .blas import outer_product, product
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
        self._root = _Node(kernel, 0)
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
        return self.template.bounds.reshape(-1, 2)

    def _free(self):
        """Yield each free hyperparameter with its slice of ``theta``."""
        start = 0
        for hyper in self.template.hyperparameters:
            if not hyper.fixed:
                yield hyper, slice(start, start + hyper.n_elements)
                start += hyper.n_elements

    @property
    def vectors(self):
        """Slices of ``theta`` that hold one hyperparameter per feature."""
        return [part for hyper, part in self._free() if hyper.n_elements > 1]

    @property
    def noise_index(self):
        """Indices into ``theta`` of free noise levels."""
        names = [(hyper.name, part.start) for hyper, part in self._free()]
        return [start for name, start in names if name.endswith("noise_level")]

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
        latent = _latent(self._root, theta, X, Z) if len(X) else None
        if adjoints is not None:
            adjoints.append(latent)
        if latent is None:
            return np.zeros(shape)
        value = latent[0]
        return np.full(shape, value) if np.ndim(value) == 0 else value

    def diagonal(self, theta, X):
        """Return diag K(X, X) without noise, of shape (n,)."""
        value = _diagonal(self._root, theta, X)
        return np.zeros(len(X)) if value is None else value[0] + np.zeros(len(X))

    def noise(self, theta):
        """Return the observation noise variance."""
        return float(_noise(self._root, theta)[0][0])

    def noise_gradient(self, theta):
        """Return the derivative of the noise variance by ``theta``."""
        return _noise(self._root, theta)[0][1]

    def lower(self, theta, X, adjoints=None):
        """Return the lower triangle of K(X, X), Fortran-ordered, in cached blocks.

        Above the diagonal blocks the array is zero. A list passed as ``adjoints``
        receives what :meth:`lower_vjp` then need not compute again.
        """
        K = np.zeros((len(X), len(X)), order="F")
        for start in range(0, len(X), BLOCK_ROWS):
            stop = start + BLOCK_ROWS
            latent = _latent(self._root, theta, X[start:stop], X[start:])
            if latent is not None:
                K[start:, start:stop] = np.transpose(latent[0])
            if adjoints is not None:
                adjoints.append(latent)
        # Distances of rows to themselves are zero, not rounding errors.
        K[np.diag_indices_from(K)] = self.diagonal(theta, X)
        return K

    def lower_vjp(self, theta, X, cotangent, adjoints=None):
        """Pull a cotangent that is zero above the diagonal back to ``theta``."""
        if adjoints is None:
            self.lower(theta, X, adjoints := [])
        out = _Gradients(np.zeros(len(theta)), X, X, wrt_inputs=False)
        for start, latent in zip(range(0, len(X), BLOCK_ROWS), adjoints, strict=True):
            if latent is not None:
                latent[1](cotangent[start:, start : start + BLOCK_ROWS].T, out)
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
        out = _Gradients(np.zeros(len(theta)), X, Z, wrt_inputs)
        if adjoints[0] is not None:
            adjoints[0][1](cotangent, out)
        if diagonal_cotangent is not None:
            diagonal = _diagonal(self._root, theta, X)
            if diagonal is not None:
                diagonal[1](diagonal_cotangent, out)
        return (out.theta, out.X, out.Z) if wrt_inputs else out.theta

    def tfp(self, theta):
        """Return the latent kernel at ``theta`` as a TFP object."""
        from .psd_kernels import translate

        return translate(self.template.clone_with_theta(np.asarray(theta)))


class _Node:
    """A kernel read once: scikit-learn's introspection costs more than a block does.

    ``values`` maps the names of a leaf's hyperparameters to (fixed value, None) or
    (None, slice of theta).
    """

    def __init__(self, kernel, position):
        self.kernel, self.children, self.values = kernel, (), {}
        if isinstance(kernel, gpk.KernelOperator):
            left = _Node(kernel.k1, position)
            self.children = (left, _Node(kernel.k2, left.end))
        elif isinstance(kernel, gpk.Exponentiation):
            self.children = (_Node(kernel.kernel, position),)
        else:
            for hyper in kernel.hyperparameters:
                where = None
                value = np.ravel(getattr(kernel, hyper.name)).astype(float)
                if not hyper.fixed:
                    where = slice(position, position + hyper.n_elements)
                    position = where.stop
                self.values[hyper.name] = value, where
        self.end = self.children[-1].end if self.children else position

    def get(self, name, theta):
        """Return a hyperparameter's value (a vector or a float) and its slice."""
        value, where = self.values[name]
        if where is not None:
            value = np.exp(theta[where])
        return value if value.size > 1 else value.item(), where


class _Gradients:
    """Accumulates derivatives by theta and, if asked, by X and Z."""

    def __init__(self, theta, X, Z, wrt_inputs):
        self.theta, self.X, self.Z = theta, None, None
        if wrt_inputs:
            self.X, self.Z = np.zeros_like(X), np.zeros_like(Z)


def _latent(node, theta, X, Z):
    """Return K(X, Z), an array or a constant, and its adjoint; None for white noise."""
    kernel = node.kernel
    if node.children:
        return _combine(node, [_latent(child, theta, X, Z) for child in node.children])
    if isinstance(kernel, gpk.WhiteKernel):
        return None
    if isinstance(kernel, gpk.ConstantKernel):
        constant, where = node.get("constant_value", theta)

        def pull(G, out):
            if where is not None:
                out.theta[where] += constant * np.sum(G)

        return constant, pull
    if isinstance(kernel, gpk.DotProduct):
        return _dot_product(node, theta, X, Z)
    if isinstance(kernel, gpk.ExpSineSquared):
        return _periodic(node, theta, X, Z)
    return _stationary(node, theta, X, Z)


def _combine(node, parts):
    """Combine the parts of a sum, product or power; None is white noise."""
    if isinstance(node.kernel, gpk.Sum):
        return _sum(*parts)
    if any(part is None for part in parts):
        return None
    if isinstance(node.kernel, gpk.Product):
        return _product(*parts)
    return _power(parts[0], int(node.kernel.exponent))


def _sum(left, right):
    """Add two parts of a kernel."""
    if left is None or right is None:
        return right if left is None else left

    def pull(G, out):
        left[1](G, out)
        right[1](G, out)

    return left[0] + right[0], pull


def _product(left, right):
    """Multiply two parts of a kernel."""

    def pull(G, out):
        left[1](G * right[0], out)
        right[1](G * left[0], out)

    return left[0] * right[0], pull


def _power(base, exponent):
    """Raise a part of a kernel to an integer power."""

    def pull(G, out):
        base[1](exponent * G * base[0] ** (exponent - 1), out)

    return base[0] ** exponent, pull


def _dot_product(node, theta, X, Z):
    """Return sigma_0^2 + x.z."""
    sigma, where = node.get("sigma_0", theta)

    def pull(G, out):
        if where is not None:
            out.theta[where] += 2.0 * sigma**2 * np.sum(G)
        if out.X is not None:
            G = np.broadcast_to(G, (len(X), len(Z)))
            out.X += product(G, Z)
            out.Z += product(G.T, X)

    K = outer_product(X, Z)
    K += sigma**2
    return K, pull


def _periodic(node, theta, X, Z):
    """Return exp(-2 sin^2(pi |x - z| / p) / l^2) of one feature."""
    length, length_where = node.get("length_scale", theta)
    period, period_where = node.get("periodicity", theta)
    angle = np.pi / period * (X - Z.T)
    sine = np.sin(angle)
    K = np.exp(-2.0 * (sine / length) ** 2)

    def pull(G, out):
        GK = G * K
        if length_where is not None:
            out.theta[length_where] += np.sum(GK * (2.0 * sine / length) ** 2)
        # d log K / d angle
        GK *= -2.0 / length**2 * np.sin(2.0 * angle)
        if period_where is not None:
            out.theta[period_where] -= np.sum(GK * angle)
        if out.X is not None:
            out.X[:, 0] += np.pi / period * GK.sum(axis=1)
            out.Z[:, 0] -= np.pi / period * GK.sum(axis=0)

    return K, pull


def _stationary(node, theta, X, Z):
    """Return a function of the scaled squared distance."""
    kernel = node.kernel
    length, where = node.get("length_scale", theta)
    alpha, alpha_where = None, None
    if isinstance(kernel, gpk.RationalQuadratic):
        alpha, alpha_where = node.get("alpha", theta)
    Xs, Zs = X / length, Z / length
    # |x - z|^2 = |x|^2 + |z|^2 - 2 x.z, about a common origin: it cancels less
    origin = Zs.mean(axis=0)
    Xs -= origin
    Zs -= origin
    R2 = outer_product(Xs, Zs, -2.0)
    norms_x, norms_z = np.einsum("ij,ij->i", Xs, Xs), np.einsum("ij,ij->i", Zs, Zs)
    R2 += norms_x[:, None]
    R2 += norms_z
    np.maximum(R2, 0.0, out=R2)
    if getattr(kernel, "nu", None) == 0.5:
        # Its kink at zero turns what rounding leaves between equal rows into slopes.
        R2[1e-14 * max(norms_x.max(), norms_z.max()) > R2] = 0.0
    K, slope = _profile(kernel, alpha, R2)

    def pull(G, out):
        M = slope()
        M *= G
        if alpha_where is not None:
            base = R2 / (2.0 * alpha)
            by_alpha = base / (1.0 + base) - np.log1p(base)
            out.theta[alpha_where] += alpha * np.sum(G * K * by_alpha)
        if where is not None and np.ndim(length) == 0:
            out.theta[where] -= 2.0 * np.einsum("ij,ij->", M, R2)
            if out.X is None:
                return
        # sum_ij M_ij (x_ik - z_jk)^2 for every feature k by one matrix product
        MZ = product(M, Zs)
        rows, columns = M.sum(axis=1), M.sum(axis=0)
        if where is not None and np.ndim(length):
            by_feature = product((Xs**2).T, rows) + product((Zs**2).T, columns)
            by_feature -= 2.0 * np.einsum("ik,ik->k", Xs, MZ)
            out.theta[where] -= 2.0 * by_feature
        if out.X is not None:
            out.X += 2.0 / length * (rows[:, None] * Xs - MZ)
            out.Z += 2.0 / length * (columns[:, None] * Zs - product(M.T, Xs))

    return K, pull


def _profile(kernel, alpha, R2):
    """Return k(r^2), and a function that gives dk / d(r^2)."""
    if isinstance(kernel, gpk.RationalQuadratic):
        base = 1.0 + R2 / (2.0 * alpha)
        return base**-alpha, lambda: -0.5 * base ** (-alpha - 1.0)
    nu = kernel.nu if isinstance(kernel, gpk.Matern) else np.inf
    if nu == np.inf:
        K = np.exp(-0.5 * R2)
        return K, lambda: -0.5 * K
    s = np.sqrt(R2)
    s *= np.sqrt(2.0 * nu)
    decay = np.negative(s)
    np.exp(decay, out=decay)
    if nu == 0.5:

        def slope():
            # The kink at r = 0 has no slope; rows at one point do not move apart.
            inverse = np.divide(-0.5, s, out=np.zeros_like(s), where=s > 0)
            inverse *= decay
            return inverse

        return decay, slope
    s += 1.0
    if nu == 1.5:
        s *= decay
        return s, lambda: -1.5 * decay
    # (1 + s + s^2 / 3) exp(-s) with s^2 = 5 r^2; the slope is -5/6 (1 + s) exp(-s)
    K = (5.0 / 3.0) * R2
    K += s
    K *= decay

    def slope():
        by_distance = s * decay
        by_distance *= -5.0 / 6.0
        return by_distance

    return K, slope


def _diagonal(node, theta, X):
    """Return diag K(X, X), an array or a constant, and its adjoint, without noise."""
    kernel = node.kernel
    if node.children:
        return _combine(node, [_diagonal(child, theta, X) for child in node.children])
    if isinstance(kernel, (gpk.ConstantKernel, gpk.WhiteKernel)):
        return _latent(node, theta, X, X)
    if not isinstance(kernel, gpk.DotProduct):
        return 1.0, lambda G, out: None
    sigma, where = node.get("sigma_0", theta)

    def pull(G, out):
        if where is not None:
            out.theta[where] += 2.0 * sigma**2 * np.sum(G)
        if out.X is not None:
            out.X += 2.0 * np.reshape(G, (-1, 1)) * X

    return sigma**2 + np.einsum("ij,ij->i", X, X), pull


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
