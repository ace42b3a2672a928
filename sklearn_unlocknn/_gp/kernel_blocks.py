"""Blocks of a scikit-learn kernel's matrix, and their adjoints.

``evaluator(node, theta, X, Z)`` does once what all blocks share, rows over length
scales above all, and returns ``evaluate(rows, columns)``. That gives a part: the values
K(X[rows], Z[columns]), an array or a constant, and ``pull(G, out)``, which adds to
``out`` what the derivative G of an objective by these values says about ``theta``, X
and Z. White noise has no evaluator: it is on the diagonal alone.

Passes over the elements set the pace beside the matrix products, so there are few:
constant factors go inside the exponentials, squared norms of rows inside the products.
"""

import numpy as np
from sklearn.gaussian_process import kernels as gpk

from .linalg import outer_product, product

ALL = slice(None)


class Node:
    """A kernel read once: scikit-learn's introspection costs more than a block does.

    ``values`` maps the names of a leaf's hyperparameters to (value, slice of theta):
    theta's values count, and the slice is None where it is fixed.
    """

    def __init__(self, kernel, position=0):
        self.kernel, self.children, self.values = kernel, (), {}
        if isinstance(kernel, gpk.KernelOperator):
            left = Node(kernel.k1, position)
            self.children = (left, Node(kernel.k2, left.end))
        elif isinstance(kernel, gpk.Exponentiation):
            self.children = (Node(kernel.kernel, position),)
        else:
            for hyper in kernel.hyperparameters:
                where = None
                value = np.ravel(getattr(kernel, hyper.name)).astype(float)
                if not hyper.fixed:
                    where = slice(position, position + hyper.n_elements)
                    position = where.stop
                self.values[hyper.name] = value, where
        self.end = self.children[-1].end if self.children else position

    def free(self):
        """Yield names of free hyperparameters and their slices, in theta's order."""
        for child in self.children:
            yield from child.free()
        for name, (_, where) in self.values.items():
            if where is not None:
                yield name, where

    def get(self, name, theta):
        """Return a hyperparameter's value (a vector or a float) and its slice."""
        value, where = self.values[name]
        if where is not None:
            value = np.exp(theta[where])
        return value if value.size > 1 else value.item(), where


class Gradients:
    """Accumulates derivatives by theta and, if asked, by X and Z."""

    def __init__(self, n_theta, X, Z, wrt_inputs):
        self.theta, self.X, self.Z = np.zeros(n_theta), None, None
        if wrt_inputs:
            self.X, self.Z = np.zeros_like(X), np.zeros_like(Z)


def evaluator(node, theta, X, Z):
    """Return ``evaluate(rows, columns)`` for blocks of K(X, Z); None for white noise.

    Parameters
    ----------
    node : Node
        The kernel.
    theta : ndarray of shape (n_theta,)
        Log hyperparameters.
    X : ndarray of shape (n, d)
        Rows, n > 0.
    Z : ndarray of shape (m, d)
        Columns, m > 0; X itself where they are the same.
    """

    def leaf(node, scale):
        if isinstance(node.kernel, gpk.DotProduct):
            return _dot_product(node, theta, X, Z, scale)
        if isinstance(node.kernel, gpk.ExpSineSquared):
            return _periodic(node, theta, X, Z, scale)
        return _stationary(node, theta, X, Z, scale)

    return _evaluator(node, theta, leaf)


def diagonal(node, theta, X):
    """Return the part diag K(X, X); None for white noise."""

    def leaf(node, scale):
        if isinstance(node.kernel, gpk.DotProduct):
            return lambda: _dot_product_diagonal(node, theta, X, scale)
        return lambda: (scale, lambda G, out: None)

    evaluate = _evaluator(node, theta, leaf)
    return None if evaluate is None else evaluate()


def _evaluator(node, theta, leaf, scale=1.0):
    """Return what evaluates a kernel times ``scale``; ``leaf`` does so for leaves."""
    kernel = node.kernel
    if isinstance(kernel, gpk.WhiteKernel):
        return None
    if isinstance(kernel, gpk.ConstantKernel):
        return _constant(node, theta, scale)
    if not node.children:
        return leaf(node, scale)
    if isinstance(kernel, gpk.Sum):
        return _sum(*(_evaluator(child, theta, leaf, scale) for child in node.children))
    if isinstance(kernel, gpk.Exponentiation):
        return _power(_evaluator(*node.children, theta, leaf), kernel.exponent, scale)
    left, right = node.children
    if isinstance(right.kernel, gpk.ConstantKernel):
        left, right = right, left
    if isinstance(left.kernel, gpk.ConstantKernel):
        constant, where = left.get("constant_value", theta)
        if scale * constant > 0.0:  # it has a logarithm
            return _scaled(_evaluator(right, theta, leaf, scale * constant), where)
    return _product(
        _evaluator(left, theta, leaf, scale), _evaluator(right, theta, leaf)
    )


def _inner(A, B):
    """Return the sum of the products of elements; B may be a constant."""
    if np.ndim(B) == 0:
        return B * np.sum(A)
    return np.einsum("ij,ij->", A, B) if A.ndim == 2 else np.einsum("i,i->", A, B)


def _constant(node, theta, scale):
    """Return a constant."""
    constant, where = node.get("constant_value", theta)
    value = scale * constant

    def pull(G, out):
        if where is not None:
            out.theta[where] += _inner(G, value)

    return lambda *block: (value, pull)


def _scaled(base, where):
    """Give a kernel the constant factor it already holds, at ``where`` in theta."""
    if base is None or where is None:
        return base

    def evaluate(*block):
        value, base_pull = base(*block)

        def pull(G, out):
            out.theta[where] += _inner(G, value)
            base_pull(G, out)

        return value, pull

    return evaluate


def _sum(left, right):
    """Add two kernels."""
    if left is None or right is None:
        return right if left is None else left

    def evaluate(*block):
        (one, pull_one), (other, pull_other) = left(*block), right(*block)

        def pull(G, out):
            pull_one(G, out)
            pull_other(G, out)

        return one + other, pull

    return evaluate


def _product(left, right):
    """Multiply two kernels."""
    if left is None or right is None:
        return None

    def evaluate(*block):
        (one, pull_one), (other, pull_other) = left(*block), right(*block)

        def pull(G, out):
            pull_one(G * other, out)
            pull_other(G * one, out)

        return one * other, pull

    return evaluate


def _power(base, exponent, scale):
    """Raise a kernel to an integer power."""
    if base is None:
        return None
    exponent = int(exponent)

    def evaluate(*block):
        value, base_pull = base(*block)

        def pull(G, out):
            base_pull(scale * exponent * G * value ** (exponent - 1), out)

        return scale * value**exponent, pull

    return evaluate


def _dot_product(node, theta, X, Z, scale):
    """Evaluate sigma_0^2 + x.z."""
    sigma, where = node.get("sigma_0", theta)
    left = np.column_stack([X, np.full(len(X), sigma)])
    right = left if X is Z else np.column_stack([Z, np.full(len(Z), sigma)])

    def evaluate(rows, columns):
        def pull(G, out):
            if where is not None:
                out.theta[where] += 2.0 * scale * sigma**2 * np.sum(G)
            if out.X is not None:
                out.X[rows] += scale * product(G, Z[columns])
                out.Z[columns] += scale * product(G.T, X[rows])

        return outer_product(left[rows], right[columns], scale), pull

    return evaluate


def _dot_product_diagonal(node, theta, X, scale):
    """Return the part sigma_0^2 + x.x of every row."""
    sigma, where = node.get("sigma_0", theta)

    def pull(G, out):
        if where is not None:
            out.theta[where] += 2.0 * scale * sigma**2 * np.sum(G)
        if out.X is not None:
            out.X += 2.0 * scale * np.reshape(G, (-1, 1)) * X

    return scale * (sigma**2 + np.einsum("ij,ij->i", X, X)), pull


def _periodic(node, theta, X, Z, scale):
    """Evaluate exp(-2 sin^2(pi |x - z| / p) / l^2) of one feature."""
    length, length_where = node.get("length_scale", theta)
    period, period_where = node.get("periodicity", theta)

    def evaluate(rows, columns):
        angle = np.pi / period * (X[rows] - Z[columns].T)
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
                out.X[rows, 0] += np.pi / period * GK.sum(axis=1)
                out.Z[columns, 0] -= np.pi / period * GK.sum(axis=0)

        return K, pull

    return evaluate


def _stationary(node, theta, X, Z, scale):
    """Evaluate a function of the squared distance S of rows over their length scales.

    They are scaled further, to units in which the function is plainest.
    """
    kernel = node.kernel
    length, where = node.get("length_scale", theta)
    alpha, alpha_where = None, None
    if isinstance(kernel, gpk.RationalQuadratic):
        alpha, alpha_where = node.get("alpha", theta)
    unit = length / np.sqrt(_squared_unit(kernel, alpha))
    ard = where is not None and np.ndim(length) == 1
    Zs = Z / unit
    # |x - z|^2 = |x|^2 + |z|^2 - 2 x.z, about a common origin: it cancels less
    origin = Zs.mean(axis=0)
    Zs -= origin
    Xs = Zs if X is Z else X / unit - origin
    norms_z = np.einsum("ij,ij->i", Zs, Zs)
    norms_x = norms_z if X is Z else np.einsum("ij,ij->i", Xs, Xs)
    left = np.column_stack([Xs, norms_x, np.ones(len(X))])
    right = np.column_stack([-2.0 * Zs, np.ones(len(Z)), norms_z])
    # Matern 1/2 has a kink at zero, which turns what rounding leaves between equal rows
    # into slopes.
    rounding = 1e-14 * max(norms_x.max(), norms_z.max())
    lowest = rounding if getattr(kernel, "nu", None) == 0.5 else 0.0

    def evaluate(rows, columns):
        S = outer_product(left[rows], right[columns])
        if lowest:
            S[lowest > S] = 0.0
        else:
            np.maximum(S, 0.0, out=S)
        K, slope = _profile(kernel, alpha, S, scale)
        isotropic = S if where is not None and not ard else None
        by_alpha = S if alpha_where is not None else None

        def pull(G, out):
            M, factor = slope()
            M = M * G
            if by_alpha is not None:
                change = by_alpha / (1.0 + by_alpha) - np.log1p(by_alpha)
                change *= K
                out.theta[alpha_where] += alpha * _inner(G, change)
            if isotropic is not None:
                out.theta[where] -= 2.0 * factor * _inner(M, isotropic)
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
                out.X[rows] += factor / unit * (2.0 * by_row[:, None] * some + MZ)
                MX = product(M.T, some)
                MX -= by_column[:, None] * Zs[columns]
                out.Z[columns] -= 2.0 * factor / unit * MX

        return K, pull

    return evaluate


def _squared_unit(kernel, alpha):
    """Return S over r^2, r the distance of rows over their length scales."""
    if isinstance(kernel, gpk.RationalQuadratic):
        return 0.5 / alpha
    nu = kernel.nu if isinstance(kernel, gpk.Matern) else np.inf
    return 0.5 if nu == np.inf else 2.0 * nu


def _profile(kernel, alpha, S, scale):
    """Return k(S), and a function that gives dk / dS as an array and a factor."""
    if isinstance(kernel, gpk.RationalQuadratic):
        base = 1.0 + S
        K = scale * base**-alpha
        return K, lambda: (K / base, -alpha)
    nu = kernel.nu if isinstance(kernel, gpk.Matern) else np.inf
    log_scale = np.log(scale)
    if nu == np.inf:
        K = np.subtract(log_scale, S)
        np.exp(K, out=K)
        return K, lambda: (K, -1.0)
    s = np.sqrt(S)
    decay = np.subtract(log_scale, s)
    np.exp(decay, out=decay)
    if nu == 0.5:

        def slope():
            # The kink at r = 0 has no slope; rows at one point do not move apart.
            return np.divide(decay, s, out=np.zeros_like(s), where=s > 0), -0.5

        return decay, slope
    s += 1.0
    s *= decay
    if nu == 1.5:  # (1 + s) exp(-s)
        return s, lambda: (decay, -0.5)
    # (1 + s + s^2 / 3) exp(-s)
    K = S / 3.0
    K *= decay
    K += s
    return K, lambda: (s, -1.0 / 6.0)
