"""Training of MEGNets, against finite differences, NumPy and megnet's own layers."""

import warnings

import numpy as np
import pytest
from _megnet.megnet_nets import make_megnet, make_structures
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_unlocknn._megnet import batches as megnet_batches
from sklearn_unlocknn._megnet import training as megnet_training
from sklearn_unlocknn._megnet.architecture import new_megnet
from sklearn_unlocknn._megnet.compat import freeze_object
from sklearn_unlocknn._megnet.network import MEGNetSnapshot
from sklearn_unlocknn._megnet.training import CLIP_NORM, Rows, Settings, convert, train

from megnet.models import MEGNetModel  # isort: skip
from megnet.utils.preprocessing import Scaler, StandardScaler  # isort: skip

SIZES = {"layer_sizes": (8, 6, 4), "embedding_dim": 4, "n_gaussians": 8, "cutoff": 4.0}


def make_new(seed=0, **options):
    rng = np.random.default_rng(seed)
    return new_megnet(**{**SIZES, "n_blocks": 1, "n_outputs": 1, "rng": rng, **options})


@pytest.fixture(scope="module")
def structures():
    return make_structures(14)


@pytest.fixture(scope="module")
def network():
    return make_new()


@pytest.fixture(scope="module")
def rows(network, structures):
    y = np.array([[s.density] for s in structures])
    weights = np.random.default_rng(1).uniform(0.5, 2.0, len(y))
    rows, errors = convert(network, structures, y, weights)
    assert not errors
    return rows


def trainee_of(network, rows):
    return megnet_training._Trainee(network, rows, np.random.default_rng(0))


@pytest.fixture
def trainee(network, rows, shared={}):  # noqa: B006  one trace for all tests
    """Give a network at the start of its training."""
    if not shared:
        shared["trainee"] = trainee_of(network, rows)
        shared["start"] = shared["trainee"].average.numpy()
    one, start = shared["trainee"], shared["start"]
    set_flat(one, start)
    one.average.assign(start)
    return one


def set_flat(trainee, flat):
    at = 0
    for v in trainee.variables:
        size = int(np.prod(v.shape))
        v.assign(flat[at : at + size].reshape(v.shape))
        at += size


def gradient_of(trainee, rows, total):
    parts = list(trainee._parts(rows, total, len(rows)))
    parts = [trainee._gradient(*arrays) for arrays in parts]
    return sum(float(p[0]) for p in parts), sum(p[1].numpy() for p in parts)


def test_new_network_is_megnets_own(structures):
    """Layers, shapes and predictions are those of megnet's MEGNetModel."""
    network = make_new(n_blocks=2, n_outputs=2)
    state = network._state
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf-keras: one initializer, many layers
        theirs = MEGNetModel(
            8, 2, nblocks=2, n1=8, n2=6, n3=4, embedding_dim=4, ntarget=2,
            graph_converter=network.converter,
        )  # fmt: skip

    def described(model):  # tf-keras repeats the layer in some names
        return [(w.name.split("/")[-1], w.shape) for w in model.weights]

    assert described(network.keras_model) == described(theirs.model)
    theirs.model.set_weights(state["weights"])
    want = theirs.predict_structures(structures)
    assert_allclose(network.predict(structures), want, atol=2e-5)


def test_new_weights_come_from_the_generator(network):
    assert make_new().fingerprint() == network.fingerprint()
    assert make_new(seed=1).fingerprint() != network.fingerprint()
    kernels = [w for w in network._state["weights"] if w.ndim == 2]
    for w in kernels:
        bound = np.sqrt(6.0 / sum(w.shape))
        assert 0.5 * bound < np.abs(w).max() <= bound


def test_gradient_against_finite_differences(trainee, rows):
    start = trainee.average.numpy()
    rng = np.random.default_rng(0)
    value, gradient = gradient_of(trainee, rows, rows.weights.sum())
    assert_allclose(value, trainee.loss(rows, 5), rtol=1e-5)
    for _ in range(3):
        direction = rng.standard_normal(len(start)).astype(np.float32)
        direction /= np.linalg.norm(direction)
        losses = []
        for h in (-1e-2, 1e-2):
            trainee.average.assign(start + h * direction)
            losses.append(trainee.loss(rows, 100))
        slope = (losses[1] - losses[0]) / 2e-2
        assert_allclose(slope, gradient @ direction, rtol=0.02, atol=1e-3)


def test_loss_is_that_of_predictions(trainee, rows, network, structures):
    y = rows.y[:, 0]
    w = rows.weights
    mean = w @ y / w.sum()
    variance = w @ (y - mean) ** 2 / w.sum()
    # a new network's raw output is taken to be in target units
    error = network.predict(structures)[:, 0] - y
    want = w @ error**2 / w.sum() / variance
    assert_allclose(trainee.loss(rows, 5), want, rtol=1e-4)


def test_weights_are_repetitions_and_parts_add_up(trainee, rows, monkeypatch):
    counts = np.array([1, 2, 3] * 5)[: len(rows)]
    weighted = Rows(rows.graphs, rows.y, counts.astype(float))
    again = rows.take(np.repeat(np.arange(len(rows)), counts))
    again.weights[:] = 1.0
    want = gradient_of(trainee, again, counts.sum())
    got = gradient_of(trainee, weighted, counts.sum())
    assert_allclose(got[0], want[0], rtol=1e-5)
    assert_allclose(got[1], want[1], atol=1e-5 * np.abs(want[1]).max())
    monkeypatch.setattr(megnet_batches, "MAX_BONDS", 200)
    assert len(list(trainee._parts(weighted, 1.0, 100))) > 2
    got = gradient_of(trainee, weighted, counts.sum())
    assert_allclose(got[1], want[1], atol=1e-5 * np.abs(want[1]).max())


def test_steps_are_those_of_adam(trainee, rows):
    """Against NumPy: clipped gradients, Adam's moments, running average."""
    weights = trainee.average.numpy().astype(float)
    average = weights.copy()
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    rate = 0.003
    for t in (1, 2, 3):
        batch = rows.take(np.arange(t, t + 6))
        _, g = gradient_of(trainee, batch, len(batch) * rows.weights.mean())
        trainee.step(batch, rate)
        g = g * min(1.0, CLIP_NORM / np.linalg.norm(g))
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        change = first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        weights -= rate * change
        average += (weights - average) / (1 + t)
    got = np.concatenate([v.numpy().ravel() for v in trainee.variables])
    # Adam divides by gradients, some of which are rounding errors
    assert np.mean(np.abs(got - weights) < 1e-5) > 0.98
    assert np.mean(np.abs(trainee.average.numpy() - average) < 1e-5) > 0.98


SCALERS = [(3.0, 2.0, True), (3.0, 2.0, False)]


@pytest.mark.parametrize("scaler", SCALERS, ids=["intensive", "extensive"])
def test_start_predicts_what_the_network_did(scaler, network, structures):
    frozen = freeze_object(StandardScaler(*scaler))
    network = MEGNetSnapshot({**network._state, "scaler": frozen})
    want = network.predict(structures)
    before = network.fingerprint()
    y = np.linspace(1e3, 2e3, len(structures))[:, None]
    rows, _ = convert(network, structures, y, np.ones(len(y)))
    settings = Settings(max_iter=0, batch_size=4, learning_rate=1e-3, patience=5)
    done = train(network, rows, None, settings, np.random.default_rng(0))
    assert_allclose(done.network.predict(structures), want, rtol=1e-4, atol=1e-3)
    assert network.fingerprint() == before
    per = y if scaler[2] else y / np.array([[len(s)] for s in structures])
    assert_allclose(done.network.scaler.std, per.std(), rtol=1e-6)


def test_another_number_of_targets_begins_the_output_anew(network, structures):
    y = np.column_stack([np.arange(14.0), 1e-20 * np.arange(14.0), np.ones(14)])
    rows, _ = convert(network, structures, y, np.ones(14))
    settings = Settings(max_iter=0, batch_size=4, learning_rate=1e-3, patience=5)
    done = train(network, rows, None, settings, np.random.default_rng(0))
    assert done.network.n_outputs == 3
    for old, new in zip(
        network._state["weights"][:-2], done.network._state["weights"], strict=False
    ):
        assert_array_equal(old, new)
    spread = np.abs(done.network.predict(structures) - y.mean(0)) / [4.0, 4e-20, 1.0]
    assert spread.max() < 10


def test_best_epoch_is_kept(rows, network, structures):
    """Validation targets are mirrored: what fits the training rows is bad there."""
    training, held_out = rows.take(np.arange(9)), rows.take(np.arange(9))
    y, w = training.y[:, 0], training.weights
    mean = w @ y / w.sum()
    held_out.y = 2 * mean - held_out.y
    settings = Settings(max_iter=60, batch_size=3, learning_rate=0.02, patience=4)
    seen = []
    done = train(
        network, training, held_out, settings, np.random.default_rng(0),
        lambda *values: seen.append(values),
    )  # fmt: skip
    curve = done.validation_losses
    assert len(curve) < 60
    assert done.best_iter == np.argmin(curve) + 1 == len(curve) - 4
    assert [(e, v) for e, _, v in seen] == list(enumerate(curve, 1))
    error = (done.network.predict(structures[:9]) - held_out.y)[:, 0]
    assert_allclose(min(curve), w @ error**2 / (w @ (y - mean) ** 2), rtol=1e-4)
    assert done.losses[-1] < done.losses[0]


def test_divergence_is_an_error(network, rows):
    settings = Settings(max_iter=3, batch_size=4, learning_rate=1e30, patience=5)
    with pytest.raises(ValueError, match=r"training diverged. Lower `learning_rate`"):
        train(network, rows, None, settings, np.random.default_rng(0))


class Logarithm(Scaler):
    """A scaler that training does not know."""


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"is_classification": True}, "not that of a linear dense layer"),
        ({"scaler": Logarithm()}, "target scaler Logarithm"),
    ],
)
def test_networks_that_cannot_be_trained(options, match, rows):
    network = MEGNetSnapshot(make_megnet(**options))
    with pytest.raises(ValueError, match=match):
        trainee_of(network, rows)
