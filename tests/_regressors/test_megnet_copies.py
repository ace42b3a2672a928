"""Test MEGNetProbRegressor copied, pickled and cached."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from _megnet.megnet_nets import make_megnet, quick
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sklearn_unlocknn import MEGNetFeatureExtractor
from sklearn_unlocknn._megnet.network import MEGNetSnapshot

y = np.cos(np.arange(24.0)) + 3.0


@pytest.mark.slow
def test_model_object_is_shared_and_left_as_it_was(crystals):
    model = make_megnet()
    before = [w.copy() for w in model.get_weights()]
    optimizer = model.model.optimizer
    estimator = quick(model, mean="network").fit(crystals, y)
    assert clone(estimator).network is model
    assert copy.deepcopy(estimator).network is model
    assert model.model.optimizer is optimizer
    assert all(layer.trainable for layer in model.model.layers)
    for weight, want in zip(model.get_weights(), before, strict=True):
        assert_array_equal(weight, want)
    # Training the model later changes no fitted estimator.
    want = estimator.predict(crystals)
    model.set_weights([2.0 * w for w in before])
    assert_array_equal(estimator.predict(crystals), want)
    assert not np.allclose(estimator.fit(crystals, y).predict(crystals), want)


def test_fresh_process_unpickles_and_predicts(tiny_net, crystals, tmp_path, one_thread):
    fitted = quick(tiny_net, mean="network").fit(crystals, y)
    want = fitted.predict(crystals, return_std=True)
    loaded = pickle.loads(pickle.dumps(fitted))
    assert_allclose(loaded.predict(crystals, return_std=True), want, rtol=1e-10)
    assert_array_equal(clone(loaded).fit(crystals, y).predict(crystals), want[0])
    (tmp_path / "model.pkl").write_bytes(pickle.dumps((fitted, crystals, want)))
    code = (
        "import pickle, sys, numpy as np\n"
        "model, X, want = pickle.load(open(sys.argv[1], 'rb'))\n"
        "np.testing.assert_allclose(model.predict(X, return_std=True), want, 1e-4)\n"
        "print('same')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.pkl")],
        capture_output=True, text=True, env=one_thread, check=False,
    )  # fmt: skip
    assert done.stdout == "same\n", done.stderr


def test_cache_keeps_errors_of_structures(tiny_net, crystals, tmp_path, monkeypatch):
    network = MEGNetSnapshot(tiny_net)
    ran = []
    run = MEGNetSnapshot._run_block

    def counted(self, block):
        ran.append(len(block[1]))
        return run(self, block)

    monkeypatch.setattr(MEGNetSnapshot, "_run_block", counted)
    cached = quick(network, memory=tmp_path, on_error="nan")
    X = [crystals[0], "no structure\n", crystals[0], crystals[1]]
    for _ in range(2):
        ran.clear()
        with pytest.warns(UserWarning, match=r"1 of 4 .* left out.*Structure 1 \(text"):
            cached.fit(X, y[:4])
        assert sum(ran) in (3, 1)
    cached.set_params(on_error="raise")
    with pytest.raises(ValueError, match=r"Structure 1 \(text"):
        cached.fit(X, y[:4])


@pytest.mark.parametrize("name", ["lattice", "species", "coords", "state"])
def test_cache_keeps_features_of_like_structures_apart(
    tiny_frozen, crystals, tmp_path, name
):
    one, other = crystals[0], crystals[0].copy()
    if name == "lattice":
        other.scale_lattice(1.02 * one.volume)
    elif name == "species":
        other[0] = "K"
    elif name == "coords":
        other.perturb(0.1)
    else:
        other.state = [[1.0, 2.0]]
    extractor = MEGNetFeatureExtractor(tiny_frozen, memory=tmp_path).fit([one])
    a, b = extractor.transform([one, other])
    assert not np.allclose(a, b)
    assert_array_equal(extractor.transform([other])[0], b)
