"""Test graphs of structures of any kind, and the errors of those that fail."""

import pickle

import numpy as np
import pytest
from _megnet.megnet_nets import make_megnet, make_structures, predict
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_unlocknn._megnet.compat import import_megnet
from sklearn_unlocknn._megnet.network import MEGNetSnapshot
from sklearn_unlocknn._structures.read import StructureError, as_items

import_megnet()

from megnet.data.crystal import CrystalGraphDisordered  # noqa: E402
from megnet.data.graph import GaussianDistance  # noqa: E402
from megnet.data.molecule import SimpleMolGraph  # noqa: E402
from pymatgen.core import (  # noqa: E402
    DummySpecies,
    IStructure,
    Lattice,
    Molecule,
    Structure,
)


@pytest.fixture(scope="module")
def model():
    return make_megnet()


@pytest.fixture(scope="module")
def network(model):
    return MEGNetSnapshot(model)


@pytest.fixture(scope="module")
def structures():
    return make_structures(12)


def test_input_kinds(network, structures, tmp_path):
    s = structures[0]
    s.to(str(tmp_path / "a.cif"))
    s.to(str(tmp_path / "POSCAR"))
    graph = network.converter.convert(s)
    kinds = {
        "immutable": IStructure.from_sites(s.sites),
        "dict": s.as_dict(),
        "graph": graph,
        "graph of lists": {k: np.asarray(v).tolist() for k, v in graph.items()},
        "cif": tmp_path / "a.cif",
        "poscar": str(tmp_path / "POSCAR"),
        "cif text": (tmp_path / "a.cif").read_text(),
        "poscar text": (tmp_path / "POSCAR").read_text(),
    }
    want = predict(network, [s])
    for kind, got in zip(kinds, predict(network, kinds.values()), strict=True):
        assert_allclose(got, want[0], atol=1e-4, err_msg=kind)


def test_molecules(network, tmp_path):
    water = Molecule("OHH", [[0, 0, 0], [0, 0.76, 0.59], [0, -0.76, 0.59]])
    water.to(str(tmp_path / "water.xyz"))
    y = predict(network, [water, tmp_path / "water.xyz"])
    assert_allclose(y[0], y[1], atol=1e-4)
    bonds = GaussianDistance(np.linspace(0, 4, 8), 0.5)
    model = make_megnet(converter=SimpleMolGraph(bond_converter=bonds))
    want = model.predict_structure(water)
    assert_allclose(predict(MEGNetSnapshot(model), [water]), want, atol=1e-5)


def test_ase(network, structures):
    pytest.importorskip("ase")
    from pymatgen.io.ase import AseAtomsAdaptor

    atoms = [AseAtomsAdaptor.get_atoms(s) for s in structures[:2]]
    want = predict(network, structures[:2])
    assert_allclose(predict(network, atoms), want, atol=1e-4)
    with pytest.raises(TypeError, match="a single"):
        predict(network, atoms[0])


def test_containers(structures):
    pd = pytest.importorskip("pandas")
    array = np.empty(12, object)
    array[:] = structures
    series = pd.Series(structures, index=range(100, 112))
    containers = [tuple(structures), iter(structures), array, array[:, None], series]
    for X in (*containers, series.to_frame("structure")):
        items = list(as_items(X))
        assert all(a is b for a, b in zip(items, structures, strict=True))
    with pytest.raises(ValueError, match=r"2 columns \['a', 'b'\]"):
        as_items(pd.DataFrame({"a": structures, "b": structures}))
    for one in (structures[0], "a.cif", structures[0].as_dict(), 3, None):
        with pytest.raises(TypeError, match=r"Got a single .*, expected a list"):
            as_items(one)


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
        "dummy": (Structure(cell, [DummySpecies("X")], [[0] * 3]), "X0.*elements"),
        "disordered": (
            Structure(cell, [{"Fe": 0.5, "Ni": 0.5}], [[0] * 3]),
            r"\(Fe0.5Ni0.5\): site 0 is disordered .*CrystalGraph",
        ),
        "nan": (Structure(cell, ["Na"], [[np.nan] * 3]), "not finite"),
        "missing file": ("missing.cif", r"\(missing.cif\): there is no file"),
        "corrupt cif": (
            "data_x\nloop_\n garbage\n",
            r"\(text\): the text cannot be read as CIF",
        ),
        "none": (None, r"\(NoneType\): got None of type NoneType, expected"),
        "folder": (".", r"'\.' is a folder, expected a file"),
        "site": (nacl[0], r"PeriodicSite.* takes structures apart into sites"),
        "bad graph": (graph, r"graph of 1 atoms\): index1 or index2"),
        "ragged graph": ({**graph, "bond": []}, "differ in length"),
        "state": ({**graph, "index2": [0], "state": [[1.0] * 3]}, "3 state features"),
    }


def test_bad_inputs_are_named_by_index(network, structures):
    bad = bad_inputs()
    n = len(bad)
    X = [*structures[:2], *(item for item, _ in bad.values()), structures[2]]
    run = network.run(X, predict=True, on_error="nan")
    assert list(run.errors) == list(range(2, n + 2))
    for (index, error), (_, reason) in zip(
        run.errors.items(), bad.values(), strict=True
    ):
        with pytest.raises(StructureError, match=f"Structure {index} .*{reason}"):
            raise error
        with pytest.raises(StructureError, match=f"Structure 1 .*{reason}"):
            network.extract([structures[0], X[index]])
    assert np.isnan(run.features[2:-1]).all()
    assert np.isnan(run.prediction[2:-1]).all()
    assert_array_equal(run.n_atoms[2:-1], 0)
    good = np.delete(run.features, range(2, n + 2), axis=0)
    assert_allclose(good, network.extract(structures[:3]), atol=1e-5)
    run = network.run([None, None], on_error="nan")
    assert list(run.errors) == [0, 1]
    assert_array_equal(run.features, np.full((2, 22), np.nan))


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
    network = MEGNetSnapshot(model)
    graph = {**model.graph_converter.convert(structures[0]), "state": [2]}
    assert_allclose(predict(network, [graph]), model.predict_graph(graph), atol=1e-5)
    with pytest.raises(StructureError, match=r"state \[7\]: the network supports"):
        predict(network, [{**graph, "state": [7]}])


def test_disordered_structures():
    bonds = GaussianDistance(np.linspace(0, 5, 8), 0.7)
    converter = CrystalGraphDisordered(bond_converter=bonds, cutoff=4.0)
    model = make_megnet(converter=converter, nfeat_node=16)
    network = MEGNetSnapshot(model)
    alloy = Structure(Lattice.cubic(3), [{"Fe": 0.5, "Ni": 0.5}], [[0] * 3])
    iron = Structure(Lattice.cubic(3), ["Fe"], [[0] * 3])
    want = [model.predict_structure(s)[0] for s in (alloy, iron)]
    assert_allclose(predict(network, [alloy, iron]), want, atol=1e-5)
    with pytest.raises(StructureError, match=r"Structure 0 \(Og\)"):
        predict(network, [Structure(Lattice.cubic(3), ["Og"], [[0] * 3])])
