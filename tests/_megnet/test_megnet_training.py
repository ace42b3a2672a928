"""Compare the training of MEGNets with finite differences, NumPy and megnet."""

import warnings

import numpy as np
import pytest
from _megnet.megnet_nets import SquareScaler, make_megnet, make_structures
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_unlocknn._megnet import batches as megnet_batches
from sklearn_unlocknn._megnet import training as megnet_training
from sklearn_unlocknn._megnet.architecture import new_megnet
from sklearn_unlocknn._megnet.network import MEGNetSnapshot
from sklearn_unlocknn._megnet.state import freeze_object, thaw_object
from sklearn_unlocknn._megnet.training import LabelledGraphs, _Trainer, train

from megnet.models import MEGNetModel  # isort: skip
from megnet.utils.preprocessing import StandardScaler  # isort: skip

SIZES = {"layer_sizes": (8, 6, 4), "embedding_dim": 4, "n_gaussians": 8, "cutoff": 4.0}
RATE = 0.003


def make_new(seed=0, **options):
    rng = np.random.default_rng(seed)
    return new_megnet(**{**SIZES, "n_blocks": 1, "n_outputs": 1, "rng": rng, **options})


def trained(network, data, validation=None, report=lambda *values: None, **options):
    """Train with a seed; without options, not at all."""
    options = {"max_iter": 0, "batch_size": 4, "learning_rate": RATE, **options}
    rng = np.random.default_rng(0)
    return train(network, data, validation, rng, patience=4, report=report, **options)


@pytest.fixture(scope="module")
def structures():
    return make_structures(14)


@pytest.fixture(scope="module")
def network():
    return make_new()


@pytest.fixture(scope="module")
def data(network, structures):
    y = np.array([[s.density] for s in structures])
    weights = np.random.default_rng(1).uniform(0.5, 2.0, len(y))
    return LabelledGraphs(network.graphs(structures), y, weights)


@pytest.fixture(scope="module")
def trainer(network, data):
    """Return a trainer at its start; tests that move its weights restore them."""
    return _Trainer(network, data, RATE, np.random.default_rng(0))


def flat(arrays):
    return np.concatenate([np.ravel(a) for a in arrays]).astype(float)


def loss_and_gradient(trainer, data, total):
    """Return both at the present weights, summed over parts of few bonds."""
    parts = list(trainer._parts(data, total, len(data)))
    parts = [trainer._functions[1](*arrays) for arrays in parts]
    return sum(float(p[0]) for p in parts), sum(
        p[1].numpy().astype(float) for p in parts
    )


def test_new_network_is_megnets_own(structures):
    """Compare layers, shapes and predictions with megnet's MEGNetModel."""
    network = make_new(n_blocks=2, n_outputs=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf-keras: one initializer, many layers
        theirs = MEGNetModel(
            8, 2, nblocks=2, n1=8, n2=6, n3=4, embedding_dim=4, ntarget=2,
            graph_converter=thaw_object(network._state["converter"]),
        )  # fmt: skip

    def described(model):  # tf-keras repeats the layer in some names
        return [(w.name.split("/")[-1], w.shape) for w in model.weights]

    assert described(network.keras_model) == described(theirs.model)
    theirs.model.set_weights(network._state["weights"])
    want = theirs.predict_structures(structures)
    assert_allclose(network.predict(structures), want, atol=2e-5)


def test_new_weights_come_from_the_generator(network):
    assert make_new().fingerprint == network.fingerprint
    assert make_new(seed=1).fingerprint != network.fingerprint
    for w in network._state["weights"]:
        if w.ndim == 2:
            bound = np.sqrt(6.0 / sum(w.shape))
            assert 0.5 * bound < np.abs(w).max() <= bound


def test_gradient_against_finite_differences(trainer, data):
    rng = np.random.default_rng(0)
    total = data.weights.sum()
    value, gradient = loss_and_gradient(trainer, data, total)
    assert_allclose(value, trainer.loss(data, 5), rtol=1e-5)
    for _ in range(3):
        direction = [rng.standard_normal(v.shape) for v in trainer.variables]
        direction = [d / np.linalg.norm(flat(direction)) for d in direction]
        losses = []
        for h in (-1e-2, 2e-2, -1e-2):  # below, above, and back at the start
            for v, d in zip(trainer.variables, direction, strict=True):
                v.assign_add(h * d)
            losses.append(loss_and_gradient(trainer, data, total)[0])
        slope = (losses[1] - losses[0]) / 2e-2
        assert_allclose(slope, gradient @ flat(direction), rtol=0.02, atol=1e-3)


def test_loss_is_that_of_predictions(trainer, data, network, structures):
    y, w = data.y[:, 0], data.weights
    mean = w @ y / w.sum()
    # the raw output of a new network is taken to be in target units
    error = network.predict(structures)[:, 0] - y
    want = w @ error**2 / (w @ (y - mean) ** 2)
    assert_allclose(trainer.loss(data, 5), want, rtol=1e-4)


def test_weights_are_repetitions_and_parts_add_up(trainer, data, monkeypatch):
    counts = np.array([1, 2, 3] * 5)[: len(data)]
    weighted = LabelledGraphs(data.graphs, data.y, counts.astype(float))
    repeated = data.take(np.repeat(np.arange(len(data)), counts))
    repeated.weights[:] = 1.0
    want = loss_and_gradient(trainer, repeated, counts.sum())
    for max_bonds in (megnet_batches.MAX_BONDS, 200):
        monkeypatch.setattr(megnet_batches, "MAX_BONDS", max_bonds)
        got = loss_and_gradient(trainer, weighted, counts.sum())
        assert_allclose(got[0], want[0], rtol=1e-5)
        assert_allclose(got[1], want[1], atol=1e-5 * np.abs(want[1]).max())
    assert len(list(trainer._parts(weighted, 1.0, 100))) > 2


def test_steps_are_those_of_adam(network, data, monkeypatch):
    """Compare with NumPy: clipped gradients, Adam's moments, mean of the weights."""
    monkeypatch.setattr(megnet_batches, "MAX_BONDS", 200)  # steps in parts, too
    monkeypatch.setattr(megnet_training, "CLIP_NORM", 1.0)
    trainer = _Trainer(network, data, RATE, np.random.default_rng(0))
    weights = flat(trainer.variables)
    average, first, second = weights.copy(), 0.0, 0.0
    for t in (1, 2, 3):
        batch = data.take(np.arange(t, t + 6))
        _, g = loss_and_gradient(trainer, batch, len(batch) * data.weights.mean())
        assert np.linalg.norm(g) > 1
        trainer.step(batch)
        g /= np.linalg.norm(g)
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        rate = RATE * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        weights -= rate * first / (np.sqrt(second) + 1e-7)
        average += (weights - average) / (1 + t)
    # Adam divides by gradients, some of which are rounding errors
    assert np.mean(np.abs(flat(trainer.variables) - weights) < 1e-5) > 0.98
    assert np.mean(np.abs(trainer.weights() - average) < 1e-5) > 0.98


@pytest.mark.parametrize("intensive", [True, False])
def test_start_has_the_predictions_of_the_network(intensive, network, structures):
    frozen = freeze_object(StandardScaler(3.0, 2.0, intensive))
    network = MEGNetSnapshot({**network._state, "scaler": frozen})
    want, before = network.predict(structures), network.fingerprint
    y = np.linspace(1e3, 2e3, len(structures))[:, None]
    data = LabelledGraphs(network.graphs(structures), y, np.ones(len(y)))
    done = trained(network, data)[0]
    assert_allclose(done.predict(structures), want, rtol=1e-4, atol=1e-3)
    assert network.fingerprint == before
    assert done.extensive == (not intensive)
    per = y if intensive else y / np.array([[len(s)] for s in structures])
    assert_allclose(done.scaler.std, per.std(), rtol=1e-6)


def test_another_number_of_targets_replaces_the_output_layer(network, structures):
    y = np.column_stack([np.arange(14.0), 1e-20 * np.arange(14.0), np.ones(14)])
    data = LabelledGraphs(network.graphs(structures), y, np.ones(14))
    done = trained(network, data)[0]
    assert done.n_outputs == 3
    old, new = network._state["weights"], done._state["weights"]
    for a, b in zip(old[:-2], new[:-2], strict=True):
        assert_array_equal(a, b)
    error = np.abs(done.predict(structures) - y.mean(0)) / [4.0, 4e-20, 1.0]
    assert error.max() < 10


def test_best_epoch_is_kept(data, network, structures):
    """Validate on mirrored targets, which no weights fit with the training targets."""
    training, held_out = data.take(np.arange(9)), data.take(np.arange(9))
    y, w = training.y[:, 0], training.weights
    mean = w @ y / w.sum()
    held_out.y = 2 * mean - held_out.y
    seen = []
    best, losses, curve, best_iter = trained(
        network, training, held_out, lambda *values: seen.append(values),
        max_iter=60, batch_size=3, learning_rate=0.02,
    )  # fmt: skip
    assert len(curve) < 60
    assert best_iter == np.argmin(curve) + 1 == len(curve) - 4
    assert [(e, v) for e, _, v in seen] == list(enumerate(curve, 1))
    error = (best.predict(structures[:9]) - held_out.y)[:, 0]
    assert_allclose(min(curve), w @ error**2 / (w @ (y - mean) ** 2), rtol=1e-4)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (None, r"training diverged. Lower `learning_rate`"),
        ({"is_classification": True}, "not that of a linear dense layer"),
        ({"scaler": SquareScaler()}, "nonlinear target scaler SquareScaler"),
    ],
)
def test_training_that_fails(options, match, network, data):
    if options is not None:
        network = MEGNetSnapshot(make_megnet(**options))
    with pytest.raises(ValueError, match=match):
        trained(network, data, max_iter=3, learning_rate=1e30)
