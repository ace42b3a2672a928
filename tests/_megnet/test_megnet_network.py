"""Compare MEGNetSnapshot with megnet; test batches, layers, scalers, copies, files."""

import copy
import os
import pickle
import subprocess
import sys
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from _megnet.megnet_nets import (
    SquareScaler,
    make_megnet,
    make_structures,
    predict,
    save_megnet,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sklearn_unlocknn._megnet import batches as megnet_batches
from sklearn_unlocknn._megnet import network as megnet_graphs
from sklearn_unlocknn._megnet.batches import batches
from sklearn_unlocknn._megnet.compat import import_megnet
from sklearn_unlocknn._megnet.network import MEGNetSnapshot
from sklearn_unlocknn._structures.read import StructureError
from sklearn_unlocknn.datasets import fetch_megnet_model

import_megnet()

from megnet.data.crystal import CrystalGraph  # noqa: E402
from megnet.data.graph import GaussianDistance  # noqa: E402
from megnet.models import GraphModel  # noqa: E402
from megnet.utils.preprocessing import StandardScaler  # noqa: E402
from pymatgen.core import Lattice, Structure  # noqa: E402


@pytest.fixture(scope="module")
def model():
    return make_megnet(nblocks=2)


@pytest.fixture(scope="module")
def network(model):
    return MEGNetSnapshot(model)


@pytest.fixture(scope="module")
def plain():
    """Return a network without a scaler, whose predictions are its raw output."""
    return MEGNetSnapshot(make_megnet())


@pytest.fixture(scope="module")
def structures():
    return make_structures(12)


@pytest.mark.parametrize(
    "options",
    [{"nblocks": 2}, {"ntarget": 3}, {"act": "tanh", "is_classification": True}],
    ids=str,
)
def test_prediction_is_that_of_megnet(options, structures):
    model = make_megnet(**options)
    network = MEGNetSnapshot.of(model)
    want = model.predict_structures(structures)
    assert_allclose(network.predict(structures), want, atol=2e-5)
    assert network.n_outputs == want.shape[1]


def test_features_are_those_of_megnet(model, network, structures):
    """Compare with megnet's own layers on one structure at a time."""
    readout = type(model.model)(model.inputs, model.layers[-4].output)
    want = [
        readout(model.graph_converter.get_input(s)).numpy()[0, 0] for s in structures
    ]
    X = network.extract(structures, -4)
    assert X.shape == (12, 2 * 4 * 2 + 6)
    assert X.dtype == np.float64
    assert_allclose(X, want, atol=2e-5)


def test_batches_do_not_change_features(network, structures, monkeypatch):
    want = network.extract(structures)
    for bounds in ((megnet_graphs.BLOCK, megnet_batches.MAX_BONDS), (5, 300)):
        monkeypatch.setattr(megnet_graphs, "BLOCK", bounds[0])
        monkeypatch.setattr(megnet_batches, "MAX_BONDS", bounds[1])
        for batch_size in (1, 5, 128):
            got = network.extract(structures, batch_size=batch_size)
            assert_allclose(got, want, atol=2e-5)


def test_batches_bound_the_bonds(monkeypatch):
    monkeypatch.setattr(megnet_batches, "MAX_BONDS", 10)
    sizes = [4, 4, 4, 50, 1, 1, 1, 1]
    graphs = [SimpleNamespace(index1=[0] * n) for n in sizes]
    got = [[len(g.index1) for g in batch] for batch in batches(graphs, 3)]
    assert got == [[4, 4], [4], [50], [1, 1, 1], [1]]


def test_layers(model, network, structures):
    by_index = network.extract(structures, -2)
    name = model.layers[-2].name
    assert_array_equal(network.extract(structures, name), by_index)
    assert network.resolve_layer([-4, name]) == (model.layers[-4].name, name)
    run = network.run(structures, [-4, name], predict=True)
    alone = [network.extract(structures, -4), by_index]
    assert_allclose(run.features, np.hstack(alone), atol=1e-5)
    assert_allclose(run.prediction, network.predict(structures), atol=1e-5)
    assert_array_equal(run.n_atoms, [len(s) for s in structures])
    none = network.run([], predict=True)
    assert none.features.shape == (0, 42)
    assert none.prediction.shape == (0, 1)


def test_auto_layer_is_all_state_and_readout_layers(structures):
    network = MEGNetSnapshot.of(make_megnet(nblocks=3))
    names = network.resolve_layer("auto")
    layers = network.keras_model.layers
    assert names[-1] == layers[-4].name
    # for each later block two dense layers on the state, and the sum after each earlier
    kinds = [type(network.keras_model.get_layer(name)).__name__ for name in names]
    assert kinds == ["Add", "Dense", "Dense"] * 2 + ["Concatenate"]
    X = network.extract(structures)
    assert_allclose(X, network.extract(structures, list(names)), atol=1e-5)
    assert X.shape[1] == network.n_features("auto") == 2 * (6 + 8 + 6) + 22
    assert len(np.unique(X.round(5), axis=0)) == len(structures)


def test_wrong_options(network, structures):
    for bad in ("block_9", 99, -99, 1.5):
        with pytest.raises(ValueError, match=r"Got `layer`=.*expected an index in"):
            network.extract(structures, bad)
    for bad in ("set2set_atom", "set2set_bond", "readout_0"):
        network.extract(structures[:2], bad)
    for bad in ("megnet_0", "block_1_add_atom", "block_1_add_bond"):
        with pytest.raises(ValueError, match="describe atoms or bonds"):
            network.extract(structures, bad)
    with pytest.raises(ValueError, match="Nothing to compute"):
        network.run(structures, None)
    with pytest.raises(ValueError, match="Got `on_error`='skip', expected"):
        network.extract(structures, on_error="skip")
    with pytest.raises(ValueError, match="Got `batch_size`=0, expected 1 or more"):
        network.extract(structures, batch_size=0)
    bonds = GaussianDistance(np.linspace(0, 5, 9), 0.7)
    other = MEGNetSnapshot(make_megnet(converter=CrystalGraph(bond_converter=bonds)))
    with pytest.raises(ValueError, match=r"expands bonds to 9 features.* expects 8"):
        other.extract([])


@pytest.mark.parametrize("intensive", [True, False])
def test_scaler(intensive, plain, structures):
    scaled = make_megnet(scaler=StandardScaler(3.0, 2.0, intensive))
    network = MEGNetSnapshot(scaled)
    n = np.array([[len(s)] for s in structures])
    times = np.ones_like(n) if intensive else n
    raw, y = plain.predict(structures), network.predict(structures)
    assert_allclose(y, times * (2 * raw + 3), rtol=1e-5)
    few = structures[:4]  # megnet is slow
    assert_allclose(y[:4], scaled.predict_structures(few), rtol=1e-4)
    # The std is multiplied by the slope, and not shifted by the target mean.
    shift, slope = network.target_affine(n[:, 0])
    assert_allclose(shift, 3.0 * times)
    assert_allclose(slope, 2.0 * times)
    assert network.extensive == (not intensive)
    assert_array_equal(plain.target_affine([7, 2]), [[[0], [0]], [[1], [1]]])


def test_user_defined_scaler(plain, structures):
    network = MEGNetSnapshot(make_megnet(scaler=SquareScaler()))
    raw = predict(plain, structures)
    assert_allclose(predict(network, structures), raw**2, rtol=1e-5)
    with pytest.raises(ValueError, match="nonlinear target scaler SquareScaler"):
        network.target_affine([1])


def test_dropout_is_off(structures):
    network = MEGNetSnapshot(make_megnet(dropout=0.5, dropout_on_predict=True))
    assert_array_equal(network.extract(structures), network.extract(structures))


def test_fingerprint_and_copies(model, network):
    want = network.fingerprint
    again = pickle.loads(pickle.dumps(network))
    for same in (MEGNetSnapshot(model), MEGNetSnapshot(network), again):
        assert same.fingerprint == want
    assert MEGNetSnapshot.of(model) is MEGNetSnapshot.of(model)  # of equal content
    for share in (copy.copy, copy.deepcopy, clone):
        assert share(network) is network
    weights = model.get_weights()
    heavier = make_megnet(nblocks=2)
    heavier.model.set_weights([*weights[:-1], weights[-1] + 1e-3])
    cutoff = CrystalGraph(bond_converter=model.graph_converter.bond_converter, cutoff=3)
    for other in (heavier, GraphModel(model.model, cutoff)):
        assert MEGNetSnapshot(other).fingerprint != want


def test_unpickling_loads_no_heavy_library(network, tmp_path):
    path = tmp_path / "network.pickle"
    path.write_bytes(pickle.dumps(network))
    script = (
        "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))\n"
        "heavy = {'tensorflow', 'tf_keras', 'keras', 'megnet', 'pymatgen', 'monty'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


SCRIPT = """
import pickle
import numpy as np
from sklearn_unlocknn._megnet.compat import import_megnet

import_megnet()
import tf_keras
from _megnet.megnet_nets import make_megnet, make_structures, quick
from megnet.data.crystal import CrystalGraph
from megnet.data.graph import GaussianDistance


class OwnGraph(CrystalGraph):
    pass


class OwnScaler:
    def inverse_transform(self, target, n=1):
        return 2.0 * target


class OwnDense(tf_keras.layers.Dense):
    pass


bonds = GaussianDistance(np.linspace(0, 5, 8), 0.7)
net = make_megnet(converter=OwnGraph(bond_converter=bonds), scaler=OwnScaler())
hidden, last = net.model.layers[-2:]
output = OwnDense(1, name="own")(hidden.output)
net.model = tf_keras.Model(net.model.inputs, output)
X = make_structures(6)
model = quick(net, layer=-2, mean="network").fit(X, np.arange(6.0))
with open("model.pkl", "wb") as file:
    pickle.dump((model, X, model.predict(X)), file)
"""
LOAD = """
import pickle, numpy as np
with open("model.pkl", "rb") as file:
    model, X, expected = pickle.load(file)
np.testing.assert_allclose(model.predict(X), expected, rtol=1e-5)
"""


def test_pickle_with_classes_of_a_script_loads_in_a_fresh_process(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    path = os.pathsep.join([p for p in sys.path if p] + [os.getcwd()])
    for command in (["script.py"], ["-c", LOAD]):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_file(tmp_path, structures):
    """Read files in the format of megnet's released networks."""
    model = make_megnet()
    path = save_megnet(model, tmp_path)
    want = MEGNetSnapshot(model)
    for name in (path, str(path)):
        got = MEGNetSnapshot.of(name)
        assert MEGNetSnapshot.of(path) is got
        assert MEGNetSnapshot.of(got) is got
        assert got.fingerprint == want.fingerprint
        assert_array_equal(predict(got, structures), predict(want, structures))


def test_file_with_other_weights(tmp_path):
    path = save_megnet(make_megnet(), tmp_path)
    with h5py.File(path, "r+") as file:
        layer = file["model_weights/readout_2/readout_2"]
        del layer["kernel:0"]
        layer["kernel:0"] = np.ones((3, 1))
    with pytest.raises(ValueError, match=r"net\.hdf5 is not a MEGNet network"):
        MEGNetSnapshot(path)


def test_stream_is_lazy_and_bounded(network, structures, monkeypatch):
    monkeypatch.setattr(megnet_graphs, "BLOCK", 4)
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield structures[len(taken) % 12] if len(taken) != 6 else None

    stream = network.stream(endless(), on_error="nan", batch_size=2)
    first, second = next(stream), next(stream)
    assert len(taken) == 8
    assert len(first.features) == len(second.features) == 4
    assert first.errors == {}
    assert list(second.errors) == [5]
    assert_array_equal(np.isnan(second.features[:, 0]), [False, True, False, False])


def test_n_jobs(network, structures, monkeypatch):
    monkeypatch.setattr(megnet_graphs, "BLOCK", 8)
    X = [*structures, None, *structures]
    want = network.run(X, on_error="nan", batch_size=4)
    got = network.run(X, on_error="nan", batch_size=4, n_jobs=2)
    assert_array_equal(got.features, want.features)
    assert {i: str(e) for i, e in got.errors.items()} == {12: str(want.errors[12])}
    with pytest.raises(StructureError, match="Structure 12"):
        network.run(X, batch_size=4, n_jobs=2)
    assert len(network.graphs(X, n_jobs=2)) == 25


DATA = os.environ.get("SKLEARN_UNLOCKNN_DATA")


@pytest.mark.skipif(DATA is None, reason="SKLEARN_UNLOCKNN_DATA is not set")
@pytest.mark.parametrize("name", ["Eform_MP_2019", "Efermi_MP_2019", "logK_MP_2018"])
def test_pretrained(name):
    try:
        path = fetch_megnet_model(name, download_if_missing=False)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    network = MEGNetSnapshot(path)
    nacl = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0] * 3, [0.5] * 3]
    ).get_primitive_structure()
    run = network.run([nacl], -4, predict=True)
    assert run.features.shape == (1, 96)
    # Materials Project: formation energy -2.1 eV/atom, bulk modulus 24 GPa
    want = {"Eform_MP_2019": (-2.1, 0.15), "logK_MP_2018": (np.log10(24), 0.15)}
    if name in want:
        value, tolerance = want[name]
        assert abs(run.prediction[0, 0] - value) < tolerance
    else:
        assert_allclose(network.target_affine([5])[1], [[network.scaler.std]])
