"""scikit-learn kernels as fast covariance functions with adjoints, in NumPy.

``kernel.theta`` (logarithms of the free hyperparameters) and ``kernel.bounds`` of
scikit-learn are the parameters everywhere, so "fixed" and bounds are honoured, and the
fitted kernel is ``kernel.clone_with_theta(theta)``. A kernel is read once, as a sum of
terms: each is a product of constants and of elementary kernels. White noise is one
number, the observation noise, whatever constants multiply it. The same kernels in TFP
(:mod:`~sklearn_unlocknn._gp.tfp_kernels`) are the independent check.
"""

import itertools
import math
import operator
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.gaussian_process import kernels as gpk

from ..kernels import OnFeatures, TFPKernel
from ..kernels._on_features import find_columns
from .kernel_blocks import ALL, Gradients, Leaf, inner

# Noise variance of a kernel without any, and its bounds
ADDED_NOISE = 0.01, (1e-6, 10.0)
# Rows of a block of K(X, X), whose temporaries stay in the processor's cache: 2 to 3
# times faster than all rows at once.
BLOCK_ROWS = 128


class Term(NamedTuple):
    """A product of constants (and noise levels) and of elementary kernels.

    Attributes
    ----------
    scalars : tuple of Leaf
        Constant kernels and white noise.
    leaves : tuple of Leaf
        Elementary kernels; a power repeats its base.
    noise : bool
        Whether white noise is among the factors: the term is then a noise variance.
    """

    scalars: tuple = ()
    leaves: tuple = ()
    noise: bool = False

    def times(self, other, kernel):
        """Multiply two terms of a kernel."""
        leaves, noise = self.leaves + other.leaves, self.noise or other.noise
        if noise:
            for leaf in leaves:
                if leaf.custom or isinstance(leaf.kernel, gpk.DotProduct):
                    raise ValueError(
                        f"Got kernel {kernel}: a WhiteKernel times a "
                        f"{type(leaf.kernel).__name__} is noise that varies with x, "
                        "expected one noise level. Add the WhiteKernel outside the "
                        "product or the power."
                    )
            leaves = ()  # stationary kernels are 1 at distance 0
        return Term(self.scalars + other.scalars, leaves, noise)

    def coefficient(self, theta):
        """Return the product of the scalars."""
        value = 1.0
        for leaf in self.scalars:
            value *= leaf.get(leaf.name, theta)[0]
        return value

    def add_to(self, gradient, G, value):
        """Add the derivatives by the scalars, given G, that by the term's ``value``."""
        amount = None
        for leaf in self.scalars:
            where = leaf.values[leaf.name][1]
            if where is not None:
                amount = inner(G, value) if amount is None else amount
                gradient[where] += amount


def read_terms(kernel, n_features, leaves, columns=ALL):
    """Read a kernel as a sum of terms.

    Parameters
    ----------
    kernel : sklearn.gaussian_process.kernels.Kernel
        The kernel.
    n_features : int
        Number of columns of the data.
    leaves : list of Leaf
        Those read so far; the kernel's own are added, in the order of theta.
    columns : slice or list of int, default=ALL
        Columns of the data that the kernel is a function of.

    Returns
    -------
    terms : list of Term
        The summands.
    """
    if isinstance(kernel, gpk.KernelOperator):
        left = read_terms(kernel.k1, n_features, leaves, columns)
        right = read_terms(kernel.k2, n_features, leaves, columns)
        if isinstance(kernel, gpk.Sum):
            return left + right
        terms = []
        for a, b in itertools.product(left, right):
            terms.append(a.times(b, kernel))
        return terms
    if isinstance(kernel, gpk.Exponentiation):
        exponent = kernel.exponent
        if exponent < 1 or exponent != int(exponent):
            raise ValueError(
                f"Got kernel {kernel} with exponent {exponent}, expected a positive "
                "integer: other powers of a kernel need not be positive semi-definite."
            )
        power = base = read_terms(kernel.kernel, n_features, leaves, columns)
        for _ in range(int(exponent) - 1):
            power = [a.times(b, kernel) for a in power for b in base]
        return power
    if isinstance(kernel, OnFeatures):
        columns = find_columns(kernel.columns, n_features)
        count = len(np.arange(n_features)[columns])
        return read_terms(kernel.kernel, count, leaves, columns)
    leaf = Leaf(kernel, n_features, leaves[-1].end if leaves else 0, columns)
    leaves.append(leaf)
    if isinstance(kernel, gpk.ConstantKernel | gpk.WhiteKernel):
        return [Term((leaf,), noise=isinstance(kernel, gpk.WhiteKernel))]
    return [Term(leaves=(leaf,))]


class Covariance:
    """A scikit-learn kernel, evaluated and differentiated in float64.

    White noise (``WhiteKernel``) is split off as the observation noise. Where the
    kernel has none, a free noise level is added: ``template`` is then
    ``kernel + WhiteKernel``.

    Parameters
    ----------
    kernel : sklearn.gaussian_process.kernels.Kernel
        The kernel.
    n_features : int
        Number of columns of the data.
    has_noise : bool, default=None
        False where the kernel is the template of one without noise; None: whether the
        kernel has noise.

    Attributes
    ----------
    template : sklearn.gaussian_process.kernels.Kernel
        A copy of the kernel, with its noise.
    has_noise : bool
        Whether the noise was part of the given kernel.
    theta : ndarray of shape (n_theta,)
        Initial log hyperparameters.
    bounds : ndarray of shape (n_theta, 2)
        Bounds of the log hyperparameters.
    vectors : list of slice
        Parts of ``theta`` with one hyperparameter for each feature.
    noise_index : list of int
        Indices into ``theta`` of free noise levels.
    amplitudes : dict of int to float
        Indices into ``theta`` of free constants, and the initial standard deviation
        over standardised features of the summand that each multiplies, of products
        that of independent factors.
    lengths : list of slice
        Parts of ``theta`` with length scales.
    scale_priors : bool
        Whether noise, amplitudes and length scales have priors, of a standardised
        target; set by the head.
    custom : bool
        Whether a kernel of the user's own class, not of TFP, is part of it.
    translated : bool
        Whether all parts are kernels that are computed here, which their parameters
        determine.

    Raises
    ------
    ValueError
        If the kernel cannot be translated; the message names it.
    """

    def __init__(self, kernel, n_features, has_noise=None):
        leaves = []
        terms = read_terms(kernel, n_features, leaves)
        noisy = True in map(operator.attrgetter("noise"), terms)
        self.has_noise = noisy if has_noise is None else has_noise
        if not noisy:
            white = gpk.WhiteKernel(*ADDED_NOISE)
            terms += read_terms(white, n_features, leaves)
            kernel = kernel + white
        self.template, self.n_features = clone(kernel), n_features
        self.scale_priors = False
        self._terms, self._noise_terms, self._uses = [], [], {}
        self.vectors, self.noise_index, self.custom = [], [], False
        self.amplitudes, self.lengths = {}, []
        self.translated = not any(leaf.custom for leaf in leaves)
        for term in terms:
            (self._noise_terms if term.noise else self._terms).append(term)
            for leaf in term.leaves:
                self._uses[leaf] = self._uses.get(leaf, 0) + 1
        for term in self._terms:
            variance = math.prod(leaf.variance for leaf in term.leaves)
            for leaf in term.scalars:
                part = leaf.values[leaf.name][1]
                if part is not None:
                    self.amplitudes[part.start] = math.sqrt(variance)
        for leaf in leaves:
            if leaf.custom and not isinstance(leaf.kernel, TFPKernel):
                self.custom = True
            for name, (_, part) in leaf.values.items():
                if part is None:
                    continue
                if not (part.stop - part.start == 1 or leaf.custom):
                    self.vectors.append(part)
                if name == "length_scale":
                    self.lengths.append(part)
                if isinstance(leaf.kernel, gpk.WhiteKernel):
                    self.noise_index.append(part.start)
        self.bounds = kernel.bounds.reshape(-1, 2)
        self.theta = kernel.theta
        # glibc returns temporaries of a block to the system and faults them in
        # again, unless a larger array was freed before: half the time of a fit.
        np.empty(2**25 - 2**16, dtype=np.uint8)

    def __reduce__(self):
        return Covariance, (self.template, self.n_features, self.has_noise)

    def fitted_kernel(self, theta):
        """Return the scikit-learn kernel at ``theta``, with a noise if it had one."""
        kernel = self.template.clone_with_theta(np.asarray(theta))
        return kernel if self.has_noise else kernel.k1

    def noise(self, theta):
        """Return the observation noise variance."""
        total = 0.0
        for term in self._noise_terms:
            total += term.coefficient(theta)
        return float(total)

    def noise_gradient(self, theta):
        """Return the derivative of the noise variance by ``theta``."""
        gradient = np.zeros(len(theta))
        for term in self._noise_terms:
            term.add_to(gradient, 1.0, term.coefficient(theta))
        return gradient

    def matrix(self, theta, X, Z):
        """Return K(X, Z) without noise, a C-ordered array of shape (n, m)."""
        if not len(X) or not len(Z):
            return np.zeros((len(X), len(Z)))
        return self._evaluator(theta, X, Z)(ALL, ALL)[0]

    def vjp(self, theta, X, Z):
        """Return K(X, Z) and the function that pulls cotangents back, as ``jax.vjp``.

        Returns
        -------
        K : ndarray of shape (n, m)
            As :meth:`matrix`.
        pull_back : callable
            ``pull_back(cotangent, diagonal_cotangent=None)``: the derivatives of an
            objective by ``theta``, X and Z, given those by K and by diag K(X, X). Valid
            until K is changed.
        """
        K, pull = self._evaluator(theta, X, Z)(ALL, ALL)

        def pull_back(cotangent, diagonal_cotangent=None):
            out = Gradients(np.zeros(len(theta)), np.zeros_like(X), np.zeros_like(Z))
            pull(cotangent, out)
            if diagonal_cotangent is not None:
                self._pull_diagonal(theta, X, diagonal_cotangent, out)
            return out.theta, out.X, out.Z

        return K, pull_back

    def stack(self, theta, X, rows):
        """Return K(X[some], X[some]) for each row ``some`` of indices of shape (n, m).

        Of shape (n, m, m), for a kernel with a :meth:`metric`.
        """
        return self._evaluator(theta, X, X)(rows, rows)[0]

    def lower(self, theta, X, pulls=None):
        """Return the lower triangle of K(X, X), Fortran-ordered, computed in blocks.

        Above the diagonal the array is zero. A list passed as ``pulls`` receives the
        ``pull`` of each block.
        """
        K = np.empty((len(X), len(X)), order="F")
        evaluate = self._evaluator(theta, X, X) if len(X) else None
        for start in range(0, len(X), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            value, pull = evaluate(block, slice(start, None))
            K[:start, block] = 0.0
            K[start:, block] = value.T
            K[block, block] *= np.tri(len(K[block]))
            if pulls is not None:
                pulls.append(pull)
        # Distances of samples to themselves are zero, not rounding errors.
        K[np.diag_indices_from(K)] = self.diagonal(theta, X)
        return K

    def lower_vjp(self, theta, X):
        """Return :meth:`lower` and the function that pulls its cotangent back.

        ``pull_back(cotangent)`` returns the derivative by ``theta``. The cotangent is
        zero above the diagonal.
        """
        K = self.lower(theta, X, pulls := [])

        def pull_back(cotangent):
            out = Gradients(np.zeros(len(theta)))
            for i, pull in enumerate(pulls):
                start = i * BLOCK_ROWS
                pull(cotangent[start:, start : start + BLOCK_ROWS].T, out)
            return out.theta

        return K, pull_back

    def diagonal(self, theta, X):
        """Return diag K(X, X) without noise, of shape (n,)."""
        total = np.zeros(len(X))
        for term in self._terms:
            value = term.coefficient(theta)
            for leaf in term.leaves:
                value = value * leaf.diagonal(theta, X)
            total += value
        return total

    def metric(self, theta):
        """Return weights of features, by which near samples have about their distance.

        Returns
        -------
        weights : ndarray of shape (d,) or None
            k(x, x) + k(z, z) - 2 k(x, z) is about the sum of ``weights * (x - z)^2``.
            None where a factor has no such form.
        """
        total = np.zeros(self.n_features)
        for term in self._terms:
            for leaf in term.leaves:
                curvature = leaf.metric(theta)
                dot = isinstance(leaf.kernel, gpk.DotProduct)
                if curvature is None or (dot and len(term.leaves) > 1):
                    return None
                total[leaf.columns] += term.coefficient(theta) * curvature
        return total if total.any() else None

    def _pull_diagonal(self, theta, X, cotangent, out):
        """Add the derivatives, given that by diag K(X, X)."""
        for term in self._terms:
            coefficient = term.coefficient(theta)
            diagonals = [leaf.diagonal(theta, X) for leaf in term.leaves]
            value = coefficient
            for diagonal in diagonals:
                value = value * diagonal
            term.add_to(out.theta, cotangent, value)
            for i, leaf in enumerate(term.leaves):
                slope = cotangent * coefficient
                for other in diagonals[:i] + diagonals[i + 1 :]:
                    slope = slope * other
                leaf.pull_diagonal(theta, X, slope, out)

    def tfp(self, theta):
        """Return the latent kernel at ``theta`` as a TFP object."""
        from .tfp_kernels import translate

        return translate(self.template.clone_with_theta(np.asarray(theta)))

    def _evaluator(self, theta, X, Z):
        """Return ``evaluate(rows, columns)``: a block K(X[rows], Z[columns]), ``pull``.

        ``pull(G, out)`` adds to ``out`` the derivatives of an objective by theta, X and
        Z, given its derivative G by the block.
        """
        plan, parts = [], dict.fromkeys(self._uses)
        for term in self._terms:
            coefficient = term.coefficient(theta)
            # A leaf that is a term by itself takes the coefficient inside: a pass less.
            inside = len(term.leaves) == 1 and self._uses[term.leaves[0]] == 1
            inside = inside and coefficient > 0.0
            plan.append((term, coefficient, inside))
            for leaf in term.leaves:
                scale = coefficient if inside else 1.0
                parts[leaf] = parts[leaf] or leaf.evaluator(theta, X, Z, scale)

        def evaluate(rows, columns):
            done, values, total = {}, [], 0.0
            for leaf, part in parts.items():
                done[leaf] = part(rows, columns)
            for term, coefficient, inside in plan:
                value = done[term.leaves[0]][0] if inside else coefficient
                for leaf in () if inside else term.leaves:
                    value = value * done[leaf][0]
                values.append(value)
                total = value if len(values) == 1 else total + value
            if np.ndim(total) == 0:
                total = np.full((len(X[rows]), len(Z[columns])), total)

            def pull(G, out):
                by_leaf = {}
                for (term, coefficient, inside), value in zip(
                    plan, values, strict=True
                ):
                    term.add_to(out.theta, G, value)
                    for place, leaf in enumerate(term.leaves):
                        slope = G if inside else G * coefficient
                        for other in term.leaves[:place] + term.leaves[place + 1 :]:
                            slope = slope * done[other][0]
                        before = by_leaf.get(leaf)
                        by_leaf[leaf] = slope if before is None else before + slope
                for leaf, slope in by_leaf.items():
                    done[leaf][1](slope, out)

            return total, pull

        return evaluate
