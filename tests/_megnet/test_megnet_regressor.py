"""Test MEGNetRegressor: training, seeds, starts, inputs and errors."""

import copy
import io
import pickle
import random
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from _megnet.megnet_nets import make_megnet, make_structures
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Element, Lattice, Structure
from sklearn.base import clone
from sklearn.utils import get_tags

from sklearn_unlocknn._megnet.network import MEGNetSnapshot
from sklearn_unlocknn._megnet.regressor import MEGNetRegressor, _progress
from sklearn_unlocknn._structures.read import StructureError

LONELY = Structure(Lattice.cubic(20), ["Na"], [[0, 0, 0]])


def make(initial_network=None, **options):
    """Make a small estimator."""
    small = {"n_blocks": 1, "layer_sizes": (12, 8, 6), "n_gaussians": 10}
    return MEGNetRegressor(
        initial_network, **{**small, "embedding_dim": 6, "random_state": 0, **options}
    )


def unmoved(initial_network, **options):
    """Make an estimator that does not train."""
    return make(initial_network, max_iter=0, early_stopping=False, **options)


@pytest.fixture(scope="module")
def X():
    return [s for s in make_structures(81) if len(s) < 10]


@pytest.fixture(scope="module")
def y(X):
    """Return the mean electronegativity, which no constant predicts."""
    return np.array([np.mean([Element(str(e)).X for e in s.species]) for s in X])


@pytest.fixture(scope="module")
def fitted(X, y):
    """Fit once for many tests, and check that it changes no global random state."""
    import tensorflow as tf

    model = make(max_iter=40, batch_size=8, learning_rate=0.01, n_iter_no_change=40)
    drawn = []
    for train in (lambda: None, lambda: model.fit(X[:60], y[:60])):
        tf.random.set_seed(3)
        random.seed(3)
        np.random.seed(3)  # noqa: NPY002
        assert train() in (None, model)
        numbers = random.random(), np.random.random(), float(tf.random.uniform([]))  # noqa: NPY002
        drawn.append(numbers)
    assert drawn[0] == drawn[1]
    return model


def test_training_lowers_the_error(fitted, X, y):
    assert fitted.predict(X).shape == y.shape
    assert fitted.score(X[60:], y[60:]) > 0.8
    assert fitted.loss_curve_.shape == (fitted.n_iter_,) == (40,)
    assert fitted.loss_curve_[-1] < 0.2 * fitted.loss_curve_[0]
    curve = fitted.validation_loss_curve_
    assert fitted.best_iter_ == np.argmin(curve) + 1
    assert fitted.n_outputs_ == 1
    assert not hasattr(fitted, "n_features_in_")
    want = fitted.predict(X)
    for again in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)):
        assert_array_equal(again.predict(X), want)
        assert again.get_params() == fitted.get_params()
    fresh = clone(fitted)
    assert not hasattr(fresh, "network_")
    assert fresh.get_params() == fitted.get_params()


@pytest.mark.slow
def test_seeds_and_refits(X, y):
    """Compare networks of equal and other seeds, fitted before or not."""
    model = make(max_iter=2, batch_size=30)
    first = model.fit(X, y).network_.fingerprint
    assert model.fit(X, y).network_.fingerprint == first
    model.set_params(random_state=1, max_iter=0)
    assert model.fit(X, y).network_.fingerprint != first


def test_warm_start_continues_training(fitted, X, y, capsys):
    model = copy.deepcopy(fitted).set_params(warm_start=True, max_iter=1, verbose=2)
    best = fitted.validation_loss_curve_.min()
    model.fit(X[:60], y[:60])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("[MEGNetRegressor] epoch 1: loss ")
    # the same samples are held out, so the old best is kept or improved on
    loss = model.validation_loss_curve_[0]
    assert loss < 2 * best + 0.02
    assert model.loss_curve_[0] < 0.2 * fitted.loss_curve_[0]
    model.set_params(max_iter=0).fit(X[:60], y[:60])
    assert model.best_iter_ == model.n_iter_ == 0


@pytest.mark.slow
def test_initial_network(X, y):
    start = make_megnet()
    weights = [w.copy() for w in start.get_weights()]
    flags = [layer.trainable for layer in start.model.layers]
    model = unmoved(start).fit(X, y)
    want = MEGNetSnapshot(start).predict(X)[:, 0]
    assert_allclose(model.predict(X), want, rtol=1e-4, atol=1e-4)
    assert model.validation_loss_curve_ is None
    for new in (clone(model), copy.deepcopy(model)):
        assert new.initial_network is start
    model.set_params(max_iter=2, learning_rate=0.01).fit(X, y)
    assert np.abs(model.predict(X) - want).max() > 1e-3
    for old, new in zip(weights, start.get_weights(), strict=True):
        assert_array_equal(old, new)
    assert [layer.trainable for layer in start.model.layers] == flags
    again = pickle.loads(pickle.dumps(model))
    assert again.initial_network.fingerprint == MEGNetSnapshot(start).fingerprint
    assert_array_equal(again.predict(X[:3]), model.predict(X[:3]))


def test_several_targets_and_kinds_of_inputs(fitted, X, y):
    """Predict more targets than the initial network, in units far from 1."""
    Y = np.column_stack([y, 1e4 + 1e3 * y])
    X = X[:12]
    model = unmoved(fitted.network_).fit(X, Y[:12])
    want = model.predict(X)
    assert want.shape == (12, 2)
    assert np.abs(want - Y[:12].mean(0)).max(0)[1] < 1e4
    frame = pd.DataFrame({"structure": pd.Series(X, index=range(5, 17))})
    assert_array_equal(model.predict(frame), want)
    text = [s.to(fmt="poscar") for s in X[:3]]
    assert_allclose(model.predict(text), want[:3], rtol=1e-4)


def test_structures_that_fail(fitted, X, y):
    bad = [X[0], LONELY, X[1]]
    with pytest.raises(StructureError, match=r"Structure 1 \(Na\): no bonds"):
        unmoved(fitted.network_).fit(bad, y[:3])
    model = unmoved(fitted.network_, on_error="nan")
    with pytest.warns(UserWarning, match=r"left out 1 of 3 structures.*Structure 1"):
        model.fit(bad, y[:3])
    assert_array_equal(np.isnan(model.predict(bad)), [False, True, False])
    with pytest.raises(StructureError, match=r"Structure 0 \(Na\): no bonds"):
        model.fit([LONELY], [1.0])
    # a sample of weight zero has no effect
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.fit(bad, [1.0, 5.0, 5.0], sample_weight=[1, 1, 0])
    assert model.network_.scaler.mean == 1.0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_blocks": 0}, "Got `n_blocks`=0, expected an int of at least 1"),
        ({"max_iter": -1}, "Got `max_iter`=-1, expected an int of at least 0"),
        ({"batch_size": 1.5}, "Got `batch_size`=1.5"),
        ({"layer_sizes": (8, 8)}, r"Got `layer_sizes`=\(8, 8\), expected three ints"),
        ({"cutoff": np.inf}, "Got `cutoff`=inf"),
        ({"learning_rate": 0}, "Got `learning_rate`=0"),
        ({"validation_fraction": 1.0}, "Got `validation_fraction`=1.0.*below 1"),
        ({"on_error": "drop"}, "Got `on_error`='drop', expected 'raise' or 'nan'"),
        ({"initial_network": "Eform_2525"}, "neither a file nor the name"),
    ],
)
def test_wrong_parameters(options, match, X, y):
    with pytest.raises(ValueError, match=match):
        make(**options).fit(X, y)


def test_wrong_data(fitted, X, y):
    model = unmoved(fitted.network_)
    with pytest.raises(ValueError, match="Got an empty list"):
        model.fit([], [])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y[:-1])
    with pytest.raises(ValueError, match="requires y to be passed"):
        model.fit(X, None)
    with pytest.raises(TypeError, match="Got a single Structure"):
        model.fit(X[0], y[:1])
    formula = X[2].composition.reduced_formula
    with pytest.raises(
        ValueError, match=rf"target of structure 2 \({formula}\) is nan"
    ):
        model.fit(X, np.where(np.arange(len(y)) == 2, np.nan, y))
    with pytest.raises(ValueError, match="expected none negative"):
        model.fit(X, y, sample_weight=-y)
    model.set_params(early_stopping=True)
    with pytest.raises(
        ValueError, match=r"Got 1 samples.*leaves no sample to train on"
    ):
        model.fit(X[:1], y[:1])
    model.set_params(early_stopping=False).fit(X[:1], y[:1])
    assert np.isfinite(model.predict(X[:1])).all()


def test_tags():
    tags = get_tags(MEGNetRegressor())
    assert tags.estimator_type == "regressor"
    assert not tags.input_tags.two_d_array
    assert tags.target_tags.multi_output
    assert tags.target_tags.required


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with _progress(1, 3) as report:
        report(1, 0.25, 0.125)
    assert "MEGNetRegressor" in sys.stderr.getvalue()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with _progress(1, 20) as report:
        for epoch in range(1, 21):
            report(epoch, 0.25, None)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"[MEGNetRegressor] epoch {n}: loss 0.25" for n in (10, 20)]
