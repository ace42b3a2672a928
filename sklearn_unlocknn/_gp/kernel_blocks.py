"""Elementary kernels of scikit-learn by blocks of their matrix, and their adjoints.

``leaf.evaluator(theta, X, Z, scale)`` computes the terms of all blocks, such as samples
over length scales, and returns ``evaluate(rows, columns)``. That returns the values
``scale * k(X[rows], Z[columns])``, and ``pull(G, out)``, which adds to ``out`` the
derivatives of an objective by theta, X and Z, given its derivative G by these values.
A kernel of the user's own class is evaluated by its own ``__call__``.

Beside the matrix products, passes over the elements determine the time, so there are
few: scales go inside the exponentials, squared norms of samples inside the products.
Rows and columns are slices or, for values of a kernel with a ``metric``, indices of
shape (n, m), which return a stack of n matrices.
"""

import dataclasses
import functools

import numpy as np
from sklearn.gaussian_process import kernels as gpk

from .linalg import product

_TRANSLATED = (
    gpk.ConstantKernel,
    gpk.WhiteKernel,
    gpk.RBF,
    gpk.Matern,
    gpk.RationalQuadratic,
    gpk.ExpSineSquared,
    gpk.DotProduct,
)
_MATERN_NU = (0.5, 1.5, 2.5, np.inf)
ALL = slice(None)


class Leaf:
    """An elementary kernel, and the place of its hyperparameters in theta.

    It is read once, as scikit-learn's introspection takes longer than a block.

    Parameters
    ----------
    kernel : sklearn.gaussian_process.kernels.Kernel
        The kernel.
    n_features : int
        Number of columns that the kernel is a function of.
    position : int
        Index in theta of its first free hyperparameter.
    columns : slice or list of int, default=ALL
        Columns of the data that the kernel is a function of.

    Attributes
    ----------
    values : dict of str to (ndarray, slice or None)
        Initial value of each hyperparameter, and its slice of theta, or None where it
        is fixed.
    name : str
        The first hyperparameter, the only one of a constant or a noise level.
    end : int
        Index in theta of the next leaf's first hyperparameter.
    custom : bool
        Whether the kernel is of the user's own class.
    variance : float
        Mean initial K(x, x) of a translated kernel over standardised features.
    points : tuple or None
        The last points Z, their units, and the result of `_scaled`, as a model predicts
        from the same ones.
    evaluator : callable
        ``evaluator(theta, X, Z, scale)`` returns ``evaluate(rows, columns)``; see the
        module.
    """

    def __init__(self, kernel, n_features, position, columns=ALL):
        # By exact type: a subclass may compute something else.
        self.custom = type(kernel) not in _TRANSLATED
        _check(kernel, n_features)
        self.kernel, self.columns, self.values = kernel, columns, {}
        self.start = position
        for hyper in kernel.hyperparameters:
            where = None
            value = np.ravel(getattr(kernel, hyper.name)).astype(float)
            if not hyper.fixed:
                where = slice(position, position + hyper.n_elements)
                position = where.stop
            self.values[hyper.name] = value, where
        self.end = position
        linear = type(kernel) is gpk.DotProduct
        self.variance = n_features + kernel.sigma_0**2 if linear else 1.0
        self.name, self.points = next(iter(self.values), None), None
        special = {gpk.DotProduct: _dot_product, gpk.ExpSineSquared: _periodic}
        default = _custom if self.custom else _stationary
        self.evaluator = functools.partial(special.get(type(kernel), default), self)

    def diagonal(self, theta, X):
        """Return the diagonal of the kernel's matrix, of shape (n,), or 1."""
        if not (self.custom or isinstance(self.kernel, gpk.DotProduct)):
            return 1.0
        X = X[:, self.columns]
        if self.custom:
            return self.at(theta).diag(X)
        sigma, _ = self.get("sigma_0", theta)
        return sigma**2 + np.einsum("ij,ij->i", X, X)

    def metric(self, theta):
        """Return the curvature by each column of 2 (1 - k) of near samples, or None."""
        kernel = self.kernel
        if isinstance(kernel, gpk.DotProduct):
            return 1.0
        if self.custom or isinstance(kernel, gpk.ExpSineSquared):
            return None
        nu = getattr(kernel, "nu", np.inf)
        factor = {0.5: 1.0, 1.5: 1.5, 2.5: 5.0 / 6.0}.get(nu, 0.5)
        return 2.0 * factor / self.get("length_scale", theta)[0] ** 2

    def at(self, theta):
        """Return the scikit-learn kernel with its values in ``theta``."""
        return self.kernel.clone_with_theta(theta[self.start : self.end])

    def get(self, name, theta):
        """Return a hyperparameter's value (a vector or a float) and its slice."""
        value, where = self.values[name]
        if where is not None:
            value = np.exp(theta[where])
        return value if value.size > 1 else value.item(), where

    def pull_diagonal(self, theta, X, G, out):
        """Add the derivatives of `diagonal`."""
        if self.custom:
            raise _no_gradient(self.kernel)
        if not isinstance(self.kernel, gpk.DotProduct):
            return
        sigma, where = self.get("sigma_0", theta)
        if where is not None:
            out.theta[where] += 2.0 * sigma**2 * np.sum(G)
        if out.X is not None:
            some = X[:, self.columns]
            out.X[:, self.columns] += 2.0 * np.reshape(G, (-1, 1)) * some


@dataclasses.dataclass
class Gradients:
    """Accumulated derivatives by theta and, unless they are None, by X and Z."""

    theta: np.ndarray
    X: np.ndarray | None = None
    Z: np.ndarray | None = None


def inner(A, B):
    """Return the sum of the products of elements; B may be a constant."""
    if np.ndim(B) == 0:
        return B * np.sum(A)
    return np.einsum("ij,ij->", A, B) if A.ndim == 2 else np.einsum("i,i->", A, B)


def _check(kernel, n_features):
    """Raise ValueError if a kernel cannot be translated."""
    if type(kernel) in (gpk.CompoundKernel, gpk.PairwiseKernel):
        raise ValueError(
            f"Got kernel {kernel} of type {type(kernel).__name__}, expected sums, "
            "products and integer powers of "
            f"{[kind.__name__ for kind in _TRANSLATED]}, or of kernels of your own "
            "class."
        )
    if type(kernel) not in _TRANSLATED:
        return
    if isinstance(kernel, gpk.Matern) and kernel.nu not in _MATERN_NU:
        raise ValueError(
            f"Got kernel {kernel} with nu={kernel.nu}, expected nu in "
            f"{list(_MATERN_NU)}, the values with a closed form."
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


def _no_gradient(kernel):
    """Return the error of a kernel of the user's own where points or features move."""
    return ValueError(
        f"Got kernel {kernel} of type {type(kernel).__name__}, whose derivatives by "
        "the samples are not known. Pass optimize_inducing_points=False and "
        f"fine_tuning=None, or a kernel of {[kind.__name__ for kind in _TRANSLATED]}."
    )


def _custom(leaf, theta, X, Z, scale):
    """Evaluate a kernel of the user's own class by its ``__call__``.

    Its derivatives are known by theta alone, and between the samples of one array:
    an array of shape (n, n, n_theta).
    """
    kernel, gradient = leaf.at(theta), []
    some, others = X[:, leaf.columns], Z[:, leaf.columns]

    def evaluate(rows, columns):
        K = scale * kernel(some[rows], others[columns])

        def pull(G, out):
            if X is not Z or out.X is not None:
                raise _no_gradient(kernel)
            if leaf.end > leaf.start:
                if not gradient:
                    gradient.append(kernel(some, eval_gradient=True)[1])
                by_theta = gradient[0][rows, columns]
                amount = np.einsum("ij,ijp->p", G, by_theta)
                out.theta[leaf.start : leaf.end] += scale * amount

        return K, pull

    return evaluate


def _dot_product(leaf, theta, X, Z, scale):
    """Evaluate sigma_0^2 + x.z."""
    sigma, where = leaf.get("sigma_0", theta)
    some, others = X[:, leaf.columns], Z[:, leaf.columns]

    def evaluate(rows, columns):
        K = product(some[rows], others[columns].swapaxes(-1, -2), scale)
        K += scale * sigma**2

        def pull(G, out):
            if where is not None:
                out.theta[where] += 2.0 * scale * sigma**2 * np.sum(G)
            if out.X is not None:
                out.X[rows, leaf.columns] += scale * product(G, others[columns])
                out.Z[columns, leaf.columns] += scale * product(G.T, some[rows])

        return K, pull

    return evaluate


def _periodic(leaf, theta, X, Z, scale):
    """Evaluate exp(-2 sin^2(pi |x - z| / p) / l^2) of one feature."""
    length, length_where = leaf.get("length_scale", theta)
    period, period_where = leaf.get("periodicity", theta)
    some, others = X[:, leaf.columns], Z[:, leaf.columns]

    def evaluate(rows, columns):
        angle = np.pi / period * (some[rows] - others[columns].T)
        sine = np.sin(angle)
        K = scale * np.exp(-2.0 * (sine / length) ** 2)

        def pull(G, out):
            GK = G * K
            if length_where is not None:
                out.theta[length_where] += np.sum(GK * (2.0 * sine / length) ** 2)
            # d log K / d angle
            GK *= -2.0 / length**2 * np.sin(2.0 * angle)
            if period_where is not None:
                out.theta[period_where] -= np.sum(GK * angle)
            if out.X is not None:
                GK *= np.pi / period
                out.X[rows, leaf.columns] += GK.sum(axis=1)[:, None]
                out.Z[columns, leaf.columns] -= GK.sum(axis=0)[:, None]

        return K, pull

    return evaluate


def _stationary(leaf, theta, X, Z, scale):
    """Evaluate a function of S, the squared distance of samples over length scales.

    The samples are scaled further, to the units of the shortest formula.
    """
    kernel = leaf.kernel
    length, where = leaf.get("length_scale", theta)
    alpha, alpha_where = None, None
    # S over the squared distance of samples over their length scales
    nu = getattr(kernel, "nu", np.inf)
    squared_unit = 0.5 if nu == np.inf else 2.0 * nu
    if isinstance(kernel, gpk.RationalQuadratic):
        alpha, alpha_where = leaf.get("alpha", theta)
        squared_unit = 0.5 / alpha
    unit = length / np.sqrt(squared_unit)
    ard = where is not None and np.ndim(length) == 1

    kept = leaf.points  # read once, as another thread may replace it
    if kept is None or kept[0] is not Z or not np.array_equal(kept[1], unit):
        leaf.points = kept = Z, unit, _scaled(Z[:, leaf.columns] / unit)
    Zs, origin, norms_z, right = kept[2]
    Xs = Zs if X is Z else X[:, leaf.columns] / unit - origin
    norms_x = norms_z if X is Z else np.einsum("ij,ij->i", Xs, Xs)
    left = np.column_stack([Xs, norms_x, np.ones(len(X))])
    # Matern 1/2 has a kink at zero, which turns rounding errors between equal samples
    # into slopes.
    kink = getattr(kernel, "nu", None) == 0.5

    def evaluate(rows, columns):
        if isinstance(rows, slice):
            S = product(left[rows], right[columns].T)
            own, others = norms_x[rows], norms_z[columns]
        else:
            S, own, others = _squared_distances(Xs[rows], Zs[columns])
        if kink:
            larger = np.maximum(own[..., None], others[..., None, :])
            S[1e-14 * larger > S] = 0.0
        else:
            # The squares of far samples overflow: k is zero well before.
            np.clip(S, 0.0, 1e300, out=S)
        K, numerator, denominator, factor = _profile(kernel, alpha, S, scale)
        isotropic = S if where is not None and not ard else None
        by_alpha = S if alpha_where is not None else None

        def pull(G, out):
            M = numerator * G
            if denominator is not None:
                M /= denominator
            if by_alpha is not None:
                change = by_alpha / (1.0 + by_alpha) - np.log1p(by_alpha)
                change *= K
                out.theta[alpha_where] += alpha * inner(G, change)
            if isotropic is not None:
                out.theta[where] -= 2.0 * factor * inner(M, isotropic)
            if not ard and out.X is None:
                return
            some = Xs[rows]
            # -2 sum_j M_ij z_j and sum_j M_ij by one matrix product
            MZ = product(M, right[columns])
            MZ, by_row, by_column = MZ[:, :-2], MZ[:, -2], M.sum(axis=0)
            if ard:
                # sum_ij M_ij (x_ik - z_jk)^2 for every feature k
                by_feature = product(some.T**2, by_row)
                by_feature += product(Zs[columns].T ** 2, by_column)
                by_feature += np.einsum("ik,ik->k", some, MZ)
                out.theta[where] -= 2.0 * factor * by_feature
            if out.X is not None:
                by_X = factor / unit * (2.0 * by_row[:, None] * some + MZ)
                out.X[rows, leaf.columns] += by_X
                MX = product(M.T, some)
                MX -= by_column[:, None] * Zs[columns]
                out.Z[columns, leaf.columns] -= 2.0 * factor / unit * MX

        return K, pull

    return evaluate


def _scaled(Zs):
    """Return points about an origin, that, their squared norms, and a factor of S.

    The origin is near the points: |x - z|^2 = |x|^2 + |z|^2 - 2 x.z cancels less.
    """
    # The median of some, as one far point moves a mean far
    origin = np.median(Zs[:: len(Zs) // 32 + 1], axis=0)
    Zs = Zs - origin
    norms = np.einsum("ij,ij->i", Zs, Zs)
    return Zs, origin, norms, np.column_stack([-2.0 * Zs, np.ones(len(Zs)), norms])


def _squared_distances(A, B):
    """Return squared distances of rows of two stacks of matrices, and squared norms.

    The origin is the last row of A, as rows of a stack are near each other.
    """
    origin = A[:, -1:]
    A, B = A - origin, B - origin
    own, others = (np.einsum("nij,nij->ni", C, C) for C in (A, B))
    S = product(A, B.swapaxes(1, 2), -2.0)
    S += own[:, :, None]
    S += others[:, None]
    return S, own, others


def _profile(kernel, alpha, S, scale):
    """Return k(S), and dk / dS as numerator, denominator (None: 1) and factor."""
    if isinstance(kernel, gpk.RationalQuadratic):
        base = 1.0 + S
        K = scale * base**-alpha
        return K, K, base, -alpha
    nu = kernel.nu if isinstance(kernel, gpk.Matern) else np.inf
    log_scale = np.log(scale)
    if nu == np.inf:
        K = np.subtract(log_scale, S)
        np.exp(K, out=K)
        return K, K, None, -1.0
    s = np.sqrt(S)
    decay = np.subtract(log_scale, s)
    np.exp(decay, out=decay)
    if nu == 0.5:
        s[s == 0.0] = np.inf  # the kink has no slope: equal samples do not move apart
        return decay, decay, s, -0.5
    s += 1.0
    s *= decay
    if nu == 1.5:  # (1 + s) exp(-s)
        return s, decay, None, -0.5
    # (1 + s + s^2 / 3) exp(-s)
    K = S / 3.0
    K *= decay
    K += s
    return K, s, None, -1.0 / 6.0
