"""Test `unlocknn serve` as a process of its own, with a real server."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from _cli.command import run
from _structures.damage import rock_salt

from sklearn_unlocknn import VGPRegressor, save_model

pytest.importorskip("flask", reason="the page needs the extra `web`")
pytest.importorskip("waitress", reason="the page needs the extra `web`")

HEAVY = """
import sys, threading
from sklearn_unlocknn._cli.main import main
status = main(sys.argv[1:])
heavy = {"tensorflow", "keras", "tf_keras", "megnet", "chemiscope", "matplotlib"}
print("loaded", *sorted(heavy & set(sys.modules)))
sys.exit(status)
"""


@contextlib.contextmanager
def served(folder, *arguments):
    """Serve in a new process; yield its address and the process."""
    command = [sys.executable, "-c", HEAVY, "serve", *map(str, arguments)]
    process = subprocess.Popen(
        [*command, "--port", "0"], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(folder)},
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield re.search(r"http://127\.0\.0\.1:\d+", line)[0], process
    finally:
        process.kill()
        process.communicate()


def children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def wait_for_end(pids):
    """Check that processes end soon."""
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.1)


def post(address, data, kind="application/json", **headers):
    request = urllib.request.Request(
        f"{address}/api/predict", data, {"Content-Type": kind, **headers}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_server_predicts_without_tensorflow_and_stops(fitted, folder, tmp_path):
    body = {"structures": [{"name": "a.cif", "text": rock_salt().to(fmt="cif")}] * 2}
    large = {"structures": [rock_salt().to(fmt="cif") + "#\n" * 500_000]}
    training = ("--training", folder / "train.csv", "--coverage", "0.9")
    with served(tmp_path, fitted, *training) as (address, process):
        got = post(address, json.dumps(body).encode())
        assert [one["error"] for one in got["results"]] == ["", ""]
        assert got["coverage"] == 0.9
        # more than waitress keeps in memory by default, in pieces of unknown number
        content = json.dumps(large).encode()
        pieces = iter([content[:500], content[500:]])
        assert len(post(address, pieces)["results"]) == 1
        with urllib.request.urlopen(f"{address}/training/0", timeout=60) as answer:
            assert b'class="crystal"' in answer.read()
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(address, content, Host="evil.example")
        assert caught.value.code == 403
        caught.value.close()
        # more than the page takes, with a message and not a broken connection
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(address, b"x" * 9_000_000)
        assert caught.value.code == 413
        assert "8 MB" in json.load(caught.value)["error"]
        assert not list(tmp_path.iterdir())
        workers = children_of(process.pid)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out.splitlines()[-1] == "loaded"
    assert errors.splitlines() == [
        f"Showing 36 training structures of {folder / 'train.csv'}",
        "2 structures, 0 failed",
        "1 structure, 0 failed",
        "Stopped",
    ]
    wait_for_end(workers)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_ended_server_leaves_no_process(end, fitted, tmp_path):
    with served(tmp_path, fitted, "--n-jobs", "1") as (_, process):
        workers = children_of(process.pid)
        assert workers
        process.send_signal(end)
        process.communicate(timeout=30)
    assert process.returncode == (0 if end == signal.SIGTERM else -end)
    wait_for_end(workers)


def test_busy_port_is_an_error(fitted, tmp_path, capsys):
    with served(tmp_path, fitted, "--n-jobs", "1") as (address, _):
        port = address.rpartition(":")[2]
        assert run("serve", fitted, "--port", port, "--n-jobs", "1") == 2
    assert f"Cannot listen at the port {port}" in capsys.readouterr().err


def test_model_of_numbers_is_refused(tmp_path, small_data, capsys):
    path = tmp_path / "numbers.unlocknn"
    save_model(VGPRegressor("rbf", max_iter=1).fit(*small_data), path)
    assert run("serve", path) == 2
    error = capsys.readouterr().err
    assert "Got a VGPRegressor" in error
    assert "tables of numbers" in error


def test_wrong_training_data_is_refused(fitted, folder, tmp_path, capsys):
    lines = (folder / "train.csv").read_text().splitlines()
    other = folder / "other.csv"
    other.write_text("\n".join(lines[:-1]))
    assert run("serve", fitted, "--training", other) == 2
    assert "35 usable structures and the model" in capsys.readouterr().err
    assert run("serve", fitted, "--training", tmp_path / "gone.csv") == 2
    assert "There is no file or folder of data" in capsys.readouterr().err


def test_missing_package_is_named(fitted, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "waitress", None)
    assert run("serve", fitted) == 2
    assert "pip install 'sklearn-unlocknn[web]'" in capsys.readouterr().err
