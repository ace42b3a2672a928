"""Kernels of TensorFlow Probability, which is not imported here."""

import numpy as np
from sklearn.gaussian_process import kernels as gpk

# Step of the logarithm of a hyperparameter in a central difference, whose error is
# about 1e-9 of the derivative.
_STEP = 1e-5


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
        """Return False, as TFP's kernels do not state it.

        Returns
        -------
        stationary : bool
        """
        return False

    def __repr__(self):
        values = ", ".join(f"{value:.3g}" for value in self.values)
        return f"TFPKernel({self.kernel.name}, values=[{values}])"

    def __sklearn_clone__(self):
        return TFPKernel(self.kernel, self.parameter_bounds)  # TFP's is not modified

    def __reduce__(self):
        # Neither pickle nor deepcopy works for TFP's kernels of other kernels.
        return revived, (_plain(self.kernel), self.parameter_bounds)


def is_tfp(kernel):
    """Return whether an object is a TFP kernel; TFP is not imported."""
    return any(c.__name__ == "PositiveSemidefiniteKernel" for c in type(kernel).__mro__)


def _positive_values(kernel):
    """Yield the positive parameters of a TFP kernel and of those that it is made of."""
    for name, value in kernel.parameters.items():
        for part in value if isinstance(value, list) else [value]:
            if is_tfp(part):
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
        if isinstance(value, list) and all(map(is_tfp, value)):
            changed[name] = [_with_values(part, values) for part in value]
        elif is_tfp(value):
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
            value = [_plain(part) if is_tfp(part) else part for part in value]
        parameters[name] = _plain(value) if is_tfp(value) else value
    return "tfp", type(kernel), parameters


def revived(plain, parameter_bounds):
    """Return the `TFPKernel` of a pickle or a model file."""

    def build(plain):
        if isinstance(plain, list):
            return [build(part) for part in plain]
        if not (isinstance(plain, tuple) and len(plain) == 3 and plain[0] == "tfp"):
            return plain
        return plain[1](**{name: build(value) for name, value in plain[2].items()})

    return TFPKernel(build(plain), parameter_bounds)
