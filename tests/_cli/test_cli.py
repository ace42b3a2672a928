"""The command `unlocknn`: in-process where possible, as installed where it matters."""

import csv
import gzip
import io
import json
import os
import pickle
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
from _megnet.megnet_nets import make_megnet
from cli_files import write_csv, write_layouts
from numpy.testing import assert_allclose
from pymatgen.core import Lattice, Structure

from sklearn_unlocknn import MEGNetFeatureExtractor, MEGNetProbRegressor, VGPRegressor
from sklearn_unlocknn._cli import predictions as _cli_predictions
from sklearn_unlocknn._cli.main import main
from sklearn_unlocknn._cli.tables import read_table, rows_of
from sklearn_unlocknn._features import shards as _shards
from sklearn_unlocknn.datasets import make_ionic_crystals
from sklearn_unlocknn.metrics import uq_report

# A CIF has thirds to some digits, which pymatgen rounds with a warning.
pytestmark = pytest.mark.filterwarnings("ignore:Issues encountered while parsing CIF")

INSTALLED = shutil.which("unlocknn", path=str(Path(sys.executable).parent))


@pytest.fixture(scope="module")
def crystals():
    X, y = make_ionic_crystals(36, random_state=0, return_X_y=True)
    return list(X), -y


@pytest.fixture(scope="module")
def folder(tmp_path_factory, crystals):
    """Give a folder with a network, CIF files and the same data in every layout."""
    folder = tmp_path_factory.mktemp("cli")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf-keras: HDF5 is a legacy format
        make_megnet().save_model(str(folder / "net.hdf5"))
    write_layouts(folder, *crystals)
    return folder


@pytest.fixture(scope="module")
def fitted(folder):
    """Give a model file: the logarithm of the energy, from the first 24 crystals."""
    with gzip.open(folder / "records.json.gz", "rt") as file:
        records = json.load(file)
    (folder / "train.json").write_text(json.dumps(records[:24]))
    assert run("fit", folder / "train.json", *fit_options(folder), "--log10",
               "-o", folder / "model.joblib") == 0  # fmt: skip
    return folder / "model.joblib"


def fit_options(folder):
    return ["--target", "energy", "--network", folder / "net.hdf5", "--kernel", "rbf"]


def run(*arguments):
    return main([str(argument) for argument in arguments])


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


def column(rows, name):
    return np.array([float(row[name]) for row in rows])


# --- fit, predict, evaluate -------------------------------------------------------


def test_the_chain_gives_what_python_gives(folder, fitted, crystals, capsys):
    X, y = crystals
    want = MEGNetProbRegressor(folder / "net.hdf5", kernel="rbf", random_state=0).fit(
        X[:24], np.log10(y[:24])
    )
    files = [str(folder / f"cifs/{i:02d}.cif") for i in range(24, 36)]
    mean, std = want.predict(files, return_std=True)
    interval = want.predict_interval(files, coverage=0.8)

    assert run("predict", fitted, *files, "--coverage", 0.8) == 0
    out, err = capsys.readouterr()
    got = table(out)
    assert out.splitlines()[0] == (
        "file,log10_mean,log10_std,log10_lower,log10_upper,error"
    )
    assert [row["file"] for row in got] == files
    assert {row["error"] for row in got} == {""}
    assert_allclose(column(got, "log10_mean"), mean, rtol=1e-6)
    assert_allclose(column(got, "log10_std"), std, rtol=1e-6)
    ends = np.column_stack([column(got, f"log10_{end}") for end in ("lower", "upper")])
    assert_allclose(ends, interval, rtol=1e-6)
    assert "failed" not in err

    assert run("evaluate", fitted, folder / "both.csv", "--json") == 0
    got = json.loads(capsys.readouterr().out)
    mean, std = want.predict(X, return_std=True)
    report = uq_report(np.log10(y), mean, std, output_dict=True)
    assert (got["target"], got["log10"], got["n_samples"]) == ("energy", True, 36)
    assert_allclose(got["point"]["mae"], report["point"]["mae"], rtol=1e-3)
    assert_allclose(got["proper"]["nll"], report["proper"]["nll"], rtol=1e-3)


def test_model_file(folder, fitted):
    content = joblib.load(fitted)
    model = content["estimator"]
    assert isinstance(model, MEGNetProbRegressor)
    assert (content["target"], content["log10"]) == ("energy", True)
    assert (model.memory, model.n_jobs, model.on_error) == (None, None, "raise")
    assert not list(folder.glob(".*"))


def test_steps_do_not_matter(folder, fitted, capsys, monkeypatch):
    run("predict", fitted, folder / "cifs")
    want = table(capsys.readouterr().out)
    monkeypatch.setattr(_cli_predictions, "STEP", 5)
    run("predict", fitted, folder / "cifs")
    got = table(capsys.readouterr().out)
    assert [row["file"] for row in got] == [row["file"] for row in want]
    assert len(got) == 36
    for name in ("log10_mean", "log10_std"):
        assert_allclose(column(got, name), column(want, name), rtol=1e-3)  # float32


def test_a_bad_file_does_not_stop_the_rest(folder, fitted, tmp_path, capsys):
    bad = tmp_path / "bad.cif"
    bad.write_text("nonsense\n")
    (tmp_path / "empty").mkdir()
    good = [folder / "cifs/01.cif", folder / "cifs/02.cif"]
    paths = [good[0], bad, tmp_path / "gone.cif", tmp_path / "empty", good[1]]
    out = tmp_path / "out.csv"
    assert run("predict", fitted, *paths, "-o", out) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    rows = table(out.read_text())
    assert [row["file"] for row in rows] == list(map(str, paths))
    assert [bool(row["error"]) for row in rows] == [False, True, True, True, False]
    for row in rows[1:4]:
        assert f"{row['file']}: {row['error']}" in captured.err
        assert row["log10_mean"] == row["log10_std"] == row["log10_lower"] == ""
    assert "no file" in rows[2]["error"]
    assert "3 of 5 files failed" in captured.err
    assert np.isfinite(column([rows[0], rows[4]], "log10_mean")).all()
    assert sorted(os.listdir(tmp_path)) == ["bad.cif", "empty", "out.csv"]


def test_what_fails_by_an_error_of_its_own(folder, fitted, tmp_path, capsys):
    """With memory files are read before they are converted, one at a time or not."""
    odd = tmp_path / "odd.cif"
    odd.symlink_to("/proc/self/mem")  # a file that is there and cannot be read
    if not odd.is_file():
        pytest.skip("this system has no such file")
    paths = [folder / "cifs/01.cif", odd, folder / "cifs/02.cif"]
    assert run("predict", fitted, *paths, "--memory", tmp_path / "memory") == 1
    rows = table(capsys.readouterr().out)
    assert [bool(row["error"]) for row in rows] == [False, True, False]


def test_lists_of_files(folder, fitted, tmp_path, capsys, monkeypatch):
    names = [str(folder / "cifs/03.cif"), str(folder / "cifs/04.cif")]
    listing = tmp_path / "list.txt"
    listing.write_text("\n".join(names) + "\n\n")
    assert run("predict", fitted, "--list", listing) == 0
    want = capsys.readouterr().out
    assert [row["file"] for row in table(want)] == names
    monkeypatch.setattr(sys, "stdin", io.StringIO(listing.read_text()))
    assert run("predict", fitted, "-") == 0
    assert capsys.readouterr().out == want


def test_rows_left_out(folder, tmp_path, capsys):
    """Every kind of bad row is named; dropped, the others give the same model."""
    rows = table((folder / "texts.csv").read_text())
    good = [[row["cif"], row["energy"]] for row in rows[:12]]
    one_atom = Structure(Lattice.cubic(30), ["Na"], [[0, 0, 0]]).to(fmt="cif")
    targets = {"n/a": "not a number", "": "is missing", "inf": "finite", "-1": "log10"}
    bad = [[good[0][0], target] for target in targets]
    bad += [["", "1.0"], ["nonsense\n", "1.0"], [one_atom, "1.0"]]
    write_csv(tmp_path / "good.csv", ["cif", "energy"], good)
    write_csv(tmp_path / "mixed.csv", ["cif", "energy"], [*bad[:3], *good, *bad[3:]])
    options = [*fit_options(folder), "--log10"]

    out = tmp_path / "mixed.joblib"
    assert run("fit", tmp_path / "mixed.csv", *options, "-o", out) == 2
    err = capsys.readouterr().err
    assert "5 of 19 rows cannot be used" in err
    for row, reason in zip((1, 2, 3, 16), targets.values(), strict=True):
        assert reason in next(
            line for line in err.splitlines() if f"row {row}:" in line
        )
    assert "row 17: the structure is missing" in err
    write_csv(tmp_path / "unreadable.csv", ["cif", "energy"], [*good, *bad[5:]])
    assert run("fit", tmp_path / "unreadable.csv", *options, "-o", out) == 2
    err = capsys.readouterr().err
    assert "2 of 14 rows" in err
    assert "row 14: no bonds" in err
    assert not out.exists()

    drop = ["--on-error", "drop", "-o", out]
    assert run("fit", tmp_path / "mixed.csv", *options, *drop) == 0
    err = capsys.readouterr().err
    assert "Left out 7 of 19 rows" in err
    assert "from 12 rows" in err
    assert run("fit", tmp_path / "good.csv", *options, "-o", tmp_path / "a.joblib") == 0
    a, b = (joblib.load(tmp_path / f"{n}.joblib")["estimator"] for n in ("a", "mixed"))
    assert_allclose(a.noise_std_, b.noise_std_, rtol=1e-6)

    capsys.readouterr()
    judged = ["evaluate", out, tmp_path / "mixed.csv", "-o", tmp_path / "rows.csv"]
    assert run(*judged) == 2
    assert not (tmp_path / "rows.csv").exists()
    capsys.readouterr()
    assert run(*judged, "--on-error", "drop") == 0
    rows = table((tmp_path / "rows.csv").read_text())
    assert [int(row["row"]) for row in rows] == list(range(1, 20))
    kept = [row for row in rows if not row["error"]]
    assert len(kept) == 12
    y = column(kept, "log10_target")
    assert_allclose(y, [np.log10(float(row[1])) for row in good])
    report = uq_report(y, column(kept, "log10_mean"), column(kept, "log10_std"))
    assert capsys.readouterr().out == "log10(energy)\n" + report


def test_holdout_reports_and_changes_no_model(folder, tmp_path, capsys):
    out = tmp_path / "model.joblib"
    memory = ["--memory", tmp_path / "memory"]
    command = ["fit", folder / "paths.csv", *fit_options(folder), *memory, "-o", out]
    assert run(*command) == 0
    assert capsys.readouterr().out == ""
    noise = joblib.load(out)["estimator"].noise_std_
    assert run(*command, "--force", "--holdout", 0.25) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("energy, held out\n9 samples\n")
    assert "miscalibration area" in printed
    assert_allclose(joblib.load(out)["estimator"].noise_std_, noise, rtol=1e-6)


def test_a_model_dumped_from_python(folder, crystals, tmp_path, capsys):
    X, y = crystals
    model = MEGNetProbRegressor(
        folder / "net.hdf5", -2, "rbf", mean="network", random_state=0
    ).fit(X, y)
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps(model))
    assert run("predict", path, folder / "cifs/00.cif") == 0
    assert set(table(capsys.readouterr().out)[0]) == {
        "file", "mean", "std", "lower", "upper", "error"
    }  # fmt: skip
    assert run("evaluate", path, folder / "both.csv") == 2
    assert "Give --target" in capsys.readouterr().err
    assert run("evaluate", path, folder / "both.csv", "--target", "energy") == 0
    out = tmp_path / "same.joblib"
    assert run("fit", folder / "texts.csv", *fit_options(folder), "--mean", "network",
               "--layer", "-2", "-o", out) == 0  # fmt: skip
    same = joblib.load(out)["estimator"]
    assert (same.mean, same.layer) == ("network", -2)
    assert_allclose(same.noise_std_, model.noise_std_, rtol=0.1)  # a CIF rounds


def test_warnings_are_counted(folder, fitted, capsys):
    """Hexagonal cells: pymatgen warns of each file that it rounds thirds."""
    paths = sorted((folder / "cifs").iterdir())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        MEGNetFeatureExtractor(folder / "net.hdf5").fit_transform(paths)
    assert len(caught) > 1
    _shards.forget()  # features that are known need no file read
    run("predict", fitted, *paths)
    err = capsys.readouterr().err
    assert err.count("warning") == 1
    assert f"warning ({len(caught)} times, the first): Issues encountered" in err


# --- the data file ----------------------------------------------------------------


def test_layouts_agree(folder):
    want = rows_of(read_table(folder / "both.csv"), "energy")
    assert want.errors == {}
    for name in ("texts.csv", "split.json", "both.csv"):
        got = rows_of(read_table(folder / name), "energy")
        assert got == want, name
    got = rows_of(read_table(folder / "paths.csv"), "energy")
    assert [path.read_text() for path in got.structures] == want.structures
    got = rows_of(read_table(folder / "records.json.gz"), "energy", log10=True)
    assert_allclose(got.target, np.log10(want.target))
    named = rows_of(read_table(folder / "both.csv"), "energy", "path")
    assert named.structures[3] == folder / "cifs/03.cif"


# --- what goes wrong --------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--target", "nope"], "no column 'nope'"),
        (["--structures", "nope"], "no column 'nope'"),
        (["--network", "Eform"], "neither a file nor the name .*: Eform_MP_2019"),
        (["--kernel", "rbff"], "rbff"),
        (["--layer", "999"], "`layer`=999"),
        (["--n-inducing-points", "0"], "n_inducing_points"),
        (["--holdout", "0.001"], "leaves nothing to report on"),
        (["-o", "there.joblib"], "exists.*--force"),
        (["-o", "no/such/folder.joblib"], "Cannot write"),
        (["-o", "cifs", "--force"], "no regular file"),
        (["-o", "both.csv", "--force"], "also an input"),
        (["-o", "-"], "expected the name of a file"),
    ],
)
def test_fit_errors(options, match, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "there.joblib").write_text("mine")
    before = sorted(folder.rglob("*"))
    command = ["fit", "both.csv", *fit_options(folder), "-o", "new.joblib", *options]
    assert run(*command) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert captured.err.startswith("unlocknn fit: error: ") or "Fitting" in captured.err
    assert re.search(match, captured.err)
    assert sorted(folder.rglob("*")) == before
    assert (folder / "there.joblib").read_text() == "mine"


def test_what_is_no_model(folder, tmp_path, capsys):
    older = MEGNetProbRegressor()
    del older.n_jobs  # as if from before there was such a parameter
    contents = {
        "older": pickle.dumps(older),
        "junk": b"junk",
        "empty": b"",
        "list": pickle.dumps([1]),
        "dict": pickle.dumps({"estimator": 1}),
        "other": pickle.dumps(VGPRegressor()),
        "unfitted": pickle.dumps(MEGNetProbRegressor()),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name in [*contents, "gone"]:
        out = tmp_path / "out.csv"
        files = [folder / "cifs/00.cif", "-o", out]
        assert run("predict", tmp_path / name, *files) == 2
        captured = capsys.readouterr()
        expected = {"gone": "no model file", "older": "another version"}
        expected = expected.get(name, "expected a model file")
        assert expected in captured.err
        assert str(tmp_path / name) in captured.err
        assert not out.exists()
    assert run("predict", tmp_path / "junk") == 2
    assert "no structure files" in capsys.readouterr().err
    assert run("predict", tmp_path / "junk", "x.cif", "--debug") == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fit"],
        ["predict", "m", "f", "--coverage", "2"],
        ["fit", "a.csv", "-o", "b"],
    ],
)
def test_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2
    assert "usage: unlocknn" in capsys.readouterr().err


def test_interrupted_fit_leaves_nothing(folder, tmp_path, capsys):
    """A real SIGINT, sent as soon as the fit has opened its output."""
    out = tmp_path / "model.joblib"
    sent = []

    def interrupt():
        for _ in range(20_000):
            if list(tmp_path.glob(".model.joblib.*.part")):
                sent.append(1)
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.001)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        status = run("fit", folder / "paths.csv", *fit_options(folder), "-o", out)
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert sent
    assert status == 130
    assert "interrupted" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# --- the process ------------------------------------------------------------------


def test_help_is_light():
    code = (
        "import sys\nfrom sklearn_unlocknn._cli import main\n"
        "try:\n    main(['fit', '--help'])\nexcept SystemExit as stop:\n"
        "    heavy = {'tensorflow', 'megnet', 'pymatgen', 'sklearn', 'numpy'}\n"
        "    sys.exit(repr(heavy & set(sys.modules)) if stop.code == 0 else stop.code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == "set()"
    assert "open only what you trust" in done.stdout


def test_installed_command_in_a_pipe(folder, fitted, one_thread, tmp_path):
    """Results on one stream and reasons on the other: no bar, no log of TensorFlow."""
    assert INSTALLED, "the package is not installed with its command"
    command = [INSTALLED, "predict", fitted, "POSCAR", "gone.cif"]
    one_thread.pop("TF_CPP_MIN_LOG_LEVEL", None)
    done = subprocess.run(
        command, cwd=folder, env=one_thread, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert [row["file"] for row in table(done.stdout)] == ["POSCAR", "gone.cif"]
    assert done.stderr.splitlines() == [
        "gone.cif: there is no file 'gone.cif'",
        "1 of 2 files failed",
    ]


def test_module_on_a_terminal_shows_a_bar(folder, fitted, one_thread):
    command = [sys.executable, "-m", "sklearn_unlocknn", "predict", fitted]
    main_end, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    process = subprocess.Popen(
        [*command, "cifs/00.cif"], cwd=folder, env=one_thread,
        stdout=subprocess.PIPE, stderr=terminal, text=True,
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(main_end, 1024):
            shown += part
    except OSError:  # Linux: the other end is closed
        pass
    out, _ = process.communicate()
    os.close(main_end)
    assert process.returncode == 0
    assert b"Predicting" in shown
    assert b"1/1" in shown
    assert len(table(out)) == 1
