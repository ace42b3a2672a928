"""Test features in blocks: several networks, descriptors and element fractions."""

import pickle

import numpy as np
import pytest
from _megnet.megnet_nets import make_megnet, quick
from counted import CountedMEGNet, noted
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Lattice, Structure
from sklearn.base import clone
from sklearn.gaussian_process import kernels as gpk

from sklearn_unlocknn import (
    FineTuning,
    MEGNetFeatureExtractor,
    MEGNetProbRegressor,
    StructureDescriptors,
)
from sklearn_unlocknn._megnet.network import MEGNetSnapshot
from sklearn_unlocknn.datasets import make_ionic_crystals

GRAPH = {"atom": [11, 17], "bond": [2.8, 2.8], "index1": [0, 1], "index2": [1, 0]}
X, y = make_ionic_crystals(40, random_state=0, return_X_y=True)
y = np.log10(-y)


@pytest.fixture(scope="module")
def networks(tiny_frozen):
    return [tiny_frozen, MEGNetSnapshot.of(make_megnet(npass=2))]


@pytest.fixture(scope="module")
def fitted(tiny_frozen):
    """Return a default model but for its network."""
    return MEGNetProbRegressor(tiny_frozen, random_state=0).fit(X[:30], y[:30])


def features_of(model, X):
    return model._encoder.encode(model, X).features


def test_columns_are_those_of_the_transformers(networks):
    model = quick(networks, descriptors=["element_fractions", "geometry"])
    model.fit(X[:30], y[:30])
    found, blocks = features_of(model, X), model.feature_blocks_
    names = ["network", "network 0", "network 1", "descriptors", "element_fractions"]
    assert list(blocks) == names
    for name, network in zip(names[1:3], networks, strict=True):
        want = MEGNetFeatureExtractor(network).fit_transform(X)
        assert_allclose(found[:, blocks[name]], want, rtol=1e-5, atol=1e-6)
    both = MEGNetFeatureExtractor(networks).fit(X)
    assert_allclose(both.transform(X), found[:, blocks["network"]], atol=1e-6)
    assert both.network_ == networks
    for name, group in (("descriptors", "geometry"), (names[4], names[4])):
        want = StructureDescriptors([group]).fit_transform(X)
        assert_allclose(found[:, blocks[name]], want)
    assert model.n_features_out_ == found.shape[1]


def test_default_kernel_has_an_effect_of_each_element(fitted):
    parts, kernel = [], fitted.kernel_
    while isinstance(kernel, gpk.Sum):
        parts.append(kernel.k2.k2)
        kernel = kernel.k1
    blocks = fitted.feature_blocks_
    assert isinstance(parts[0].kernel, gpk.DotProduct)
    assert parts[0].columns == blocks["element_fractions"]
    assert kernel.k2.columns == blocks["descriptors"]
    assert len(kernel.k2.kernel.length_scale) == len(range(1000)[blocks["descriptors"]])
    # One scale for all elements, those of no training sample included
    scale = fitted._head.scaling.x_scale[blocks["element_fractions"]]
    assert len(np.unique(scale)) == 1
    assert len(np.unique(fitted._head.scaling.x_scale[blocks["descriptors"]])) > 5


def test_error_bars_are_wider_for_an_element_that_was_not_seen(fitted):
    crystal = X[30].copy()
    element = crystal[0].specie.symbol
    unseen = crystal.copy()
    unseen.replace_species({element: "Rn"})
    _, std = fitted.predict([crystal, unseen], return_std=True)
    assert std[1] > std[0]


def test_what_is_not_defined_has_the_mean_of_the_training_samples(fitted):
    inputs, _ = fitted._head._inputs(features_of(fitted, [GRAPH]))
    columns = fitted.feature_blocks_["descriptors"]
    graph = StructureDescriptors().fit_transform([GRAPH])[0]
    assert 20 < np.isnan(graph).sum() < len(graph)
    assert_array_equal(inputs[0, columns][np.isnan(graph)], 0.0)
    assert np.isfinite(fitted.predict([GRAPH], return_std=True)).all()


def test_kernel_on_blocks_by_name(tiny_frozen):
    kernel = "rbf[descriptors] + linear[element_fractions]"
    model = quick(tiny_frozen, kernel=kernel, descriptors="auto").fit(X[:30], y[:30])
    assert model.kernel_.k1.k2.columns == model.feature_blocks_["descriptors"]
    alone = quick(tiny_frozen, kernel="rbf[element_fractions]")
    with pytest.raises(ValueError, match=r"not a known name. Names: \['network', 'n"):
        alone.fit(X[:30], y[:30])


def test_copies_of_a_model_of_several_networks(networks):
    model = quick([networks[0], make_megnet(npass=2)], descriptors="auto")
    copied = clone(model)
    assert copied.network is model.network
    mean = copied.fit(X[:30], y[:30]).predict(X[30:])
    loaded = pickle.loads(pickle.dumps(copied))
    assert_allclose(loaded.predict(X[30:]), mean, rtol=1e-5)
    assert len(loaded.network_) == 2


def test_undefined_descriptors_are_left_out(tiny_net, tmp_path):
    """Whatever the order of the samples, their weights, and the cache."""
    network = CountedMEGNet(tiny_net, tmp_path / "log")
    model = quick(network, descriptors="auto", memory=tmp_path / "features")
    mixed, targets = [GRAPH, {**GRAPH, "bond": [3.0, 3.0]}, *X[:20]], [1, 2, *y[:20]]
    mean = model.fit(mixed, targets).predict(X[30:])
    model.fit(mixed, targets).predict(X[30:])
    passes, _ = noted(tmp_path / "log")
    assert sum(passes) == 32  # NaN are cached, too
    columns = model.feature_blocks_["descriptors"]
    crystals = StructureDescriptors().fit_transform(X[:20])
    graph = StructureDescriptors().fit_transform([GRAPH])[0]
    only = np.isnan(graph) & ~np.isnan(crystals).any(axis=0)
    x_mean = model._head.scaling.x_mean[columns]
    assert_allclose(x_mean[only], crystals.mean(axis=0)[only])
    pieces = [(mixed[:2], targets[:2]), (mixed[2:], targets[2:])]
    streamed = clone(model).fit_stream(pieces)
    assert_allclose(streamed.predict(X[30:]), mean, rtol=1e-4)
    weights = np.r_[0.0, 0.0, np.ones(20)]
    weighted = clone(model).fit(mixed, targets, sample_weight=weights)
    without = clone(model).fit(X[:20], y[:20])
    assert_allclose(weighted.predict(X[30:]), without.predict(X[30:]), rtol=1e-4)
    # What no training sample has does not count.
    graphs = [{**GRAPH, "bond": [d, d]} for d in np.linspace(2.5, 3.2, 6)]
    model.set_params(kernel="rbf + linear").fit(graphs, np.arange(6.0))
    structure = Structure(Lattice.cubic(3.3), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    inputs, _ = model._head._inputs(features_of(model, [structure]))
    assert_allclose(inputs[0, columns][only], 0.0, atol=1e-200)


def test_stream_is_the_fit_of_all(tiny_frozen):
    model = MEGNetProbRegressor(tiny_frozen, max_iter=2, random_state=0)
    mean = clone(model).fit(X[:30], y[:30]).predict(X[30:])
    pieces = ((X[s : s + 30], y[s : s + 30]) for s in (0,))
    streamed = model.fit_stream(pieces)
    assert_allclose(streamed.predict(X[30:]), mean, rtol=1e-4)
    assert [len(m) for m, _ in streamed.predict_stream(X[30:])] == [10]


def test_processes_and_folder_give_the_same_features(networks, tmp_path):
    options = {"descriptors": "auto", "memory": tmp_path}
    two = quick(networks, n_jobs=2, extract_batch_size=16, **options).fit(X, y)
    one = quick(networks, descriptors="auto").fit(X, y)
    assert_allclose(features_of(two, X), features_of(one, X), rtol=1e-5, atol=1e-6)
    again = quick(networks, **options).fit(X, y)  # from the folder
    assert_array_equal(features_of(again, X), features_of(two, X))
    bare = quick(networks, memory=tmp_path).fit(X, y)
    assert bare.n_features_out_ == one.feature_blocks_["network"].stop


def test_failed_structure_is_named_by_its_file(fitted, tmp_path):
    path = tmp_path / "alone.cif"
    Structure(Lattice.cubic(20.0), ["Na"], [[0, 0, 0]]).to(filename=str(path))
    with pytest.raises(ValueError, match=r"Structure 1 \(.*alone.cif\): .*bonds"):
        fitted.predict([X[0], path])
    lenient = clone(fitted).set_params(on_error="nan").fit(X[:30], y[:30])
    mean = lenient.predict([X[0], path, X[1]])
    assert_array_equal(np.isnan(mean), [False, True, False])


def test_network_is_tuned_beside_descriptors(tiny_frozen):
    tuning = FineTuning(2, network_learning_rate=3e-3, validation_fraction=0.0)
    model = quick(tiny_frozen, descriptors="auto", fine_tuning=tuning)
    model.fit(X[:30], y[:30])
    assert model.network_.fingerprint != tiny_frozen.fingerprint
    assert model.fine_tune_curve_.shape == (3,)
    columns = model.feature_blocks_["descriptors"]
    want = StructureDescriptors().fit_transform(X[:5])
    assert_allclose(features_of(model, X[:5])[:, columns], want)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"descriptors": ["volume"]},
            r"`descriptors`=\['volume'\], expected 'auto', None, or a li",
        ),
        ({"descriptors": 3}, "`descriptors`=3, expected 'auto', None"),
        ({"mean": "network"}, 'mean="network" with a list of 2 networks'),
        ({"fine_tuning": FineTuning()}, "a list of 2 networks, expected a single"),
        ({"network": []}, "empty list as `network`"),
        ({"network": ["Eform"]}, r"`network\[0\]`='Eform', which is neither a file"),
    ],
)
def test_wrong_parameters_are_named(networks, params, message):
    model = quick(networks).set_params(**params)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
