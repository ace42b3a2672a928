"""The base class of all regressors with a Gaussian process head."""

import contextlib
import numbers

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from .._gp.encoded import NumericEncoder
from .._gp.errors import without_auto
from .._gp.head import Head
from .._gp.neighbours import N_NEAREST
from .._gp.samples import Targets
from .._validation import warn_user
from .domain import DomainMixin
from .predictive import PredictiveMixin
from .streams import StreamMixin

# Values of the parameters that are words.
_WORDS = {
    "likelihood": ("gaussian", "student_t", "auto"),
    "noise": ("constant", "varying", "auto"),
}
_INITS = ("greedy", "kmeans", "random")


class BaseVGPRegressor(
    DomainMixin, PredictiveMixin, StreamMixin, RegressorMixin, BaseEstimator
):
    """Variational Gaussian process on the features of an encoder.

    A subclass names the type of its encoder, which turns X into an `Encoded` batch, and
    its prior means. A fitted regressor holds the encoder and the `Head`.
    """

    _encoder_type = NumericEncoder
    _means = ("zero", "constant", "linear")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    @property
    def inducing_points_(self):
        """Inducing points, in units of the features."""
        check_is_fitted(self)
        scaling = self._head.scaling
        return self._head.posterior.Z * scaling.x_scale + scaling.x_mean

    def fit(self, X, y, sample_weight=None, y_std=None):
        """Fit hyperparameters, inducing points and posterior, from scratch.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as in the class
            Training samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets. Several share the kernel, the noise-to-signal ratio and the shape
            of errors, whose scale is that of each output unless ``likelihood`` is
            "gaussian" and ``noise`` "constant".
        sample_weight : array-like of shape (n_samples,), default=None
            Weight 2 is the sample twice, weight 0 leaves it out; their sum is the
            number of samples.
        y_std : array-like of shape (n_samples,), default=None
            Known standard deviation of the noise of each target, in target units, of
            one output. Its variance is added to that of the fitted noise; predictions
            are of observations without it.

        Returns
        -------
        self : object
            Fitted.

        Raises
        ------
        ValueError
            If a parameter or the data cannot be used; the message states what was got,
            what was expected and what to do. The estimator is left as it was.

        Warns
        -----
        ConvergenceWarning
            If a hyperparameter ends at a bound of a kernel object, as
            ``GaussianProcessRegressor`` warns; of the bounds of kernel names and of the
            noise added to a kernel without one, only at those of the noise that limit
            the fit: an upper one or, with ``normalize_y=False``, a lower one that is
            not small beside the target's variance. At the others a term or a feature is
            not needed. Never with ``max_iter=0``.
        """
        with self._refitting():
            self._fit(X, y, sample_weight, y_std)
        return self

    def _fit(self, X, y, sample_weight=None, y_std=None):
        """Fit, and return the encoded samples and their `Targets`."""
        self._check_parameters()
        self._encoder = self._encoder_type()
        encoded, y = self._encoder.fit(self, X, y, sample_weight)
        targets = Targets.checked(encoded, y, sample_weight, y_std, some=True)
        self._fit_head(encoded, targets)
        return encoded, targets

    def _fit_head(self, encoded, targets):
        """Fit the head to encoded samples, and with ``fine_tuning`` the network."""
        _report_invalid(encoded, least=1)
        choice = self.likelihood, self.noise
        tuned = getattr(self, "fine_tuning", None) is not None
        if tuned:  # whose residuals on its own training samples are too small
            choice = without_auto(choice)
        self._head = Head.fit(encoded, targets, self, self._report, choice)
        if tuned:
            from .._fine_tuning.tune import fine_tune

            fine_tune(self, encoded, targets, choice)
        self._publish(encoded)

    def _publish(self, encoded):
        """Set the public attributes of a fit to encoded samples."""
        vars(self).update(self._encoder.public)
        head = self._head
        posterior = head.posterior
        self.kernel_ = posterior.kernel.fitted_kernel(head.predictor.theta)
        self.n_neighbors_ = None if head.local is None else N_NEAREST
        self.n_inducing_points_ = len(posterior.Z)
        noise_std = np.sqrt(head.mean_noise) * head.y_scale * head.errors.of_outputs()
        self.noise_std_ = float(noise_std[0]) if head.one_output else noise_std
        self.likelihood_, self.noise_ = head.errors.choice
        self.dof_ = head.errors.shape.dof
        self.elbo_ = posterior.elbo - head.log_det
        self.elbo_curve_, self.n_iter_ = head.curve, len(head.curve) - 1

    def partial_fit(self, X, y, sample_weight=None, y_std=None):
        """Add samples to the posterior, without a pass over those before.

        Hyperparameters, standardisation, likelihood and noise stay as the first call
        (which is :meth:`fit`) or ``fit`` left them. The exact GP stays one while
        ``n_inducing_points`` allows it ("auto", an int or 1.0); then, as of a sparse
        model, inducing points stay. The way in which samples are cut into calls makes
        no difference: added samples are weighted by their noise and not by their
        residuals, so that an outlier among them moves the mean.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as in the class
            New samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.
        sample_weight : array-like of shape (n_samples,), default=None
            As in :meth:`fit`.
        y_std : array-like of shape (n_samples,), default=None
            Known standard deviation of each target's noise, in target units.

        Returns
        -------
        self : object
            Updated.

        Raises
        ------
        ValueError
            As :meth:`fit`; the model is left as it was.
        """
        if not hasattr(self, "_head"):
            return self.fit(X, y, sample_weight, y_std)
        X, y = self._encoder.check_added(X, y)
        encoded = self._encoder.encode(self, X)
        targets = Targets.checked(encoded, y, sample_weight, y_std)
        n_outputs = len(self._head.y_scale)
        if y.size // len(y) != n_outputs:
            raise ValueError(
                f"Got y with {y.size // len(y)} outputs, expected {n_outputs} as in "
                "the first call."
            )
        _report_invalid(encoded, least=0)
        self._head = self._head.update(encoded, targets, self)
        self._publish(encoded)
        return self

    def predict(self, X, return_std=False, return_cov=False):
        """Predict the mean and, on request, the uncertainty of new observations.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as in the class
            Samples to predict.
        return_std : bool, default=False
            Also return the standard deviation.
        return_cov : bool, default=False
            Also return the covariance between samples; not with ``return_std``.

        Returns
        -------
        y_mean : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In target units.
        y_std : ndarray of the same shape
            In target units, observation noise included: of the predictive distribution,
            whatever its shape.
        y_cov : ndarray of shape (n_samples, n_samples) or \
(n_samples, n_samples, n_outputs)
            In squared target units, observation noise on its diagonal.

        Raises
        ------
        ValueError
            If both are True, X does not fit the training data, or a prediction exceeds
            the range of float64, as a linear kernel's far from the training samples;
            the message names the sample.
        """
        if return_std and return_cov:
            raise ValueError("Got return_std=True and return_cov=True, expected one.")
        check_is_fitted(self)
        encoded = self._encoder.encode(self, X)
        if return_std:
            return self._head.mean_and_std(encoded)
        if return_cov:
            return self._head.mean_and_covariance(encoded)
        return self._head.mean(encoded)

    def _report(self, stage, iteration, value):
        every = 10 if self.verbose == 1 else 1
        if self.verbose and iteration % every == 0:
            name = type(self).__name__
            print(f"[{name}] {stage}, iteration {iteration}: {value:.4f} nats")

    @contextlib.contextmanager
    def _refitting(self):
        """Remove the attributes of the last fit; restore them if the block raises."""
        before = dict(vars(self))
        try:
            for name in before:
                if name.endswith("_"):
                    delattr(self, name)
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def _check_parameters(self):
        """Raise if a parameter is invalid for any data."""
        count, init = self.n_inducing_points, self.inducing_init
        valid = isinstance(count, str) and count == "auto"
        if isinstance(count, numbers.Real) and not isinstance(count, bool):
            whole = isinstance(count, numbers.Integral)
            valid = count >= 1 if whole else 0 < count <= 1
        checks = [
            ("n_inducing_points", valid, "an int of at least 1, a float in (0, 1], a "
             'share of the samples, or "auto"'),
            ("inducing_init", not isinstance(init, str) or init in _INITS,
             f"one of {list(_INITS)} or an array of shape (m, n_features)"),
        ]  # fmt: skip
        for name, words in {"mean": self._means, **_WORDS}.items():
            value = getattr(self, name)
            valid = isinstance(value, str) and value in words
            checks.append((name, valid, f"one of {list(words)}"))
        counts = {"max_iter": 0, "hyper_subset_size": 2}
        if hasattr(self, "extract_batch_size"):
            counts["extract_batch_size"] = 1
        for name, least in counts.items():
            value, expected = getattr(self, name), f"an int of at least {least}"
            valid = isinstance(value, numbers.Integral) and value >= least
            if name == "hyper_subset_size":
                valid = valid or (isinstance(value, str) and value == "auto")
                expected += " or 'auto'"
            checks.append((name, valid, expected))
        for name, valid, expected in checks:
            if not valid:
                value = getattr(self, name)
                raise ValueError(f"Got {name}={value!r}, expected {expected}.")
        if getattr(self, "fine_tuning", None) is not None:
            from .._fine_tuning.parameters import check_fine_tuning

            check_fine_tuning(self.fine_tuning, self.network)


def _report_invalid(encoded, least):
    """Warn of samples without features; raise if fewer than ``least`` have them."""
    n_valid, n = len(encoded.index), encoded.n
    if n_valid == n:
        return
    first = int(np.setdiff1d(np.arange(n), encoded.index)[0])
    reason = encoded.errors.get(first, f"sample {first}")
    if n_valid < least:
        raise ValueError(
            f"None of the {n} samples has features, so nothing is left to fit. "
            f"The first: {reason}"
        )
    warn_user(
        f"{n - n_valid} of {n} samples have no features and are left out of the fit. "
        f"The first: {reason}"
    )
