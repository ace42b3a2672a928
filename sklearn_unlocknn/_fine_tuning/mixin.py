"""Fine-tuning, for the regressors whose head sits on a network."""

import numbers

import numpy as np
from sklearn.utils import check_random_state

from .._gp.encoded import in_units
from ..kernels import make_kernel

_HISTORY = (
    "fine_tune_curve_", "fine_tune_validation_curve_", "fine_tune_best_epoch_"
)  # fmt: skip


class FineTuningMixin:
    """Train a copy of the network and the head together, where asked for.

    A subclass has the parameters, calls `_check_fine_tuning` first of all in ``fit``,
    puts what the network saw into ``Latent.inputs``, and defines
    ``_trainee(inputs, kept)``, which makes the trainee of the rows ``kept``, and
    ``_use_tuned(network, inputs)``, which sets ``network_`` and returns the `Latent`.
    """

    def _check_fine_tuning(self):
        """Raise on parameters that no data could make right."""
        for name, least in (("fine_tune_epochs", 0), ("fine_tune_batch_size", 1)):
            value = getattr(self, name)
            whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
            if not (whole and value >= least):
                raise ValueError(
                    f"Got {name}={value!r}, expected an int of at least {least}."
                )
        for name in ("network_learning_rate", "head_learning_rate"):
            value = getattr(self, name)
            if not (isinstance(value, numbers.Real) and 0 < value < np.inf):
                raise ValueError(f"Got {name}={value!r}, expected a number above 0.")
        share = self.fine_tune_validation_fraction
        if not (isinstance(share, numbers.Real) and 0 <= share < 1):
            raise ValueError(
                f"Got fine_tune_validation_fraction={share!r}, expected a number in "
                "[0, 1)."
            )
        if self.fine_tune_epochs and self.network is None:
            raise ValueError(
                f"Got fine_tune_epochs={self.fine_tune_epochs} and network=None, so "
                "there is nothing to fine-tune. Pass a network, or "
                "fine_tune_epochs=0."
            )

    def _fine_tune(self, latent, y, weights):
        for name in _HISTORY:
            if hasattr(self, name):
                delattr(self, name)
        if not self.fine_tune_epochs:
            return
        from .._gp.covariance import Covariance
        from .tune import Problem, Scaling, Settings, noise_of_others, tune

        scaling = self._scaling
        kept = np.flatnonzero((weights > 0) & latent.known)
        unit = None if latent.unit is None else latent.unit[kept]
        problem = Problem(
            y[kept], weights[kept], unit, scaling.y_mean, scaling.y_scale,
            scaling.basis, self.mean == "linear", self.mean == "network",
        )  # fmt: skip
        settings = Settings(
            self.fine_tune_epochs, self.network_learning_rate,
            self.head_learning_rate, self.fine_tune_batch_size,
            self.fine_tune_validation_fraction,
        )  # fmt: skip
        tuning = tune(
            self._trainee(latent.inputs, kept), self._translated(), self._posterior,
            problem, Scaling(scaling.x_mean, scaling.x_scale, weights[kept]), settings,
            check_random_state(self.random_state), self._report,
        )  # fmt: skip
        self.fine_tune_curve_ = tuning.curve
        self.fine_tune_validation_curve_ = tuning.validation_curve
        self.fine_tune_best_epoch_ = tuning.best_epoch
        if tuning.network is None:
            return  # no epoch predicts surely better than the network as it was
        latent = self._use_tuned(tuning.network, latent.inputs)
        self._fit_head(latent, y, weights)
        if len(tuning.held_out):
            y = in_units(y, latent)
            rows = self._scaling.rows(latent.features[kept], y[kept], weights[kept])
            d = rows.X.shape[1]
            kernel = Covariance(make_kernel(self.kernel, d), d)
            posterior = noise_of_others(
                kernel, self._posterior, rows, tuning.held_out, self._report
            )
            self.kernel_ = kernel.fitted_kernel(posterior.theta)
            self._set_posterior(posterior)
