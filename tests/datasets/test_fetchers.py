"""Data sets: small files of the same layout from a local server, and real files."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from file_server import serve
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import KFold, StratifiedKFold

from sklearn_unlocknn.datasets import (
    MATBENCH_TASKS,
    _cache,
    fetch_elasticity,
    fetch_matbench,
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
    """Return the function that serves a file and enters it in the registry."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("SKLEARN_UNLOCKNN_DATA", str(tmp_path))
    with serve({}) as server:

        def publish(path, content, **more):
            server.files[path] = content
            registry = server.registry(**more)
            monkeypatch.setattr(_cache, "registry", lambda: registry)

        yield publish


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
    text = io.StringIO()
    fields = ["", "material_id", "cif", "formula", "heat_all", "heat_ref"]
    writer = csv.DictWriter(text, fields)
    writer.writeheader()
    for i, s in enumerate(structures):
        row = [i, 100 + i, s.to(fmt="cif"), s.formula, 0.1 * i, 9]
        writer.writerow(dict(zip(fields, row, strict=True)))
    publish("perov_5/test.csv", text.getvalue().encode())
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


def test_import_is_light():
    code = (
        "import sys, sklearn_unlocknn.datasets\n"
        "heavy = {'tensorflow', 'megnet', 'pymatgen', 'monty', 'requests', 'pooch'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


DATA = os.environ.get("SKLEARN_UNLOCKNN_DATA")
real = pytest.mark.skipif(DATA is None, reason="SKLEARN_UNLOCKNN_DATA is not set")


@real
def test_real_perovskites():
    got = fetch_perovskites(as_cif=True, download_if_missing=False)
    assert got.data.shape == got.target.shape == (3787,)
    assert len(set(got.material_id)) == 3787
    assert -1 < got.target.min() < got.target.max() < 6


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
