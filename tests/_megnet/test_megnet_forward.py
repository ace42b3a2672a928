"""Compare the pass in NumPy with TensorFlow's, in double precision, and its parts."""

import json
import os

import numpy as np
import pytest
from _megnet.megnet_nets import make_megnet, make_structures
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Lattice, Structure

from sklearn_unlocknn._megnet import forward, merging
from sklearn_unlocknn._megnet.batches import join
from sklearn_unlocknn._megnet.converter import _equivalent, identify, read_object
from sklearn_unlocknn._megnet.fast_layers import softplus2
from sklearn_unlocknn._megnet.forward import Segments
from sklearn_unlocknn._megnet.keras_pass import KerasPass, as_inputs
from sklearn_unlocknn._megnet.merging import merge
from sklearn_unlocknn._megnet.network import MEGNetSnapshot
from sklearn_unlocknn._megnet.state import build_network, freeze_object
from sklearn_unlocknn._structures.read import StructureError
from sklearn_unlocknn.datasets import (
    MEGNET_MODELS,
    fetch_megnet_model,
    make_ionic_crystals,
)

import tensorflow as tf  # isort: skip
import tf_keras  # isort: skip
from megnet.data.crystal import CrystalGraph  # isort: skip
from megnet.data.graph import DummyConverter, GaussianDistance  # isort: skip
from megnet.layers import LinearWithIndex  # isort: skip
from megnet.models import GraphModel  # isort: skip
from megnet.utils.preprocessing import DummyScaler, StandardScaler  # isort: skip

DATA = os.environ.get("SKLEARN_UNLOCKNN_DATA")
EDGE = 5.64
NACL = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(EDGE), ["Na", "Cl"], [[0] * 3, [0.5] * 3]
)


def symmetric_and_other_structures():
    """Return crystals with like atoms and bonds, a strained one and others without."""
    cscl = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0] * 3, [0.5] * 3])
    strained = NACL.copy().apply_strain([0.01, -0.02, 0.03], inplace=False)
    doubled = cscl.make_supercell([2, 1, 1], in_place=False)
    return [NACL, cscl, moved(NACL), strained, doubled, *make_structures(6)]


def moved(crystal, seed=0):
    """Return a crystal with each atom moved by itself, so that none are alike."""
    steps = np.random.default_rng(seed).uniform(-0.01, 0.01, (len(crystal), 3))
    coords = crystal.frac_coords + steps
    return Structure(crystal.lattice, crystal.species, coords)


@pytest.fixture(scope="module")
def model():
    return make_megnet(
        nblocks=2, npass=2, ntarget=3, dropout=0.3, dropout_on_predict=True
    )


@pytest.fixture(scope="module")
def network(model):
    return MEGNetSnapshot(model)


@pytest.fixture(scope="module")
def graphs(network):
    return network.graphs(symmetric_and_other_structures())


def in_double(network, arrays, names):
    """Return the values of layers by Keras, uncompiled, in float64."""
    state = dict(network._state)
    state["config"] = state["config"].replace('"float32"', '"float64"')
    model = build_network(state)
    atom, bond, *rest = arrays
    if network._gaussians is not None:
        centers, width = network._gaussians
        bond = np.exp(-(((bond.astype(float)[:, None] - centers) / width) ** 2))
    outputs = [model.get_layer(name).output for name in names]
    inputs = as_inputs([atom, bond, *rest], model)
    values = tf_keras.Model(model.inputs, outputs)(inputs, training=False)
    return [value.numpy()[0] for value in values]


def assert_as_in_double(network, graphs, tol):
    """Compare all layers that describe structures, relative to the feature's scale."""
    assert not network.needs_tensorflow
    names, arrays = tuple(network._widths), join(graphs)
    got, want = network._pass(arrays, names), in_double(network, arrays, names)
    for name, one, other in zip(names, got, want, strict=True):
        assert one.dtype == forward.DTYPE
        scale = np.abs(other).max(axis=0)
        scale[scale == 0] = 1.0
        assert_allclose(one / scale, other / scale, atol=tol, err_msg=name)


@pytest.fixture
def double(monkeypatch):
    """Run in float64, and merge nothing but bonds of equal lengths."""
    monkeypatch.setattr(forward, "DTYPE", np.float64)
    monkeypatch.setattr(merging, "_UNITS", 1)


@pytest.mark.parametrize("pool", ["mean", "sum"])
def test_equations(pool, network, graphs, double):
    state = network._state
    config = state["config"].replace('"mean"', f'"{pool}"')
    assert_as_in_double(MEGNetSnapshot({**state, "config": config}), graphs, 1e-11)


def test_bonds_expanded_in_the_network(graphs, double):
    converter = CrystalGraph(bond_converter=DummyConverter(), cutoff=4.0)
    bonds = {"nfeat_edge": None, "centers": np.linspace(0, 5, 8), "width": 0.7}
    other = MEGNetSnapshot(make_megnet(converter=converter, **bonds))
    names, arrays = tuple(other._widths), join(graphs)
    want = in_double(other, arrays, names)
    for got, value in zip(other._pass(arrays, names), want, strict=True):
        assert_allclose(got, value, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", sorted(forward.ACTIVATIONS.keys() - {None}))
def test_activations_are_those_of_keras(name):
    get = {"softplus2": softplus2}.get(name) or tf_keras.activations.get(name)
    x = np.array([-200.0, -30, -2, -0.5, 0, 0.5, 2, 79, 81, 200], np.float32)
    want = get(tf.constant(x.astype(float))).numpy()
    assert_allclose(forward.ACTIVATIONS[name](x.copy()), want, rtol=1e-6, atol=1e-7)


# Those of molecules have graph converters of megnet's.
@pytest.mark.parametrize("name", [n for n in MEGNET_MODELS if "QM9" not in n])
def test_released_networks(name):
    if DATA is None:
        pytest.skip("SKLEARN_UNLOCKNN_DATA is not set")
    try:
        path = fetch_megnet_model(name, download_if_missing=False)
    except FileNotFoundError:
        pytest.skip("the network is not in the data folder")
    network = MEGNetSnapshot(path)
    crystals = list(make_ionic_crystals(40, random_state=0).data)
    crystals += [moved(crystal, seed) for seed, crystal in enumerate(crystals[:10])]
    graphs = network.graphs(crystals)
    good = [graph for graph in graphs if not isinstance(graph, StructureError)]
    assert len(good) > 40
    assert_as_in_double(network, good, 1e-5)


def test_bonds_in_any_order(network, graphs):
    graph = graphs[0]
    order = np.random.default_rng(0).permutation(len(graph.bond))
    mixed = {k: getattr(graph, k)[order] for k in ("bond", "index1", "index2")}
    names = tuple(network._widths)
    both = [network._pass(join([g]), names) for g in (graph, graph._replace(**mixed))]
    for one, other in zip(*both, strict=True):
        assert_allclose(one, other, rtol=1e-5, atol=1e-6)


# --- other layers ----------------------------------------------------------------


def test_layers_that_only_keras_has(model, network, graphs):
    """Pool by megnet's linear readout, which is left to TensorFlow."""
    inner = build_network(network._state)  # without dropout
    inputs = inner.get_layer("block_0_add_atom"), inner.get_layer(inner.input_names[5])
    pooled = LinearWithIndex(name="pooled")([layer.output for layer in inputs])
    other = GraphModel(tf_keras.Model(inner.inputs, pooled), model.graph_converter)
    network = MEGNetSnapshot(other)
    assert network.needs_tensorflow
    assert isinstance(network._pass, KerasPass)
    assert set(network._widths) >= {"pooled", "preblock_state_1"}
    assert "block_0_add_atom" not in network._widths
    want = [other.predict_graph(graph._asdict()) for graph in graphs[:3]]
    options = {"layer": "pooled", "predict": True}
    done = network.run([graph._asdict() for graph in graphs[:3]], **options)
    assert_allclose(done.features, want, atol=2e-5)
    assert_array_equal(done.prediction, done.features)


def test_what_numpy_does_not_run(network):
    for old, new in (
        ('"float32"', '"float16"'),
        ('"softplus2"', '"elu"'),
        ('"mask_zero": false', '"mask_zero": true'),
    ):
        config = network._state["config"].replace(old, new)
        assert config != network._state["config"]
        changed = MEGNetSnapshot({**network._state, "config": config})
        assert changed.needs_tensorflow
        assert changed.fingerprint != network.fingerprint


def test_weights_of_another_network(network):
    state = network._state
    for weights, reason in (
        (state["weights"][:-1], "weights of layer 'readout_2' are missing"),
        ([*state["weights"], np.ones(3)], "1 weights belong to none"),
    ):
        with pytest.raises(ValueError, match=reason):
            _ = MEGNetSnapshot({**state, "weights": weights}).n_outputs


# --- equal converters and scalers ------------------------------------------------


@pytest.mark.parametrize("cutoff", [2.0, 4.0])
def test_graphs_are_those_of_megnet(cutoff):
    bonds = GaussianDistance(np.linspace(0, 5, 8), 0.7)
    theirs = CrystalGraph(bond_converter=bonds, cutoff=cutoff)
    ours = read_object(freeze_object(theirs))
    assert type(ours).__module__.startswith("sklearn_unlocknn")
    for structure in symmetric_and_other_structures():
        try:
            want = theirs.convert(structure)
        except RuntimeError:
            with pytest.raises(RuntimeError, match="no bonds"):
                ours.convert(structure)
            continue
        got = ours.convert(structure)
        assert got.keys() == want.keys()
        for key in want:
            assert_array_equal(got[key], want[key], err_msg=key)


def test_cutoff_of_the_neighbour_search(network):
    spec = json.loads(network._state["converter"][1])
    assert spec["nn_strategy"]["cutoff"] == 4.0
    for strategy, ours in (
        ({**spec["nn_strategy"], "cutoff": 3.0}, 3.0),
        ("MinimumDistanceNNAll", 4.0),
        ({"@module": "pymatgen.analysis.local_env", "@class": "VoronoiNN"}, None),
        (None, None),
    ):
        frozen = "json", json.dumps({**spec, "nn_strategy": strategy})
        known, converter = _equivalent(frozen)
        assert known == (ours is not None)
        assert getattr(converter, "cutoff", None) == ours


@pytest.mark.parametrize(
    "scaler", [None, DummyScaler(), StandardScaler(3.0, 2.0), StandardScaler(3, 0.0)]
)
@pytest.mark.parametrize("intensive", [True, False])
def test_scalers_are_those_of_megnet(scaler, intensive):
    if isinstance(scaler, StandardScaler):
        scaler.is_intensive = intensive
    frozen = freeze_object(scaler)
    ours = read_object(frozen)
    assert ours is None or type(ours).__module__.startswith("sklearn_unlocknn")
    y = np.array([[1.0], [-2.0]])
    want = y if scaler is None else scaler.inverse_transform(y, 5)
    assert_array_equal(y if ours is None else ours.inverse_transform(y, 5), want)
    assert identify(frozen) == identify(freeze_object(scaler))


# --- parts -----------------------------------------------------------------------


def merged(structure, cutoff=4.0):
    bonds = GaussianDistance(np.linspace(0, 5, 8), 0.7)
    graph = CrystalGraph(bond_converter=bonds, cutoff=cutoff).convert(structure)
    atom = np.array(graph["atom"])
    ends = graph["index1"], graph["index2"]
    return graph, merge(atom, np.zeros_like(atom), graph["bond"], *ends)


def test_like_atoms_and_bonds_are_merged():
    """Rock salt has 6 neighbours at a/2 and 12 at a/sqrt(2)."""
    graph, one = merged(NACL)
    assert_array_equal(one.n_atoms, [4, 4])
    assert_array_equal(np.sort(one.n_bonds), [6, 6, 12, 12])
    lengths = graph["bond"][one.bonds]
    assert_allclose(lengths[one.n_bonds == 6], EDGE / 2, rtol=1e-6)
    assert_allclose(lengths[one.n_bonds == 12], EDGE / np.sqrt(2), rtol=1e-6)
    assert (one.index1[one.n_bonds == 6] != one.index2[one.n_bonds == 6]).all()
    assert (one.index1[one.n_bonds == 12] == one.index2[one.n_bonds == 12]).all()
    assert one.n_atoms[one.index1] @ one.n_bonds == len(graph["bond"])


def test_unlike_atoms_are_not_merged():
    shifted = Structure(NACL.lattice, NACL.species, NACL.frac_coords + 0.01)
    assert len(merged(shifted)[1].atoms) == 2
    graph, one = merged(moved(NACL), 6.0)
    assert_array_equal(one.n_atoms, np.ones(8))
    # only images of an atom lie at equal distances, on both sides
    images = graph["index1"] == graph["index2"]
    assert len(one.bonds) == (~images).sum() + images.sum() / 6
    assert len(graph["bond"]) > len(one.bonds)


def test_atoms_of_different_graphs_are_not_merged():
    one = merge(
        np.array([11, 11, 11, 11]), np.array([0, 0, 1, 1]), np.full(4, 2.5),
        np.arange(4), np.array([1, 0, 3, 2]),
    )  # fmt: skip
    assert_array_equal(one.atoms, [0, 2])
    assert_array_equal(one.index2, [0, 1])
    assert_array_equal(one.n_atoms, [2, 2])


def test_far_neighbours_tell_atoms_apart():
    """A chain: the ends and their neighbours are alike in pairs, by the ends alone."""
    index1, index2 = (
        np.array([0, 1, 1, 2, 2, 3, 3, 4]),
        np.array([1, 0, 2, 1, 3, 2, 4, 3]),
    )
    one = merge(np.ones(5, int), np.zeros(5, int), np.ones(8), index1, index2)
    assert_array_equal(one.n_atoms, [2, 2, 1])
    other = merge(
        np.array([1, 1, 1, 1, 2]), np.zeros(5, int), np.ones(8), index1, index2
    )
    assert_array_equal(other.n_atoms, np.ones(5))


def test_segments():
    rng = np.random.default_rng(0)
    index, n = np.array([0, 0, 2, 2, 2]), 4
    weights, x = np.array([1, 3, 2, 1, 1]), rng.normal(size=(5, 3)).astype(np.float32)
    segments = Segments(index, weights, n)
    repeated, owner = np.repeat(x, weights, axis=0), np.repeat(index, weights)
    for i in range(n):
        rows = repeated[owner == i]
        assert_allclose(segments.sum(x)[i], rows.sum(axis=0), rtol=1e-5, atol=1e-6)
        mean = rows.mean(axis=0) if len(rows) else np.zeros(3)
        assert_allclose(segments.mean(x)[i], mean, rtol=1e-5, atol=1e-6)
    assert_array_equal(segments.maximum(x[:, 0]), [x[:2, 0].max(), x[2:, 0].max()])
