"""Data sets: small files of the same layout from a local server, and real files."""

import gzip
import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import KFold, StratifiedKFold

from sklearn_unlocknn._megnet.compat import import_megnet
from sklearn_unlocknn.datasets import (
    MATBENCH_TASKS,
    MEGNET_MODELS,
    _cache,
    fetch_crossed_barrel,
    fetch_elasticity,
    fetch_matbench,
    fetch_megnet_model,
    fetch_perovskites,
    make_ionic_crystals,
    matbench_folds,
)

ELASTICITY = "matcalc/mp-binary-pbe-elasticity-2025.1.json.gz"
N = 12


@pytest.fixture(scope="module")
def structures():
    return make_ionic_crystals(N, random_state=0).data


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Return the function that puts a file in the data folder and the registry."""
    monkeypatch.setenv("SKLEARN_UNLOCKNN_DATA", str(tmp_path))

    def publish(path, content, **more):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
        entry = {"sha256": hashlib.sha256(content).hexdigest(), "url": "", **more}
        monkeypatch.setattr(_cache, "registry", lambda: {path: entry})

    return publish


def zipped(content):
    return gzip.compress(json.dumps(content).encode())


def split(columns, rows):
    """Compress a frame in the layout of Matbench's files."""
    return zipped({"index": [*range(len(rows))], "columns": columns, "data": rows})


def test_matbench_structures(publish, structures, tmp_path):
    rows = [[s.as_dict(), float(i)] for i, s in enumerate(structures)]
    path = "matbench/matbench_phonons.json.gz"
    columns = ["structure", "last phdos peak"]
    publish(path, split(columns, rows), n_rows=N, columns=columns[::-1])
    got = fetch_matbench("phonons")
    assert got.data.shape == (N,)
    assert list(got.data) == list(structures)
    assert_array_equal(got.target, np.arange(float(N)))
    assert got.target_names == ["last phdos peak"]
    assert got.frame is None
    assert got.filename == str(tmp_path / path)
    assert "12 samples" in got.DESCR
    assert "1/cm" in got.DESCR

    framed = fetch_matbench(
        "matbench_phonons", as_frame=True, download_if_missing=False
    )
    assert framed.frame.index[0] == got.mb_id[0] == "mb-phonons-01"
    assert got.mb_id[-1] == "mb-phonons-12"
    assert list(framed.frame) == columns
    assert list(framed.data) == ["structure"]
    assert list(framed.data["structure"]) == list(structures)
    assert_array_equal(framed.target, got.target)
    X, y = fetch_matbench("phonons", return_X_y=True)
    assert list(X) == list(structures)
    assert_array_equal(y, got.target)


def test_matbench_compositions(publish):
    rows = [["Fe2O3", False], ["Cu", True], ["NaCl", False]]
    columns = ["composition", "is_metal"]
    path = "matbench/matbench_expt_is_metal.json.gz"
    publish(path, split(columns, rows), n_rows=3, columns=columns)
    got = fetch_matbench("expt_is_metal")
    assert list(got.data) == ["Fe2O3", "Cu", "NaCl"]
    assert got.target.dtype == bool
    assert got.feature_names == ["composition"]
    assert list(got.mb_id) == [f"mb-expt-is-metal-{i}" for i in (1, 2, 3)]


@pytest.mark.parametrize("entry", [{"n_rows": 4}, {"columns": ["composition", "gap"]}])
def test_matbench_of_another_size(publish, entry):
    rows = [["Fe2O3", 1.0], ["Cu", 2.0], ["NaCl", 3.0]]
    columns = ["composition", "yield strength"]
    entry = {"n_rows": 3, "columns": columns, **entry}
    publish("matbench/matbench_steels.json.gz", split(columns, rows), **entry)
    with pytest.raises(ValueError, match=r"holds 3 rows of .*yield.*, expected"):
        fetch_matbench("steels")


def test_matbench_with_other_columns_or_order(publish):
    rows = [["Fe2O3", 1.0, 5.0], ["Cu", 2.0, 6.0]]
    columns = ["composition", "yield strength"]
    path, entry = "matbench/matbench_steels.json.gz", {"n_rows": 2, "columns": columns}
    publish(path, split([*columns, "hardness"], rows), **entry)
    with pytest.raises(ValueError, match=r"2 rows of .*'hardness'.*, expected 2 rows"):
        fetch_matbench("steels")
    content = {"index": [1, 0], "columns": columns, "data": [row[:2] for row in rows]}
    publish(path, zipped(content), **entry)
    with pytest.raises(ValueError, match=r"another order.*\[1, 0\].* folds"):
        fetch_matbench("steels")


def test_matbench_tasks(tmp_path):
    tasks = {f"matbench/matbench_{name}.json.gz" for name in MATBENCH_TASKS}
    assert tasks == {p for p in _cache.registry() if p.startswith("matbench/")}
    for name in MATBENCH_TASKS:
        path = f"matbench/matbench_{name}.json.gz"
        assert len({"structure", "composition"} & {*_cache.registry()[path]["columns"]})
        with pytest.raises(FileNotFoundError, match="https://") as error:
            fetch_matbench(name, data_home=tmp_path, download_if_missing=False)
        assert f"-> {tmp_path / path}" in str(error.value)
    with pytest.raises(ValueError, match=r"Got `name`='phonon', .* \['phonons', "):
        fetch_matbench("phonon")


def test_matbench_folds():
    y = np.random.default_rng(0).normal(size=103)
    for target, kind in ((y, KFold), (y > 1, StratifiedKFold)):
        want = kind(5, shuffle=True, random_state=18012019).split(target, target)
        got = matbench_folds(target)
        assert len(got) == 5
        for (a, b), (c, d) in zip(got, want, strict=True):
            assert_array_equal(a, c)
            assert_array_equal(b, d)


def test_perovskites(publish, structures):
    table = {
        "material_id": 100 + np.arange(N),
        "cif": [structure.to(fmt="cif") for structure in structures],
        "formula": [structure.formula for structure in structures],
        "heat_all": 0.1 * np.arange(N),
        "heat_ref": 9,
    }
    publish("perov_5/test.csv", pd.DataFrame(table).to_csv().encode())
    got = fetch_perovskites("test")
    for a, b in zip(got.data, structures, strict=True):
        assert a.composition == b.composition
        assert_allclose(a.volume, b.volume, rtol=1e-6)
    assert_allclose(got.target, 0.1 * np.arange(N))
    cifs, y = fetch_perovskites("test", as_cif=True, return_X_y=True)
    assert all(isinstance(cif, str) and "_cell_length_a" in cif for cif in cifs)
    assert_array_equal(y, got.target)
    framed = fetch_perovskites("test", as_frame=True, as_cif=True)
    assert framed.frame.index.tolist() == got.material_id.tolist()
    assert list(framed.frame) == ["structure", "heat_all"]
    with pytest.raises(ValueError, match=r"Got `subset`='train', expected one of"):
        fetch_perovskites("train")


def test_elasticity(publish, structures):
    rows = [
        {
            "mp_id": f"mp-{i}",
            "formula": s.formula,
            "structure": s.as_dict(),
            "bulk_modulus_vrh": str(2.0 * i) if i % 2 else 2.0 * i,
            "shear_modulus_vrh": i - 3.0,
        }
        for i, s in enumerate(structures)
    ]
    publish(ELASTICITY, zipped(rows))
    got = fetch_elasticity()
    assert list(got.data) == list(structures)
    assert_array_equal(got.target, 2.0 * np.arange(N))
    assert got.mp_id[3] == "mp-3"
    names = ["shear_modulus_vrh", "bulk_modulus_vrh"]
    both = fetch_elasticity(names, as_frame=True)
    assert both.target.shape == (N, 2)
    assert list(both.frame) == ["structure", *names]
    assert_array_equal(both.target["shear_modulus_vrh"], np.arange(N) - 3.0)
    assert fetch_elasticity(names[:1]).target.shape == (N, 1)
    for bad in ("bulk", [], ["shear_modulus_vrh", "K"]):
        with pytest.raises(ValueError, match="Got `target`="):
            fetch_elasticity(bad)


def test_crossed_barrel(publish):
    path = "crossed_barrel/crossed_barrel.csv"
    table = pd.DataFrame(
        {"n": 6, "theta": [0, 25, 0, 25], "r": 1.5, "t": 0.7, "toughness": range(4)}
    )
    publish(path, table.to_csv(index=False).encode())
    got = fetch_crossed_barrel()
    assert_array_equal(got.data, table[["n", "theta", "r", "t"]])
    assert_array_equal(got.target, np.arange(4.0))
    assert_array_equal(got.design, [0, 1, 0, 1])
    assert got.frame is None
    framed = fetch_crossed_barrel(as_frame=True)
    assert list(framed.frame) == [*got.feature_names, *got.target_names]
    assert list(framed.data) == got.feature_names
    assert framed.target.name == "toughness"
    X, y = fetch_crossed_barrel(return_X_y=True)
    assert (X.shape, y.shape) == ((4, 4), (4,))
    publish(path, table.rename(columns={"t": "T"}).to_csv(index=False).encode())
    with pytest.raises(ValueError, match=r"columns .*'T'.*, expected .*'t', 'toughn"):
        fetch_crossed_barrel()


def test_registry():
    registry = _cache.registry()
    assert sum("n_rows" in entry for entry in registry.values()) == 13
    for path, entry in registry.items():
        assert re.fullmatch("[0-9a-f]{64}", entry["sha256"])
        assert entry["url"].startswith("https://")
        if path != "crossed_barrel/crossed_barrel.csv":  # renamed: a name with a blank
            assert entry["url"].rpartition("/")[2] == path.rpartition("/")[2]
        assert not Path(path).is_absolute()
    assert len(MEGNET_MODELS) == 22
    for path in MEGNET_MODELS.values():
        for file in (path, path + ".json"):
            assert registry[file]["url"].endswith(file.split("megnet/")[1])


def test_megnet_names_and_both_missing_files(tmp_path):
    import_megnet()
    from megnet.utils.models import MODEL_MAPPING

    ours = {k: v.removeprefix("megnet/") for k, v in MEGNET_MODELS.items()}
    # megnet lists the QM9 networks by a template of its own
    crystals = {k: v for k, v in ours.items() if "QM9" not in k}
    assert crystals == {k: v for k, v in MODEL_MAPPING.items() if "QM9" not in k}
    assert ours["QM9_gap_2018"] == "qm9-2018.6.1/gap.hdf5"
    with pytest.raises(ValueError, match=r"2091', .* one of \['Eform_MP_2019"):
        fetch_megnet_model("Eform_MP_2091")
    with pytest.raises(ValueError, match="Got `name`=3, expected one of"):
        fetch_megnet_model(3)
    with pytest.raises(FileNotFoundError) as error:
        fetch_megnet_model(
            "logK_MP_2018", data_home=tmp_path, download_if_missing=False
        )
    for suffix in ("hdf5", "hdf5.json"):
        file = tmp_path / "megnet" / "mp-2018.6.1" / f"log10K.{suffix}"
        assert f"log10K.{suffix} -> {file}" in str(error.value)


DATA = os.environ.get("SKLEARN_UNLOCKNN_DATA")
real = pytest.mark.skipif(DATA is None, reason="SKLEARN_UNLOCKNN_DATA is not set")


@real
def test_real_perovskites():
    got = fetch_perovskites(as_cif=True, download_if_missing=False)
    assert got.data.shape == got.target.shape == (3787,)
    assert len(set(got.material_id)) == 3787
    assert -1 < got.target.min() < got.target.max() < 6


@real
def test_real_crossed_barrel():
    if not Path(DATA, "crossed_barrel").exists():
        pytest.skip("the crossed barrels are not in the data folder")
    got = fetch_crossed_barrel(download_if_missing=False)
    assert got.data.shape == (1800, 4)
    assert_array_equal(np.bincount(got.design), np.full(600, 3))
    spread = pd.Series(got.target).groupby(got.design).std()
    assert spread.min() < 0.2 < 10 < spread.max()


@real
def test_real_elasticity():
    got = fetch_elasticity(
        ["bulk_modulus_vrh", "shear_modulus_vrh"], download_if_missing=False
    )
    assert got.data.shape == (3953,)
    assert got.target.shape == (3953, 2)
    assert 0 < got.target.min() < got.target.max() < 500  # GPa, diamond has 440
    elements = [len(structure.composition) for structure in got.data]
    assert set(elements) == {2}


@real
def test_real_files_have_the_sha256_of_the_registry():
    there = [path for path in _cache.registry() if Path(DATA, path).exists()]
    names = ["Eform_MP_2019", "Efermi_MP_2019", "logK_MP_2018", "Bandgap_MP_2018"]
    networks = [MEGNET_MODELS[name] for name in names]
    assert {*networks, *(path + ".json" for path in networks)} <= {*there}
    files = _cache.fetch_files(*there, download_if_missing=False)
    assert files == [Path(DATA, path) for path in there]
