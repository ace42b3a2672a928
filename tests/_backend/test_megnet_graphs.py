import copy
import os
import pickle
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sklearn_unlocknn._backend import megnet_graphs
from sklearn_unlocknn._backend.megnet_graphs import (
    FrozenMEGNet,
    StructureError,
    as_items,
    batches,
    convert_many,
)
from sklearn_unlocknn._backend.megnet_import import import_megnet

import_megnet()

from megnet.data.crystal import CrystalGraph, CrystalGraphDisordered  # noqa: E402
from megnet.data.graph import GaussianDistance  # noqa: E402
from megnet.data.molecule import SimpleMolGraph  # noqa: E402
from megnet.models import GraphModel, MEGNetModel  # noqa: E402
from megnet.utils.preprocessing import StandardScaler  # noqa: E402
from pymatgen.core import (  # noqa: E402
    DummySpecies,
    IStructure,
    Lattice,
    Molecule,
    Structure,
)


def make_megnet(seed=0, scaler=None, converter=None, **options):
    """Make a tiny MEGNet with weights, biases included, that are not zero."""
    if converter is None:
        bonds = GaussianDistance(np.linspace(0, 5, 8), 0.7)
        converter = CrystalGraph(bond_converter=bonds, cutoff=4.0)
    options = {"nfeat_edge": 8, "nfeat_global": 2, "nblocks": 1, **options}
    if scaler is not None:
        options["target_scaler"] = scaler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf-keras: one initializer, many layers
        model = MEGNetModel(
            **{"n1": 8, "n2": 6, "n3": 4, **options}, graph_converter=converter
        )
    rng = np.random.default_rng(seed)
    shapes = [w.shape for w in model.get_weights()]
    weights = [rng.standard_normal(s) / np.sqrt(s[0]) for s in shapes]
    model.model.set_weights(weights)
    return model


def predict(network, X, **options):
    """Predict the one target of a tiny network."""
    return network.predict(X, **options)[:, 0]


def make_structures(n, seed=0):
    """Make cells of very different sizes."""
    rng = np.random.default_rng(seed)
    elements = ["Na", "Cl", "Fe", "O", "Ti", "U"]
    out = []
    for i in range(n):
        k = 40 if i == 3 else int(rng.integers(1, 6))
        cell = Lattice.cubic(2.5 * k ** (1 / 3) + rng.random())
        out.append(Structure(cell, rng.choice(elements, k), rng.random((k, 3))))
    return out


@pytest.fixture(scope="module")
def model():
    return make_megnet(nblocks=2)


@pytest.fixture(scope="module")
def network(model):
    return FrozenMEGNet(model)


@pytest.fixture(scope="module")
def structures():
    return make_structures(12)


def test_prediction_is_that_of_megnet(model, network, structures):
    want = model.predict_structures(structures)
    assert_allclose(predict(network, structures), want[:, 0], atol=2e-5)


def test_features_are_those_of_megnet(model, network, structures):
    """Against megnet's own layers on one structure at a time."""
    readout = type(model.model)(model.inputs, model.layers[-4].output)
    want = [
        readout(model.graph_converter.get_input(s)).numpy()[0, 0] for s in structures
    ]
    X = network.extract(structures)
    assert X.shape == (12, 2 * 4 * 2 + 6)
    assert X.dtype == np.float64
    assert_allclose(X, want, atol=2e-5)


@pytest.mark.parametrize("batch_size", [1, 5, 128])
def test_batches_do_not_matter(network, structures, batch_size, monkeypatch):
    want = network.extract(structures)
    assert_allclose(network.extract(structures, batch_size=batch_size), want, atol=2e-5)
    monkeypatch.setattr(megnet_graphs, "CHUNK", 5)
    monkeypatch.setattr(megnet_graphs, "MAX_BONDS", 300)
    assert_allclose(network.extract(structures, batch_size=batch_size), want, atol=2e-5)


def test_batches_bound_the_bonds(monkeypatch):
    monkeypatch.setattr(megnet_graphs, "MAX_BONDS", 10)
    sizes = [4, 4, 4, 50, 1, 1, 1, 1]
    graphs = [SimpleNamespace(index1=[0] * n) for n in sizes]
    got = [[len(g.index1) for g in batch] for batch in batches(graphs, 3)]
    assert got == [[4, 4], [4], [50], [1, 1, 1], [1]]


def test_layers(model, network, structures):
    by_index = network.extract(structures, -2)
    name = model.layers[-2].name
    assert_array_equal(network.extract(structures, name), by_index)
    both = network.extract(structures, [-4, name])
    assert_allclose(both, np.hstack([network.extract(structures), by_index]), atol=1e-5)
    assert network.resolve_layer([-4, name]) == (model.layers[-4].name, name)
    features, output = network.extract(structures, with_output=True)
    assert_allclose(features, both[:, :22], atol=1e-5)
    assert_allclose(output, network.predict(structures), atol=1e-5)
    run = network.run(structures, [-4, name], predict=True)
    assert_allclose(run.features, both, atol=1e-5)
    assert_allclose(run.prediction[:, 0], predict(network, structures), atol=1e-5)
    assert_array_equal(run.n_atoms, [len(s) for s in structures])


def test_layer_errors(network, structures):
    for bad in ("block_9", 99, -99, 1.5):
        with pytest.raises(ValueError, match=r"Got `layer`=.*expected an index in"):
            network.extract(structures, bad)
    for bad in ("set2set_atom", "set2set_bond", "readout_0"):
        network.extract(structures[:2], bad)
    for bad in ("megnet_0", "block_1_add_atom", "block_1_add_bond"):
        with pytest.raises(ValueError, match="not describe whole structures"):
            network.extract(structures, bad)
    with pytest.raises(ValueError, match="Nothing to compute"):
        network.run(structures, None)


def test_one_structure_and_none(network, structures):
    assert predict(network, structures[:1]).shape == (1,)
    assert network.extract([]).shape == (0, 22)
    assert predict(network, []).shape == (0,)


@pytest.mark.parametrize("intensive", [True, False])
def test_scaler(intensive, structures):
    scaler = StandardScaler(mean=3.0, std=2.0, is_intensive=intensive)
    scaled, plain = make_megnet(scaler=scaler), make_megnet()
    network = FrozenMEGNet(scaled)
    n = np.array([len(s) for s in structures])
    times = 1 if intensive else n
    raw = predict(FrozenMEGNet(plain), structures)
    y = predict(network, structures)
    assert_allclose(y, times * (2 * raw + 3), rtol=1e-5)
    assert_allclose(y, scaled.predict_structures(structures)[:, 0], rtol=1e-4)
    # A std is scaled and never shifted by the target mean (unlockNN's bug).
    assert_allclose(network.scale_std(np.full(12, 0.5), n), 2 * 0.5 * times)
    assert_allclose(FrozenMEGNet(plain).scale_std(0.5, 7), 0.5)


class SquareScaler:
    """A user's scaler that is not affine and not MSONable."""

    def inverse_transform(self, target, n=1):
        return np.square(target)


def test_scaler_of_ones_own(structures):
    network = FrozenMEGNet(make_megnet(scaler=SquareScaler()))
    raw = predict(FrozenMEGNet(make_megnet()), structures)
    assert_allclose(predict(network, structures), raw**2, rtol=1e-5)
    with pytest.raises(ValueError, match="nonlinear scaler SquareScaler"):
        network.scale_std(1.0)


def test_several_targets(structures):
    model = make_megnet(ntarget=3)
    network = FrozenMEGNet.of(model)
    assert network.n_outputs == 3
    y = network.predict(structures)
    assert_allclose(y, model.predict_structures(structures), atol=2e-5)


def test_dropout_is_off(structures):
    network = FrozenMEGNet(make_megnet(dropout=0.5, dropout_on_predict=True))
    assert_array_equal(network.extract(structures), network.extract(structures))


def test_other_activation_pooling_and_feature_inputs(structures):
    model = make_megnet(act="tanh", is_classification=True)
    got = predict(FrozenMEGNet(model), structures)
    assert_allclose(got, model.predict_structures(structures)[:, 0], atol=2e-5)


def test_snapshot_leaves_the_model_alone(structures):
    model = make_megnet()
    before = model.get_weights()
    network = FrozenMEGNet(model)
    y = predict(network, structures)
    for a, b in zip(model.get_weights(), before, strict=True):
        assert_array_equal(a, b)
    assert model.model.trainable
    model.model.set_weights([w * 0 for w in before])
    assert_array_equal(predict(network, structures), y)


def test_fingerprint(model, network):
    assert FrozenMEGNet(model).fingerprint() == network.fingerprint()
    assert FrozenMEGNet(network).fingerprint() == network.fingerprint()
    assert pickle.loads(pickle.dumps(network)).fingerprint() == network.fingerprint()
    weights = model.get_weights()
    other = make_megnet(nblocks=2)
    other.model.set_weights([*weights[:-1], weights[-1] + 1e-3])
    assert FrozenMEGNet(other).fingerprint() != network.fingerprint()
    cutoff = CrystalGraph(bond_converter=model.graph_converter.bond_converter, cutoff=3)
    other = GraphModel(model.model, cutoff)
    assert FrozenMEGNet(other).fingerprint() != network.fingerprint()


def test_copies_are_shared(network):
    assert copy.copy(network) is network
    assert copy.deepcopy(network) is network
    assert clone(network) is network


def test_pickle_in_a_fresh_process(network, structures, tmp_path):
    run = network.run(structures, predict=True)
    path = tmp_path / "network.pickle"
    payload = pickle.dumps(network), structures, run.features, run.prediction
    path.write_bytes(pickle.dumps(payload))
    script = """
import pickle, sys
import numpy as np
state, structures, X, y = pickle.load(open(sys.argv[1], "rb"))
network = pickle.loads(state)
assert "tensorflow" not in sys.modules and "megnet" not in sys.modules
run = network.run(structures, predict=True)
np.testing.assert_allclose(run.features, X, atol=1e-5)
np.testing.assert_allclose(run.prediction, y, atol=1e-5)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_file(tmp_path, structures):
    """Files in the format of megnet's released networks."""
    model = make_megnet()
    path = tmp_path / "net.hdf5"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the format is called legacy
        model.save_model(str(path))
    want = FrozenMEGNet(model)
    for name in (path, str(path)):
        got = FrozenMEGNet.of(name)
        assert FrozenMEGNet.of(path) is got
        assert FrozenMEGNet.of(got) is got
        assert got.fingerprint() == want.fingerprint()
        assert_array_equal(predict(got, structures), predict(want, structures))


def test_converter_and_network_that_do_not_fit():
    bonds = GaussianDistance(np.linspace(0, 5, 9), 0.7)
    network = FrozenMEGNet(make_megnet(converter=CrystalGraph(bond_converter=bonds)))
    with pytest.raises(ValueError, match=r"expands bonds to 9 features.* expects 8"):
        network.extract([])


def test_input_kinds(network, structures, tmp_path):
    s = structures[0]
    s.to(str(tmp_path / "a.cif"))
    s.to(str(tmp_path / "POSCAR"))
    kinds = {
        "immutable": IStructure.from_sites(s.sites),
        "dict": s.as_dict(),
        "graph": network.converter.convert(s),
        "graph of lists": {
            k: np.asarray(v).tolist() for k, v in network.converter.convert(s).items()
        },
        "cif": tmp_path / "a.cif",
        "poscar": str(tmp_path / "POSCAR"),
        "cif text": (tmp_path / "a.cif").read_text(),
        "poscar text": (tmp_path / "POSCAR").read_text(),
    }
    want = predict(network, [s])
    for kind, item in kinds.items():
        assert_allclose(predict(network, [item]), want, atol=1e-4, err_msg=kind)
    mixed = predict(network, [*kinds.values(), s])
    assert_allclose(mixed, np.repeat(want, 9), atol=1e-4)


def test_molecules(network, tmp_path):
    water = Molecule("OHH", [[0, 0, 0], [0, 0.76, 0.59], [0, -0.76, 0.59]])
    y = predict(network, [water])
    water.to(str(tmp_path / "water.xyz"))
    assert_allclose(predict(network, [tmp_path / "water.xyz"]), y, atol=1e-4)
    bonds = GaussianDistance(np.linspace(0, 4, 8), 0.5)
    model = make_megnet(converter=SimpleMolGraph(bond_converter=bonds))
    assert_allclose(
        predict(FrozenMEGNet(model), [water]), model.predict_structure(water), atol=1e-5
    )


def test_ase(network, structures):
    pytest.importorskip("ase")
    from pymatgen.io.ase import AseAtomsAdaptor

    atoms = [AseAtomsAdaptor.get_atoms(s) for s in structures[:2]]
    assert_allclose(
        predict(network, atoms), predict(network, structures[:2]), atol=1e-4
    )
    with pytest.raises(TypeError, match="a single"):
        predict(network, atoms[0])


def test_containers(network, structures):
    pd = pytest.importorskip("pandas")
    want = predict(network, structures)
    array = np.empty(12, object)
    array[:] = structures
    series = pd.Series(structures, index=range(100, 112))
    for X in (
        tuple(structures),
        iter(structures),
        array,
        array[:, None],
        series,
        series.to_frame("structure"),
    ):
        assert_array_equal(predict(network, X), want)
    with pytest.raises(ValueError, match=r"2 columns \['a', 'b'\]"):
        as_items(pd.DataFrame({"a": structures, "b": structures}))
    for one in (structures[0], "a.cif", structures[0].as_dict(), 3, None):
        with pytest.raises(TypeError, match=r"Got a single .*, expected a list"):
            predict(network, one)


def bad_inputs():
    cell, wide = Lattice.cubic(3), Lattice.cubic(20)
    nacl = Structure(cell, ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    graph = {"atom": [11], "bond": [3.0], "index1": [0], "index2": [1]}
    lonely = Structure(wide, ["Na", "Cl", "K"], [[0, 0, 0], [0.1, 0, 0], [0.5] * 3])
    return {
        "no bonds": (Structure(wide, ["Na"], [[0] * 3]), r"\(Na\): no bonds"),
        "isolated": (lonely, r"\(KNaCl\): isolated atoms \(sites \[2\]\)"),
        "unknown element": (
            Structure(cell, ["Am"], [[0] * 3]),
            r"\(Am\): unknown elements, atomic numbers \[95\]",
        ),
        "dummy": (Structure(cell, [DummySpecies("X")], [[0] * 3]), "unknown elements"),
        "disordered": (
            Structure(cell, [{"Fe": 0.5, "Ni": 0.5}], [[0] * 3]),
            r"\(Fe0.5Ni0.5\): site 0 is disordered .*CrystalGraph",
        ),
        "nan": (Structure(cell, ["Na"], [[np.nan] * 3]), "not finite"),
        "missing file": ("missing.cif", r"\(missing.cif\): there is no file"),
        "corrupt cif": ("data_x\nloop_\n garbage\n", r"\(text\): "),
        "none": (None, r"\(NoneType\): got a NoneType, expected"),
        "site": (nacl[0], r"PeriodicSite.* takes structures apart into sites"),
        "bad graph": (graph, r"graph of 1 atoms\): index1 or index2"),
        "ragged graph": ({**graph, "bond": []}, "differ in length"),
        "state": ({**graph, "index2": [0], "state": [[1.0] * 3]}, "3 state features"),
    }


@pytest.mark.filterwarnings("ignore::UserWarning:pymatgen")
@pytest.mark.filterwarnings("ignore:.*CIF:UserWarning")
@pytest.mark.parametrize("kind", bad_inputs())
def test_bad_input_is_named_by_index(network, structures, kind):
    bad, reason = bad_inputs()[kind]
    X = [*structures[:2], bad, structures[2]]
    with pytest.raises(StructureError, match=f"Structure 2 .*{reason}"):
        network.extract(X)
    run = network.run(X, predict=True, on_error="nan")
    assert_array_equal(run.failed, [False, False, True, False])
    assert list(run.errors) == [2]
    assert np.isnan(run.features[2]).all()
    assert np.isnan(run.prediction[2]).all()
    assert_allclose(
        run.features[~run.failed], network.extract(structures[:3]), atol=1e-5
    )
    assert_array_equal(run.n_atoms[2], 0)


def test_all_fail(network):
    run = network.run([None, None], on_error="nan")
    assert run.failed.all()
    assert run.features.shape == (2, 22)
    assert np.isnan(run.features).all()


def test_isolated_atom_allowed(network, model, structures):
    X, _ = bad_inputs()["isolated"]
    got = predict(network, [X, structures[0]], allow_isolated=True)
    assert_allclose(got[0], model.predict_structure(X)[0], atol=1e-5)
    assert_allclose(got[1], predict(network, structures[:1])[0], atol=1e-5)


def test_options_are_checked(network, structures):
    with pytest.raises(ValueError, match="Got `on_error`='skip', expected"):
        network.extract(structures, on_error="skip")
    with pytest.raises(ValueError, match="Got `batch_size`=0, expected 1 or more"):
        network.extract(structures, batch_size=0)


def test_error_pickles():
    error = pickle.loads(pickle.dumps(StructureError(3, "NaCl", "no bonds")))
    assert str(error) == "Structure 3 (NaCl): no bonds"


def test_state_attributes(network, model, structures):
    plain, attribute, prop = (structures[0].copy() for _ in range(3))
    attribute.state = np.array([[1.0, -2.0]])
    prop.properties["state"] = [1.0, -2.0]
    y = predict(network, [plain, attribute, prop])
    assert_allclose(y[1], y[2], rtol=1e-5)
    assert abs(y[0] - y[1]) > 1e-4
    graph = {**model.graph_converter.convert(plain), "state": [[1.0, -2.0]]}
    assert_allclose(y[1], model.predict_graph(graph)[0], atol=1e-5)


def test_state_embedding(structures):
    model = make_megnet(nfeat_global=None, global_embedding_dim=3, ngvocal=4)
    network = FrozenMEGNet(model)
    graph = {**model.graph_converter.convert(structures[0]), "state": [2]}
    assert_allclose(predict(network, [graph]), model.predict_graph(graph), atol=1e-5)
    with pytest.raises(StructureError, match=r"state \[7\]: the network knows those"):
        predict(network, [{**graph, "state": [7]}])


def test_disordered_structures():
    bonds = GaussianDistance(np.linspace(0, 5, 8), 0.7)
    converter = CrystalGraphDisordered(bond_converter=bonds, cutoff=4.0)
    model = make_megnet(converter=converter, nfeat_node=16)
    alloy = Structure(Lattice.cubic(3), [{"Fe": 0.5, "Ni": 0.5}], [[0] * 3])
    iron = Structure(Lattice.cubic(3), ["Fe"], [[0] * 3])
    y = predict(FrozenMEGNet(model), [alloy, iron])
    want = [model.predict_structure(s)[0] for s in (alloy, iron)]
    assert_allclose(y, want, atol=1e-5)
    unknown = Structure(Lattice.cubic(3), ["Og"], [[0] * 3])
    with pytest.raises(StructureError, match=r"Structure 0 \(Og\)"):
        predict(FrozenMEGNet(model), [unknown])


def test_stream_is_lazy_and_bounded(network, structures, monkeypatch):
    monkeypatch.setattr(megnet_graphs, "CHUNK", 4)
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield structures[len(taken) % 12] if len(taken) != 6 else None

    stream = network.stream(endless(), on_error="nan")
    first, second = next(stream), next(stream)
    assert len(taken) == 8
    assert len(first.features) == len(second.features) == 4
    assert first.errors == {}
    assert list(second.errors) == [5]
    assert_array_equal(np.isnan(second.features[:, 0]), [False, True, False, False])


def test_n_jobs(network, structures):
    X = [*structures, None, *structures]
    want = network.run(X, on_error="nan")
    got = network.run(X, on_error="nan", n_jobs=2)
    assert_allclose(got.features, want.features, atol=1e-5)
    assert {i: str(e) for i, e in got.errors.items()} == {
        12: str(want.errors[12]),
    }
    with pytest.raises(StructureError, match="Structure 12"):
        network.run(X, n_jobs=2)


def test_worker_conversion_needs_no_network(network, structures):
    graphs = convert_many(network._spec, structures[:2], start=5)
    assert len(graphs[0].atom) == len(structures[0])


DATA = os.environ.get("SKLEARN_UNLOCKNN_DATA")


@pytest.mark.skipif(DATA is None, reason="SKLEARN_UNLOCKNN_DATA is not set")
@pytest.mark.parametrize("name", ["Eform_MP_2019", "Efermi_MP_2019", "logK_MP_2018"])
def test_pretrained(name):
    try:
        network = FrozenMEGNet(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    nacl = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0] * 3, [0.5] * 3]
    ).get_primitive_structure()
    run = network.run([nacl], predict=True)
    assert run.features.shape == (1, 96)
    # Materials Project: formation energy -2.1 eV/atom, bulk modulus 24 GPa
    want = {"Eform_MP_2019": (-2.1, 0.15), "logK_MP_2018": (np.log10(24), 0.15)}
    if name in want:
        value, tolerance = want[name]
        assert abs(run.prediction[0, 0] - value) < tolerance
    else:
        assert_allclose(network.scale_std(1.0, 5), network.scaler.std)
