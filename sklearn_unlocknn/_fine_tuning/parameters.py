"""Define and check the parameters of fine-tuning."""

import numbers

import numpy as np
from sklearn.base import BaseEstimator


class FineTuning(BaseEstimator):
    """Parameters for training a network together with its Gaussian process.

    Pass it as ``fine_tuning`` to `ProbNNRegressor` or `MEGNetProbRegressor`; a search
    reaches its parameters as ``fine_tuning__epochs`` and so on.

    Parameters
    ----------
    epochs : int, default=5
        Passes over the samples in which a copy of the network and the GP are trained
        together on the evidence lower bound.
    network_learning_rate : float, default=1e-3
        Learning rate (Adam) of the network's weights.
    head_learning_rate : float, default=0.01
        Learning rate (Adam) of hyperparameters and inducing points.
    batch_size : int, default=128
        Samples in a batch.
    validation_fraction : float, default=0.1
        Share of the samples held out of the tuning, in [0, 1). They choose the epoch
        whose network is kept: the one with the highest density of these samples, or
        else the network as it was. 0 keeps the last.

    See Also
    --------
    ProbNNRegressor : A Keras network with a Gaussian process.
    MEGNetProbRegressor : A MEGNet with a Gaussian process.

    Notes
    -----
    The network runs in inference mode: dropout is off and batch normalisation keeps its
    averages. Layers that are not trainable stay as they are. A tuned network fits its
    own training samples too well, as all deep kernels do. So some samples are held out:
    they choose the epoch, which is the network as it was where the gain does not exceed
    its standard error, and the noise variance of the GP, which is fitted to all samples
    in the end. Fine-tuning pays where the latent layer was made for another target;
    where it predicts well already there is little to gain. Unless ``mean="network"``
    only the layers up to ``layer`` are tuned, and the network's own output is
    meaningless afterwards.

    The bound is that of [1]_.

    References
    ----------
    .. [1] J. Hensman, N. Fusi, N. Lawrence, "Gaussian processes for big data", UAI
       2013, arXiv:1309.6835.

    Examples
    --------
    >>> from sklearn_unlocknn import FineTuning, ProbNNRegressor
    >>> model = ProbNNRegressor(fine_tuning=FineTuning(epochs=3))
    >>> model.set_params(fine_tuning__epochs=10).fine_tuning
    FineTuning(epochs=10)
    """

    def __init__(
        self,
        epochs=5,
        *,
        network_learning_rate=1e-3,
        head_learning_rate=0.01,
        batch_size=128,
        validation_fraction=0.1,
    ):
        self.epochs = epochs
        self.network_learning_rate = network_learning_rate
        self.head_learning_rate = head_learning_rate
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction


def check_fine_tuning(fine_tuning, network):
    """Raise if a parameter is invalid for any data."""
    if not isinstance(fine_tuning, FineTuning):
        raise TypeError(
            f"Got fine_tuning={fine_tuning!r}, expected a FineTuning, such as "
            "FineTuning(epochs=5), or None."
        )
    for name in ("epochs", "batch_size"):
        value = getattr(fine_tuning, name)
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not (whole and value >= 1):
            raise ValueError(
                f"Got FineTuning({name}={value!r}), expected an int of at least 1."
            )
    for name in ("network_learning_rate", "head_learning_rate"):
        value = getattr(fine_tuning, name)
        if not (isinstance(value, numbers.Real) and 0 < value < np.inf):
            raise ValueError(
                f"Got FineTuning({name}={value!r}), expected a number above 0."
            )
    share = fine_tuning.validation_fraction
    if not (isinstance(share, numbers.Real) and 0 <= share < 1):
        raise ValueError(
            f"Got FineTuning(validation_fraction={share!r}), expected a number in "
            "[0, 1)."
        )
    if isinstance(network, list | tuple):
        raise ValueError(
            f"Got fine_tuning={fine_tuning!r} with a list of {len(network)} networks, "
            "expected a single one. Pass one network, or fine_tuning=None."
        )
    if network is None:
        raise ValueError(
            f"Got fine_tuning={fine_tuning!r} and network=None, so there is nothing to "
            "fine-tune. Pass a network, or fine_tuning=None."
        )
