"""The data folder: downloads from a local server, and their failures."""

import functools
import hashlib
import http.server
import json
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pooch
import pytest

from sklearn_unlocknn.datasets import _cache, get_data_home

ONE, TWO, THREE = "folder/one.bin", "folder/two.bin", "three.txt"
FILES = {ONE: bytes(range(256)) * 2000, TWO: b"two" * 1000, THREE: b"three\n"}


@pytest.fixture
def served(tmp_path_factory):
    """Serve the files of a folder and enter them in the registry."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "folder").mkdir()
    for name, body in FILES.items():
        (folder / name).write_bytes(body)
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(folder)
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        yield folder, server.server_port
        server.shutdown()


@pytest.fixture(autouse=True)
def registry(served, monkeypatch):
    """Return the registry; downloads neither use a proxy, nor log, nor try again."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(pooch.get_logger(), "level", 50)
    monkeypatch.setattr(_cache, "RETRIES", 0)
    registry = {
        name: {
            "sha256": hashlib.sha256(body).hexdigest(),
            "url": f"http://127.0.0.1:{served[1]}/{name}",
        }
        for name, body in FILES.items()
    }
    monkeypatch.setattr(_cache, "registry", lambda: registry)
    return registry


def files_in(folder):
    return sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()
    )


def test_complete_files_are_only_read(tmp_path):
    home = tmp_path / "does" / "not" / "exist"
    files = _cache.fetch_files(*FILES, data_home=home)
    assert files == [home / name for name in FILES]
    assert [file.read_bytes() for file in files] == list(FILES.values())
    assert files_in(home) == sorted(FILES)
    folders = [home, home / "folder"]
    before = [folder.stat().st_mtime_ns for folder in folders]
    assert _cache.fetch_files(*FILES, data_home=home) == files
    assert [folder.stat().st_mtime_ns for folder in folders] == before


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o775])
def test_file_is_as_readable_as_its_folder(mode, tmp_path):
    tmp_path.chmod(mode)
    (file,) = _cache.fetch_files(THREE, data_home=tmp_path)
    assert file.stat().st_mode & 0o777 == mode & 0o666


@pytest.mark.parametrize("how", ["corrupt", "gone", "refused", "stalled"])
def test_failure_leaves_nothing_and_repeating_helps(
    how, served, registry, tmp_path, monkeypatch
):
    reasons = {
        "corrupt": "does not match the known hash", "gone": "404 Client Error",
        "refused": "refused", "stalled": "timed out",
    }  # fmt: skip
    right, source = dict(registry[ONE]), served[0] / ONE
    if how == "corrupt":
        source.write_bytes(b"something else")
    elif how == "gone":
        source.unlink()
    monkeypatch.setattr(_cache, "TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as other:  # accepts, never answers
        url = f"http://127.0.0.1:{other.getsockname()[1]}/x"
        if how == "refused":
            other.close()
        if how in ("refused", "stalled"):
            registry[ONE]["url"] = url
        with pytest.raises(OSError, match=f"(?s){ONE}: .*{reasons[how]}") as error:
            _cache.fetch_files(ONE, data_home=tmp_path)
    assert f"  {registry[ONE]['url']} -> {tmp_path / ONE}" in str(error.value)
    assert files_in(tmp_path) == []
    source.write_bytes(FILES[ONE])
    registry[ONE] = right
    (file,) = _cache.fetch_files(ONE, data_home=tmp_path)
    assert file.read_bytes() == FILES[ONE]


def test_failed_download_is_tried_again(served, tmp_path, monkeypatch):
    (served[0] / THREE).unlink()
    monkeypatch.setattr(_cache, "RETRIES", 1)
    monkeypatch.setattr(
        "time.sleep", lambda seconds: (served[0] / THREE).write_bytes(FILES[THREE])
    )
    (file,) = _cache.fetch_files(THREE, data_home=tmp_path)
    assert file.read_bytes() == FILES[THREE]


def test_repeated_call_downloads_the_remaining_files(served, tmp_path):
    (served[0] / TWO).unlink()
    with pytest.raises(OSError, match=r"two\.bin: ") as error:
        _cache.fetch_files(*FILES, data_home=tmp_path)
    remaining = [str(tmp_path / name) for name in (TWO, THREE)]
    assert re.findall(r"-> (.*)", str(error.value)) == remaining
    (served[0] / TWO).write_bytes(FILES[TWO])
    (served[0] / ONE).unlink()
    _cache.fetch_files(*FILES, data_home=tmp_path)
    assert files_in(tmp_path) == sorted(FILES)


def test_no_download_if_missing_or_into_a_file(registry, tmp_path):
    with pytest.raises(FileNotFoundError, match="download_if_missing") as error:
        _cache.fetch_files(*FILES, data_home=tmp_path, download_if_missing=False)
    for name in FILES:
        assert f"{registry[name]['url']} -> {tmp_path / name}" in str(error.value)
    (tmp_path / THREE).write_bytes(b"something else")
    with pytest.raises(OSError, match="does not have the expected sha256"):
        _cache.fetch_files(THREE, data_home=tmp_path, download_if_missing=False)
    assert files_in(tmp_path) == [THREE]
    (tmp_path / "folder").write_text("a file in place of a folder")
    with pytest.raises(OSError, match=r"folder/one\.bin: .* by hand"):
        _cache.fetch_files(ONE, data_home=tmp_path)


def test_wrong_file_is_replaced(served, tmp_path):
    file = tmp_path / THREE
    file.write_bytes(b"something else")
    (served[0] / THREE).unlink()
    with pytest.raises(OSError, match="404 Client Error"):
        _cache.fetch_files(THREE, data_home=tmp_path)
    assert file.read_bytes() == b"something else"
    (served[0] / THREE).write_bytes(FILES[THREE])
    _cache.fetch_files(THREE, data_home=tmp_path)
    assert file.read_bytes() == FILES[THREE]


SCRIPT = """
import json, sys
from sklearn_unlocknn.datasets import _cache
_cache.registry = lambda: json.loads(sys.argv[1])
print(*_cache.fetch_files(sys.argv[3], data_home=sys.argv[2]))
"""


def test_two_processes_at_once(registry, tmp_path):
    command = [sys.executable, "-c", SCRIPT, json.dumps(registry), str(tmp_path), ONE]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    for process in [subprocess.Popen(command, **pipes) for _ in range(2)]:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert Path(out.strip()).read_bytes() == FILES[ONE]
        assert "%" not in err  # no progress bar in a pipe
    assert files_in(tmp_path) == [ONE]


def test_progress_bar_on_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _cache.fetch_files(ONE, data_home=tmp_path)
    assert "100%" in capsys.readouterr().err


def test_data_home(monkeypatch, tmp_path):
    monkeypatch.setenv("SKLEARN_UNLOCKNN_DATA", str(tmp_path / "a"))
    assert get_data_home() == tmp_path / "a"
    assert get_data_home(str(tmp_path / "b")) == tmp_path / "b"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert get_data_home("~/c") == tmp_path / "c"
    monkeypatch.delenv("SKLEARN_UNLOCKNN_DATA")
    assert "sklearn-unlocknn" in get_data_home().parts
    assert get_data_home().is_absolute()
    assert files_in(tmp_path) == []
