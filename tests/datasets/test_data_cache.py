"""Downloads from a local server that truncates, corrupts, stalls and fails."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pooch
import pytest
from file_server import serve

from sklearn_unlocknn.datasets import _cache, get_data_home

ONE, TWO, THREE = "folder/one.bin", "folder/two.bin", "three.txt"
FILES = {ONE: bytes(range(256)) * 2000, TWO: b"two" * 1000, THREE: b"three\n"}


@pytest.fixture
def server(monkeypatch):
    """Serve the files; downloads neither use a proxy, nor log, nor try again."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(pooch.get_logger(), "level", 50)
    monkeypatch.setattr(_cache, "RETRIES", 0)
    with serve(FILES) as server:
        yield server


@pytest.fixture
def use(server, monkeypatch):
    """Return the function that sets the registry, for one behaviour of the server."""

    def use(how="file", **options):
        registry = server.registry(how, **options)
        monkeypatch.setattr(_cache, "registry", lambda: registry)
        return registry

    use()
    return use


def files_in(folder):
    return sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()
    )


def test_complete_files_are_only_read(use, server, tmp_path):
    home = tmp_path / "does" / "not" / "exist"
    files = _cache.fetch_files(*FILES, data_home=home)
    assert files == [home / name for name in FILES]
    assert [file.read_bytes() for file in files] == list(FILES.values())
    assert files_in(home) == sorted(FILES)
    folders = [home, home / "folder"]
    before = [folder.stat().st_mtime_ns for folder in folders]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert _cache.fetch_files(*FILES, data_home=home) == files
    finally:
        for folder in folders:
            folder.chmod(0o755)
    # mode bits do not stop root: the folders must be unchanged too
    assert [folder.stat().st_mtime_ns for folder in folders] == before
    assert len(server.requests) == len(FILES)


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o775])
def test_file_is_as_readable_as_its_folder(mode, use, tmp_path):
    tmp_path.chmod(mode)
    (file,) = _cache.fetch_files(THREE, data_home=tmp_path)
    assert file.stat().st_mode & 0o777 == mode & 0o666


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("truncate", "folder/one.bin: "),
        ("corrupt", "does not match the known hash"),
        ("status/404", "404 Client Error"),
        ("status/500", "500 Server Error"),
        ("stall", "timed out"),
        ("refused", "refused"),
    ],
)
def test_failure_leaves_nothing_and_repeating_helps(
    how, reason, use, tmp_path, monkeypatch
):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        use(how, port=free.getsockname()[1] if how == "refused" else None)
    monkeypatch.setattr(_cache, "TIMEOUT", 0.3)
    with pytest.raises(OSError, match=reason) as error:
        _cache.fetch_files(ONE, data_home=tmp_path)
    where = re.escape(f"/{ONE} -> {tmp_path / ONE}")
    assert re.search(f"  http://127.0.0.1:[0-9]+/{how}{where}", str(error.value))
    assert files_in(tmp_path) == []
    use()
    (file,) = _cache.fetch_files(ONE, data_home=tmp_path)
    assert file.read_bytes() == FILES[ONE]


def test_failed_download_is_tried_again(use, server, tmp_path, monkeypatch):
    monkeypatch.setattr(_cache, "RETRIES", 1)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    use("once")
    _cache.fetch_files(THREE, data_home=tmp_path)
    assert server.requests == [f"/once/{THREE}"] * 2


def test_repeated_call_downloads_the_remaining_files(use, server, tmp_path):
    use()[TWO] = server.registry("truncate")[TWO]
    with pytest.raises(OSError, match=r"two\.bin: ") as error:
        _cache.fetch_files(*FILES, data_home=tmp_path)
    remaining = [str(tmp_path / name) for name in (TWO, THREE)]
    assert re.findall(r"-> (.*)", str(error.value)) == remaining
    use()
    _cache.fetch_files(*FILES, data_home=tmp_path)
    assert server.requests.count(f"/file/{ONE}") == 1
    assert files_in(tmp_path) == sorted(FILES)


def test_no_download_if_missing(use, server, tmp_path):
    with pytest.raises(FileNotFoundError, match="download_if_missing") as error:
        _cache.fetch_files(*FILES, data_home=tmp_path, download_if_missing=False)
    for name in FILES:
        assert f"/file/{name} -> {tmp_path / name}" in str(error.value)
    (tmp_path / THREE).write_bytes(b"something else")
    with pytest.raises(OSError, match="does not have the expected sha256"):
        _cache.fetch_files(THREE, data_home=tmp_path, download_if_missing=False)
    assert server.requests == []


def test_wrong_file_is_replaced(use, tmp_path):
    file = tmp_path / THREE
    file.write_bytes(b"something else")
    use("status/500")
    with pytest.raises(OSError, match="500 Server Error"):
        _cache.fetch_files(THREE, data_home=tmp_path)
    assert file.read_bytes() == b"something else"
    use()
    _cache.fetch_files(THREE, data_home=tmp_path)
    assert file.read_bytes() == FILES[THREE]


def test_folder_in_the_way(use, tmp_path):
    (tmp_path / "folder").write_text("a file in place of a folder")
    with pytest.raises(OSError, match=r"folder/one\.bin: .* by hand"):
        _cache.fetch_files(ONE, data_home=tmp_path)


SCRIPT = """
import json, sys
from sklearn_unlocknn.datasets import _cache
_cache.registry = lambda: json.loads(sys.argv[1])
print(*_cache.fetch_files(sys.argv[3], data_home=sys.argv[2]))
"""


def start(registry, home):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(registry), str(home), ONE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_killed_process_leaves_no_file_under_its_name(server, tmp_path):
    with start(server.registry("stall"), tmp_path) as process:
        assert server.stalled.wait(60)
        process.kill()
    assert not (tmp_path / ONE).exists()


def test_two_processes_at_once(server, tmp_path):
    processes = [start(server.registry(), tmp_path) for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert Path(out.strip()).read_bytes() == FILES[ONE]
        assert "%" not in err  # no progress bar in a pipe
    assert files_in(tmp_path) == [ONE]


def test_progress_bar_on_a_terminal(use, tmp_path, capsys, monkeypatch):
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


def test_registry():
    registry = _cache.registry()
    assert sum("n_rows" in entry for entry in registry.values()) == 13
    for path, entry in registry.items():
        assert re.fullmatch("[0-9a-f]{64}", entry["sha256"])
        assert entry["url"].startswith("https://")
        assert entry["url"].rpartition("/")[2] == path.rpartition("/")[2]
        assert not Path(path).is_absolute()


DATA = os.environ.get("SKLEARN_UNLOCKNN_DATA")


@pytest.mark.skipif(DATA is None, reason="SKLEARN_UNLOCKNN_DATA is not set")
def test_real_files_have_the_sha256_of_the_registry():
    there = [path for path in _cache.registry() if Path(DATA, path).exists()]
    assert there
    files = _cache.fetch_files(*there, download_if_missing=False)
    assert files == [Path(DATA, path) for path in there]
