"""Kernels of blocks of features, and strings for scikit-learn's kernel objects."""

import numbers
import re

import numpy as np
from sklearn.base import clone
from sklearn.gaussian_process import kernels as gpk

__all__ = ["KERNEL_NAMES", "OnFeatures", "TFPKernel", "make_kernel"]

_MATERN_NU = {"matern12": 0.5, "matern32": 1.5, "matern52": 2.5}
KERNEL_NAMES = ("rbf", *_MATERN_NU, "rational_quadratic", "linear")
_ARD = "_ard"
_LENGTH_BOUNDS = (1e-2, 1e4)
_VARIANCE_BOUNDS = (1e-5, 1e4)
DEFAULT_KERNEL = "matern52_ard + matern32_ard + linear"
_SCALINGS = ("each", "together")
# Step of the logarithm of a hyperparameter in a central difference, whose error is
# about 1e-9 of the derivative.
_STEP = 1e-5


class OnFeatures(gpk.Kernel):
    """Apply a kernel to some of the features.

    Sums and products of such kernels give each block of features, such as a network's
    features and element fractions, a kernel of its own.

    Parameters
    ----------
    kernel : sklearn.gaussian_process.kernels.Kernel
        Kernel on these features; a vector of length scales has one for each.
    columns : slice, int, str, or list of int or str
        Columns of X by position, or by name: of a column of a frame, or of a block of
        features that the regressor has, such as "network" in
        :class:`~sklearn_unlocknn.MEGNetProbRegressor`.
    scaling : {"each", "together"}, default="each"
        "each" divides each column by its own standard deviation. "together" divides
        these columns by one number, the root of their mean variance, which is right for
        quantities of one unit: an element fraction is zero wherever the element is
        absent from the training data, and has no standard deviation of its own.

    Examples
    --------
    >>> from sklearn.gaussian_process.kernels import RBF, DotProduct
    >>> from sklearn_unlocknn.kernels import OnFeatures
    >>> effects = OnFeatures(DotProduct(0.0, "fixed"), slice(3, 90), "together")
    >>> OnFeatures(RBF(), [0, 1, 2]) + 0.1 * effects
    OnFeatures(RBF(length_scale=1), [0, 1, 2]) + 0.316**2 * OnFeatures(\
DotProduct(sigma_0=0), slice(3, 90), 'together')
    """

    def __init__(self, kernel, columns, scaling="each"):
        self.kernel = kernel
        self.columns = columns
        self.scaling = scaling

    def get_params(self, deep=True):
        """Return the parameters, and with ``deep`` those of the kernel.

        Parameters
        ----------
        deep : bool, default=True
            Whether to add the parameters of ``kernel``, as ``kernel__<name>``.

        Returns
        -------
        params : dict
        """
        params = {k: getattr(self, k) for k in ("kernel", "columns", "scaling")}
        if deep:
            inner = self.kernel.get_params().items()
            params.update((f"kernel__{name}", value) for name, value in inner)
        return params

    @property
    def hyperparameters(self):
        """Hyperparameters of the kernel."""
        return [
            gpk.Hyperparameter(
                f"kernel__{h.name}", h.value_type, h.bounds, h.n_elements
            )
            for h in self.kernel.hyperparameters
        ]

    @property
    def theta(self):
        """Logarithms of the free hyperparameters."""
        return self.kernel.theta

    @theta.setter
    def theta(self, theta):
        self.kernel.theta = theta

    @property
    def bounds(self):
        """Bounds of ``theta``."""
        return self.kernel.bounds

    def __eq__(self, other):
        return type(self) is type(other) and self.get_params() == other.get_params()

    __hash__ = None

    def __call__(self, X, Y=None, eval_gradient=False):
        """Return the kernel's matrix between columns of X and of Y.

        Parameters
        ----------
        X : ndarray of shape (n_samples_X, n_features)
            Left samples.
        Y : ndarray of shape (n_samples_Y, n_features), default=None
            Right samples; None: X.
        eval_gradient : bool, default=False
            Whether to return the gradient by ``theta`` too; only without Y.

        Returns
        -------
        K : ndarray of shape (n_samples_X, n_samples_Y)
        K_gradient : ndarray of shape (n_samples_X, n_samples_X, n_theta)
            Only with ``eval_gradient``.
        """
        Y = None if Y is None else self._of(Y)
        return self.kernel(self._of(X), Y, eval_gradient)

    def diag(self, X):
        """Return the diagonal of the matrix of X.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        K_diag : ndarray of shape (n_samples,)
        """
        return self.kernel.diag(self._of(X))

    def is_stationary(self):
        """Return whether the kernel depends on differences of samples alone."""
        return self.kernel.is_stationary()

    def __repr__(self):
        columns = self.columns
        if isinstance(columns, slice):
            columns = f"slice({columns.start}, {columns.stop})"
        else:
            columns = repr(columns)
        scaling = "" if self.scaling == "each" else f", {self.scaling!r}"
        return f"OnFeatures({self.kernel}, {columns}{scaling})"

    def _of(self, X):
        columns = find_columns(self.columns, np.shape(X)[1])
        return np.asarray(X)[:, columns]


class TFPKernel(gpk.Kernel):
    """Use a kernel of TensorFlow Probability as one of scikit-learn.

    A regressor wraps such a kernel by itself; wrap it to set bounds, or in a search, as
    scikit-learn cannot copy TFP's sums and products.

    Parameters
    ----------
    kernel : tfp.math.psd_kernels.PositiveSemidefiniteKernel
        Its positive parameters, such as amplitude and length scale, are the
        hyperparameters; exponents are fixed.
    parameter_bounds : (float, float), default=(1e-5, 1e5)
        Bounds of each hyperparameter.

    Notes
    -----
    The gradient is a central difference: slower than with scikit-learn's own kernels.

    Examples
    --------
    >>> from sklearn_unlocknn import VGPRegressor
    >>> from sklearn_unlocknn.kernels import TFPKernel
    >>> import tensorflow_probability as tfp
    >>> kernel = TFPKernel(tfp.math.psd_kernels.GeneralizedMatern(df=2.0))
    >>> model = VGPRegressor(kernel=kernel)
    """

    def __init__(self, kernel, parameter_bounds=(1e-5, 1e5)):
        self.kernel = kernel
        self.parameter_bounds = parameter_bounds

    def get_params(self, deep=True):
        """Return the parameters.

        Parameters
        ----------
        deep : bool, default=True
            Makes no difference.

        Returns
        -------
        params : dict
        """
        return {"kernel": self.kernel, "parameter_bounds": self.parameter_bounds}

    @property
    def hyperparameters(self):
        """The positive parameters as one vector, ``values``."""
        count = len(self.values)
        if not count:
            return []
        return [gpk.Hyperparameter("values", "numeric", self.parameter_bounds, count)]

    @property
    def values(self):
        """Values of the hyperparameters, of shape (n_values,)."""
        return np.concatenate([np.empty(0), *_positive_values(self.kernel)])

    @property
    def theta(self):
        """Logarithms of the hyperparameters."""
        return np.log(self.values)

    @theta.setter
    def theta(self, theta):
        self.kernel = _with_values(self.kernel, list(np.exp(theta)))

    @property
    def bounds(self):
        """Bounds of ``theta``."""
        return np.log(np.tile(self.parameter_bounds, (len(self.values), 1)))

    def __eq__(self, other):
        return self is other

    __hash__ = None

    def __call__(self, X, Y=None, eval_gradient=False):
        """Return the kernel's matrix of samples.

        Parameters
        ----------
        X : ndarray of shape (n_samples_X, n_features)
            Left samples.
        Y : ndarray of shape (n_samples_Y, n_features), default=None
            Right samples; None: X.
        eval_gradient : bool, default=False
            Whether to return the gradient by ``theta`` too.

        Returns
        -------
        K : ndarray of shape (n_samples_X, n_samples_Y)
        K_gradient : ndarray of shape (n_samples_X, n_samples_Y, n_theta)
            Only with ``eval_gradient``.
        """
        K = self._matrix(self.values, X, Y)
        if not eval_gradient:
            return K
        theta = self.theta
        gradient = np.empty((*K.shape, len(theta)))
        for i, step in enumerate(_STEP * np.eye(len(theta))):
            above, below = (
                self._matrix(np.exp(moved), X, Y)
                for moved in (theta + step, theta - step)
            )
            gradient[:, :, i] = (above - below) / (2.0 * _STEP)
        return K, gradient

    def _matrix(self, values, X, Y):
        kernel = _with_values(self.kernel, list(values))  # in float64
        X = np.asarray(X, dtype=np.float64)
        return kernel.matrix(X, X if Y is None else np.asarray(Y, float)).numpy()

    def diag(self, X):
        """Return the diagonal of the matrix of X.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        K_diag : ndarray of shape (n_samples,)
        """
        kernel = _with_values(self.kernel, list(self.values))
        X = np.asarray(X, dtype=np.float64)
        return kernel.apply(X, X).numpy()

    def is_stationary(self):
        """Return False, as TFP's kernels do not state it."""
        return False

    def __repr__(self):
        values = ", ".join(f"{value:.3g}" for value in self.values)
        return f"TFPKernel({self.kernel.name}, values=[{values}])"

    def __sklearn_clone__(self):
        return TFPKernel(self.kernel, self.parameter_bounds)  # TFP's is not modified

    def __reduce__(self):
        # Neither pickle nor deepcopy works for TFP's kernels of other kernels.
        return _revived, (_plain(self.kernel), self.parameter_bounds)


def _is_tfp(kernel):
    """Return whether an object is a TFP kernel; TFP is not imported."""
    return any(c.__name__ == "PositiveSemidefiniteKernel" for c in type(kernel).__mro__)


def _positive_values(kernel):
    """Yield the positive parameters of a TFP kernel and of those that it is made of."""
    for name, value in kernel.parameters.items():
        for part in value if isinstance(value, list) else [value]:
            if _is_tfp(part):
                yield from _positive_values(part)
        if _is_positive(kernel, name):
            yield np.ravel(np.asarray(value, dtype=np.float64))


def _is_positive(kernel, name):
    """Return whether a parameter of a TFP kernel is a hyperparameter."""
    if kernel.parameters[name] is None or name == "exponent":
        return False
    try:
        properties = type(kernel).parameter_properties()[name]
        return properties.default_constraining_bijector_fn().name == "softplus"
    except (NotImplementedError, KeyError, TypeError):  # a function, or a kernel
        return False


def _with_values(kernel, values):
    """Return a TFP kernel with other positive parameters, taken from a list."""
    changed = {}
    for name, value in kernel.parameters.items():
        if isinstance(value, list) and all(map(_is_tfp, value)):
            changed[name] = [_with_values(part, values) for part in value]
        elif _is_tfp(value):
            changed[name] = _with_values(value, values)
        elif _is_positive(kernel, name):
            shape = np.shape(value)
            taken = [values.pop(0) for _ in range(int(np.prod(shape)))]
            changed[name] = np.reshape(np.asarray(taken, dtype=np.float64), shape)
        elif isinstance(value, float) or hasattr(value, "dtype"):
            changed[name] = np.asarray(value, dtype=np.float64)
    return kernel.copy(**changed)


def _plain(kernel):
    """Return type and parameters of a TFP kernel, which can be pickled."""
    parameters = {}
    for name, value in kernel.parameters.items():
        if isinstance(value, list):
            value = [_plain(part) if _is_tfp(part) else part for part in value]
        parameters[name] = _plain(value) if _is_tfp(value) else value
    return "tfp", type(kernel), parameters


def _revived(plain, parameter_bounds):
    """Return the `TFPKernel` of a pickle."""

    def build(plain):
        if isinstance(plain, list):
            return [build(part) for part in plain]
        if not (isinstance(plain, tuple) and len(plain) == 3 and plain[0] == "tfp"):
            return plain
        return plain[1](**{name: build(value) for name, value in plain[2].items()})

    return TFPKernel(build(plain), parameter_bounds)


def find_columns(columns, n_features, blocks=None):
    """Return the ``columns`` of an `OnFeatures` as a slice or a list of int.

    Parameters
    ----------
    columns : slice, int, str, or list of int or str
        Columns, by position or by name.
    n_features : int
        Number of features.
    blocks : dict of str to slice, default=None
        Names that are valid.

    Returns
    -------
    columns : slice or list of int
        A slice where the columns are contiguous.

    Raises
    ------
    ValueError
        If there is no such column, or a column twice.
    """
    every = range(n_features)
    found = []
    for item in (
        columns if isinstance(columns, list | tuple | np.ndarray) else [columns]
    ):
        if isinstance(item, str):
            if item not in (blocks or {}):
                known = list(blocks or {}) or "none, as the features have no names"
                raise ValueError(
                    f"Got the columns {columns!r} in a kernel on features, of which "
                    f"{item!r} is not a known name. Names: {known}. Expected these or "
                    f"positions from 0 to {n_features - 1}."
                )
            item = blocks[item]
        if isinstance(item, slice):
            found.extend(every[item])
        elif isinstance(item, numbers.Integral) and -n_features <= item < n_features:
            found.append(every[item])
        else:
            raise ValueError(
                f"Got the columns {columns!r} in a kernel on {n_features} features, "
                "expected a slice, names, or positions from 0 to "
                f"{n_features - 1}."
            )
    if not found or len(set(found)) < len(found):
        what = "no column" if not found else "a column twice"
        raise ValueError(
            f"Got the columns {columns!r} in a kernel on {n_features} features, which "
            f"contain {what}, expected distinct columns."
        )
    if found == list(range(found[0], found[0] + len(found))):
        return slice(found[0], found[-1] + 1)
    return found


def resolve_columns(kernel, n_features, blocks=None):
    """Return a copy of a kernel with the columns of each `OnFeatures` as positions.

    Parameters
    ----------
    kernel : sklearn.gaussian_process.kernels.Kernel
        The kernel.
    n_features : int
        Number of features.
    blocks : dict of str to slice, default=None
        Names of columns.

    Returns
    -------
    kernel : sklearn.gaussian_process.kernels.Kernel
        Its columns are slices or lists of int.
    together : list of slice or list of int
        Columns that are scaled together.
    """
    kernel, together = clone(kernel), []

    def resolve(kernel, inside):
        parts = [getattr(kernel, name, None) for name in ("k1", "k2", "kernel")]
        if isinstance(kernel, OnFeatures):
            if inside:
                raise ValueError(
                    "Got an OnFeatures kernel inside another one, expected one level."
                )
            if kernel.scaling not in _SCALINGS:
                raise ValueError(
                    f"Got scaling={kernel.scaling!r} in an OnFeatures kernel, expected "
                    f"one of {list(_SCALINGS)}."
                )
            kernel.columns = find_columns(kernel.columns, n_features, blocks)
            if kernel.scaling == "together":
                together.append(kernel.columns)
            inside = True
        for part in parts:
            if isinstance(part, gpk.Kernel):
                resolve(part, inside)

    resolve(kernel, False)
    return kernel, together


def make_kernel(kernel, n_features, blocks=None):
    r"""Return a scikit-learn kernel for a shorthand string, a kernel or None.

    Parameters
    ----------
    kernel : str, sklearn.gaussian_process.kernels.Kernel, TFP kernel or None
        A string joins the names "rbf", "matern12", "matern32", "matern52",
        "rational_quadratic" and "linear" by "+" and "*" ("*" binds tighter).
        "rbf" and the Materns take the suffix "_ard" for one length scale per
        feature. Columns in brackets, by position or name, make it a kernel on these
        features alone: "rbf_ard[0:96] + linear[density, volume]" (see
        :class:`OnFeatures`). Every summand gets a variance of its own
        (:class:`~sklearn.gaussian_process.kernels.ConstantKernel`). None is
        "matern52_ard + matern32_ard + linear". A kernel object is returned as it is,
        one of TFP as a :class:`TFPKernel`.
    n_features : int
        Number of features: it sets the number of length scales of "_ard" and the
        initial length scale of the first summand, :math:`\sqrt{d}` (the typical
        distance of standardised samples is :math:`\sqrt{2 d}`), which is halved for
        each further summand on features of earlier ones.
    blocks : dict of str to slice, default=None
        Columns by name.

    Returns
    -------
    kernel : sklearn.gaussian_process.kernels.Kernel
        Length scales in units of the standardised features, variances in units of
        the standardised target squared.

    Raises
    ------
    TypeError
        If ``kernel`` is neither a string, nor a kernel object, nor None.
    ValueError
        If the string names an unknown kernel.

    Examples
    --------
    >>> from sklearn_unlocknn.kernels import make_kernel
    >>> make_kernel("rbf + linear", n_features=4)
    1**2 * RBF(length_scale=2) + 0.354**2 * DotProduct(sigma_0=1)
    """
    if kernel is None:
        kernel = DEFAULT_KERNEL
    if isinstance(kernel, gpk.Kernel):
        return kernel
    if _is_tfp(kernel):
        return TFPKernel(kernel)
    if not isinstance(kernel, str):
        raise TypeError(
            f"Got kernel={kernel!r} of type {type(kernel).__name__}, expected an "
            "object of sklearn.gaussian_process.kernels or tfp.math.psd_kernels, a "
            "string such as 'matern52_ard + linear', or None."
        )
    total, before = None, []
    for term in kernel.split("+"):
        names = list(map(str.strip, term.split("*")))
        # A linear term grows with n_features: start it at a share of the variance.
        linear = any(name.split("[")[0].strip() == "linear" for name in names)
        variance = 0.5 / n_features if linear else 1.0
        product = gpk.ConstantKernel(variance, _VARIANCE_BOUNDS)
        used = set()
        for name in names:
            name, columns = _split(name, kernel)
            if columns is not None:
                columns = find_columns(columns, n_features, blocks)
            some = np.arange(n_features)[slice(None) if columns is None else columns]
            place = sum(not earlier.isdisjoint(some.tolist()) for earlier in before)
            length = np.sqrt(len(some)) / 2**place
            factor = _factor(name, kernel, len(some), length)
            if columns is not None:
                factor = OnFeatures(factor, columns)
            product = product * factor
            used.update(some.tolist())
        before.append(used)
        total = product if total is None else total + product
    return total


def _split(name, spec):
    """Split "rbf[0:96, density]" into the name and its columns, None without any."""
    match = re.fullmatch(r"([^\[\]]*)(?:\[([^\[\]]*)\])?", name)
    if match is None:
        raise ValueError(
            f"Got {name!r} in kernel={spec!r}, expected columns in one pair of "
            "brackets, such as 'rbf[0:96]'."
        )
    name, columns = match.groups()
    if columns is None:
        return name, None
    found = []
    for item in map(str.strip, columns.split(",")):
        if re.fullmatch(r"\d*:\d*", item):
            found.append(slice(*(int(end) if end else None for end in item.split(":"))))
        else:
            found.append(int(item) if item.isdecimal() else item)
    return name.strip(), found


def _factor(name, spec, n_features, length):
    """Translate one name."""
    base = name.removesuffix(_ARD)
    ard = base != name
    if base not in KERNEL_NAMES or (ard and base in ("rational_quadratic", "linear")):
        raise ValueError(
            f"Got the kernel name {name!r} in kernel={spec!r}, expected names from "
            f"{list(KERNEL_NAMES)} (the suffix '{_ARD}' on 'rbf' and the Materns) "
            "joined by '+' and '*', or a kernel object of "
            "sklearn.gaussian_process.kernels."
        )
    if ard:
        length = np.full(n_features, length)
    if base == "rbf":
        return gpk.RBF(length, _LENGTH_BOUNDS)
    if base == "rational_quadratic":
        return gpk.RationalQuadratic(length, 1.0, _LENGTH_BOUNDS, (1e-2, 1e3))
    if base == "linear":
        return gpk.DotProduct(1.0, "fixed")
    return gpk.Matern(length, _LENGTH_BOUNDS, nu=_MATERN_NU[base])
