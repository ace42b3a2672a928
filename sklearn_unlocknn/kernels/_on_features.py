"""Kernels on some of the features."""

import numbers

import numpy as np
from sklearn.base import clone
from sklearn.gaussian_process import kernels as gpk

_SCALINGS = ("each", "together")


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
        absent from the training data, and has no standard deviation of its own. A
        column has one scale: where one kernel has "together", it holds for all, and for
        the element fractions of ``MEGNetProbRegressor`` always.

    Examples
    --------
    >>> from sklearn.gaussian_process.kernels import RBF, DotProduct
    >>> from sklearn_unlocknn.kernels import OnFeatures
    >>> effects = OnFeatures(DotProduct(0.0, "fixed"), slice(3, 90), "together")
    >>> OnFeatures(RBF(), [0, 1, 2]) + 0.1 * effects
    OnFeatures(RBF(length_scale=1), [0, 1, 2]) + 0.316**2 * OnFeatures(\
DotProduct(sigma_0=0), slice(3, 90, None), 'together')
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
        """Return whether the kernel depends on differences of samples alone.

        Returns
        -------
        stationary : bool
        """
        return self.kernel.is_stationary()

    def __repr__(self):
        scaling = "" if self.scaling == "each" else f", {self.scaling!r}"
        return f"OnFeatures({self.kernel}, {self.columns!r}{scaling})"

    def _of(self, X):
        columns = find_columns(self.columns, np.shape(X)[1])
        return np.asarray(X)[:, columns]


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
        elif (
            isinstance(item, numbers.Integral)
            and not isinstance(item, bool)
            and -n_features <= item < n_features
        ):
            found.append(every[item])
        else:
            raise ValueError(
                f"Got the columns {columns!r} in a kernel on {n_features} features, "
                "expected a slice, names, or positions from 0 to "
                f"{n_features - 1} (np.flatnonzero turns a mask into positions)."
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
        for name in ("k1", "k2", "kernel"):
            part = getattr(kernel, name, None)
            if isinstance(part, gpk.Kernel):
                resolve(part, inside)

    resolve(kernel, False)
    return kernel, together
