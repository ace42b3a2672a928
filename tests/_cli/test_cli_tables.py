"""Data files of the command line: broken, ambiguous, and a real one."""

import gzip
import json
import os
from pathlib import Path

import pytest

from sklearn_unlocknn._cli.files import CommandError
from sklearn_unlocknn._cli.main import main
from sklearn_unlocknn._cli.tables import read_table, rows_of

DATA = os.environ.get("SKLEARN_UNLOCKNN_DATA")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.csv", "", "has no rows"),
        ("a.csv", "cif,y\n", "has no rows"),
        ("a.csv", "cif,y\na.cif,1,2\n", "row 1 has 3 values for 2 columns"),
        ("a.csv", "y,y\n1,2\n", "columns of the same name"),
        ("a.csv", "\x00,y\n1,2\n", "has no column 'energy'|Cannot read"),
        ("a.json", "[]", "has no rows"),
        ("a.json", "{", "Cannot read"),
        ("a.json", '{"a": 1}', "expected a list of records"),
        ("a.json", '{"columns": ["a"], "data": 3}', "Cannot read"),
        ("a.json.gz", "[]", "Cannot read.*gzip"),
        ("a.txt", "", r"expected \.csv"),
        ("a.csv", "q,r\n1,2\n", r"no column 'energy'; it has \['q', 'r'\]"),
        ("a.csv", "q,energy\n1,2\n", "none looks so.*--structures"),
        ("a.csv", "p,q,energy\na.cif,b.cif,2\n", r"look so: \['p', 'q'\]"),
    ],
)
def test_broken_data(name, content, match, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(CommandError, match=match):
        rows_of(read_table(tmp_path / name), "energy")


def test_column_of_structures_is_found_by_content_first(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("file,mine,energy\nlog,x.cif,1\n")
    assert "x.cif" in rows_of(read_table(path), "energy").errors[0]
    path.write_text("Path,other.cif,energy\n17,x,1\n")
    assert "17" in rows_of(read_table(path), "energy").errors[0]
    with pytest.raises(CommandError, match="for target and structures"):
        rows_of(read_table(path), "energy", "energy")


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
    command += ["--holdout", 0.3, "-o", tmp_path / "model.joblib"]
    assert main([str(argument) for argument in command]) == 0
    report = capsys.readouterr().out
    r2 = next(
        line.split()[1] for line in report.splitlines() if line.split()[:1] == ["R2"]
    )
    assert float(r2) > 0.5
