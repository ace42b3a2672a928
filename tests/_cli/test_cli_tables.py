"""Data files of the command line: every layout, broken, ambiguous, and a real one."""

import gzip
import json
import os
import sys
from pathlib import Path

import pandas as pd
import pytest
from _cli.command import run
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_unlocknn._cli.files import CommandError
from sklearn_unlocknn._cli.tables import read_samples

DATA = os.environ.get("SKLEARN_UNLOCKNN_DATA")


def test_layouts_agree(folder, energies):
    want = read_samples(folder / "both.csv", "energy")
    assert_array_equal(want["target"], energies[1])
    assert_array_equal(want["y"], want["target"])
    assert set(want["file"]) == {""}
    assert (want["error"] == "").all()
    assert want["structure"].tolist() == [
        (folder / f"cifs/{i:02d}.cif").read_text() for i in range(36)
    ]
    for name in ("texts.csv", "split.json"):
        assert read_samples(folder / name, "energy").equals(want), name
    paths = [folder / f"cifs/{i:02d}.cif" for i in range(36)]
    for name, column in (("paths.csv", None), ("both.csv", "path")):
        assert list(read_samples(folder / name, "energy", column)["structure"]) == paths
        got = read_samples(folder / name, "energy", column)
        assert list(got["file"]) == [f"cifs/{i:02d}.cif" for i in range(36)]
    got = read_samples(folder / "records.json.gz", "energy", log10=True)
    assert_array_equal(got["target"], want["target"])
    assert_allclose(10 ** got["y"], want["y"])
    assert got["structure"][1]["@class"] == "Structure"


def _json(table, **options):
    return table.to_json(**options).encode()


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.csv", lambda t: t.to_csv(index=False).encode("utf-8-sig")),
        ("a.csv", lambda t: t.to_csv(index=False).encode("utf-16")),
        ("a.csv", lambda t: t.to_csv(index=False, sep=";").encode()),
        ("a.CSV.gz", lambda t: gzip.compress(t.to_csv(sep="\t").encode())),
        ("a.tsv", lambda t: t.to_csv(index=False, sep="\t").encode()),
        ("a.json", lambda t: _json(t).decode().encode("utf-8-sig")),
        ("a.json", lambda t: _json(t, orient="index")),
        ("a.jsonl", lambda t: _json(t, orient="records", lines=True) + b"\n"),
    ],
    ids=["bom", "utf16", "semicolon", "tab", "tsv", "columns", "index", "lines"],
)
def test_kinds_of_tables(name, write, tmp_path):
    """Separators, byte order marks and layouts, with separators inside of cells."""
    names = ["á,1;.cif", "b\u2028.cif"]
    for file in names:
        (tmp_path / file).write_text("data_x\n")
    table = pd.DataFrame({"K, GPa": [1.5, 2.0], "path": names})
    (tmp_path / name).write_bytes(write(table))
    got = read_samples(tmp_path / name, "K, GPa")
    assert list(got["target"]) == [1.5, 2.0]
    assert list(got["file"]) == names
    assert list(got["structure"]) == [tmp_path / file for file in names]
    assert set(got["error"]) == {""}


def test_excel(tmp_path, monkeypatch):
    path = tmp_path / "a.xlsx"
    path.write_text("")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "openpyxl", None)  # as if not installed
        with pytest.raises(CommandError, match=r"install.* openpyxl"):
            read_samples(path, "y")
    pytest.importorskip("openpyxl")
    table = pd.DataFrame({"y": [1.5, None], "path": ["x.cif", "x.cif"]})
    table.to_excel(path, index=False)
    (tmp_path / "x.cif").write_text("data_x\n")
    got = read_samples(path, "y")
    assert list(got["error"]) == ["", "target 'y' is missing"]
    assert got["target"][1] == 1.5


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.csv", None, r"There is no data file '.*a\.csv'"),
        ("a.csv", "", "Cannot read.*No columns"),
        ("a.csv", "cif,y\n", "has no rows"),
        ("a.csv", "cif,y\na.cif,1,2\n", "Expected 2 fields in line 2, saw 3"),
        ("a.csv", 'cif,y\n"a.cif', "Cannot read.*EOF inside string"),
        ("a.csv", "y,y\n1,2\n", "columns of the same name"),
        ("a.csv", "\x00,y\n1,2\n", "has no column 'energy'|Cannot read"),
        ("a.json", "[]", "has no rows"),
        ("a.json", "{", "Cannot read"),
        ("a.json", '{"a": 1}', "expected a list of records"),
        ("a.json", "[1, 2]", "expected a list of records"),
        ("a.json", '{"columns": ["a"], "data": 3}', "Cannot read"),
        ("a.json", '{"columns": ["a"], "data": [[1, 2]]}', "Cannot read.*1 columns"),
        ("a.json.gz", "[]", "Cannot read.*gzip"),
        ("a.jsonl", '{"a": 1}\n[1]\n', "line 2 is no JSON record"),
        ("a.csv", "å,y\n1,2\n".encode("cp1252"), "Save it as UTF-8"),
        ("a.txt", "", r"expected a table of .*: \.csv, \.tsv"),
        ("a.csv", "q,r\n1,2\n", r"no column 'energy'; it has \['q', 'r'\]"),
        ("a.csv", "q,energy\n1,2\n", "none is likely.*--structures"),
        ("a.csv", "p,q,energy\na.cif,b.cif,2\n", r"\['p', 'q'\] may have them"),
    ],
)
def test_broken_data(name, content, match, tmp_path):
    if content is not None:
        content = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CommandError, match=match):
        read_samples(tmp_path / name, "energy")


def test_reasons_of_unusable_rows(tmp_path):
    (tmp_path / "x.cif").write_text("data_x\n")
    targets = {
        "n/a": "is 'n/a', not a number", "": "is missing", "inf": "is inf, not a fin",
        "-1": "is -1, not positive, and has no log10",
        '"1,5"': "is '1,5', not a number: write 1.5 for 1,5",
    }  # fmt: skip
    lines = [f"x.cif,{target}" for target in targets] + [" ,1", "gone.cif,1", "x.cif"]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["\ufeffcif,y", *lines, "x.cif,100"]))
    got = read_samples(path, "y", log10=True)
    want = [f"target 'y' {reason}" for reason in targets.values()]
    want += ["the structure is missing", "there is no file", "target 'y' is missing"]
    assert got["y"][9] == 2
    for error, reason in zip(got["error"], [*want, ""], strict=True):
        assert error.startswith(reason)
        assert bool(error) == bool(reason)
    records = [{"cif": "x.cif", "y": y} for y in (None, float("nan"), True, 10)]
    (tmp_path / "a.json").write_text(json.dumps([*records, {"y": 1}]))
    got = read_samples(tmp_path / "a.json", "y", "cif", log10=True)["error"]
    assert got[1] == got[2] == "target 'y' is missing"
    assert list(got[2:]) == ["target 'y' is True, not a number", "", want[5]]


def test_column_of_structures_is_found_by_content_first(tmp_path, capsys):
    path = tmp_path / "a.csv"
    path.write_text("file,mine,energy\nlog,x.cif,1\n")
    assert "x.cif" in read_samples(path, "energy")["error"][1]
    path.write_text("file,Cif,energy\nx.cif,y.cif,1\n")
    assert "y.cif" in read_samples(path, "energy")["error"][1]
    err = capsys.readouterr().err
    assert "Structures are those of the column 'Cif'" in err
    assert "--structures can name another one: ['file']" in err
    path.write_text("Path,other.cif,energy\n17,x,1\n")
    assert "17" in read_samples(path, "energy")["error"][1]
    with pytest.raises(CommandError, match="for target and structures"):
        read_samples(path, "energy", "energy")


@pytest.mark.skipif(DATA is None, reason="SKLEARN_UNLOCKNN_DATA is not set")
def test_bulk_moduli(tmp_path, capsys):
    source = Path(DATA) / "matcalc" / "mp-binary-pbe-elasticity-2025.1.json.gz"
    network = Path(DATA) / "megnet" / "mp-2019.4.1" / "formation_energy.hdf5"
    if not (source.exists() and network.exists()):
        pytest.skip(f"{source.name} or {network.name} is not there")
    with gzip.open(source, "rt") as file:
        records = json.load(file)[::10]
    (tmp_path / "data.json").write_text(json.dumps(records))
    command = ["fit", tmp_path / "data.json", "--target", "bulk_modulus_vrh", "--log10"]
    assert run(*command, "--holdout", 0.3, "-o", tmp_path / "model.unlocknn") == 0
    report = [line.split() for line in capsys.readouterr().out.splitlines()]
    r2 = next(float(words[1]) for words in report if words[:1] == ["R2"])
    assert r2 > 0.5
