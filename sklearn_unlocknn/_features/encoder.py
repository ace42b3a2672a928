"""Train a network in `fit`, and share a model between clones, copies and pickles."""

import copy

from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter


def train(network, X, y, sample_weight=None, name="network"):
    """Train a network by a clone of an estimator, which is returned.

    ``sample_weight`` is passed on if the estimator's ``fit`` takes it; ``name`` is the
    name of the parameter in errors.
    """
    if y is None:
        raise ValueError(
            f"`{name}` is an estimator, {type(network).__name__}, that is trained in "
            "`fit`, which needs y. Pass y, or a trained network."
        )
    extra = {}
    if sample_weight is not None and has_fit_parameter(network, "sample_weight"):
        extra["sample_weight"] = sample_weight
    return clone(network).fit(X, y, **extra)


def trained_in_fit(network):
    """Return the estimator that a ``network`` parameter is or lists, or None."""
    several = isinstance(network, list | tuple)
    for one in network if several else [network]:
        if hasattr(type(one), "get_params"):
            return one
    return None


class LiveModel:
    """Replace the model that the user passed, in a pickle, by its handle."""

    def __init__(self, handle):
        self.handle = handle


class SharedNetworkMixin:
    """Share a model held as a parameter between clones, copies and pickles.

    `sklearn.base.clone` and `copy.deepcopy` would copy the model, which is never
    modified. A pickle holds it once, as plain arrays. The estimator's
    ``_encoder_type`` recognises models (``is_model``) and has what stands for them in a
    pickle (``portable``); ``_network_name`` is the parameter.
    """

    _network_name = "network"

    def _live_model(self):
        """Return the parameter if it is a live model, else None."""
        network = getattr(self, self._network_name)
        return network if self._encoder_type.is_model(network) else None

    def __sklearn_clone__(self):
        model = self._live_model()
        if model is None:
            return super().__sklearn_clone__()
        stand_in = object.__new__(type(self))
        vars(stand_in).update(vars(self), **{self._network_name: None})
        new = super(SharedNetworkMixin, stand_in).__sklearn_clone__()
        setattr(new, self._network_name, model)
        return new

    def __deepcopy__(self, memo):
        model = self._live_model()
        memo[id(model)] = model
        new = memo[id(self)] = object.__new__(type(self))
        vars(new).update(copy.deepcopy(vars(self), memo))
        return new

    def __getstate__(self):
        state, model = dict(super().__getstate__()), self._live_model()
        if model is not None:
            state[self._network_name] = self._encoder_type.portable(model)
        return state

    def __setstate__(self, state):
        network = state.get(self._network_name)
        if isinstance(network, LiveModel):
            state = {**state, self._network_name: network.handle.model}
        super().__setstate__(state)
