"""Downloads from a real server that truncates, corrupts, stalls and fails."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from file_server import serve

from sklearn_unlocknn.datasets import _cache, get_data_home

FILES = {
    "folder/one.bin": bytes(range(256)) * 2000,
    "folder/two.bin": b"two" * 1000,
    "three.txt": b"three\n",
}
ONE = "folder/one.bin"


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    with serve(FILES) as server:
        yield server


@pytest.fixture
def use(server, monkeypatch):
    """Give the function that makes all files to be had in one way."""

    def use(how="file"):
        monkeypatch.setattr(_cache, "registry", lambda: server.registry(how))

    use()
    return use


def files_in(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*"))


def test_fetch_once(use, server, tmp_path):
    home = tmp_path / "does" / "not" / "exist"
    for _ in range(2):
        files = _cache.fetch_files(FILES, data_home=home)
        assert files == [home / name for name in FILES]
        assert [file.read_bytes() for file in files] == list(FILES.values())
    assert len(server.requests) == len(FILES)
    assert files_in(home) == sorted(FILES)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("truncate", "folder/one.bin: "),
        ("corrupt", "has sha256 [0-9a-f]{64}, not [0-9a-f]{64}"),
        ("status/404", "404 Client Error"),
        ("status/500", "500 Server Error"),
        ("stall", "timed out"),
    ],
)
def test_failure_leaves_nothing_and_repeating_helps(
    how, reason, use, tmp_path, monkeypatch
):
    use(how)
    monkeypatch.setattr(_cache, "TIMEOUT", 0.3)
    with pytest.raises(OSError, match=reason) as error:
        _cache.fetch_file(ONE, data_home=tmp_path)
    where = re.escape(f"/{ONE} -> {tmp_path / ONE}")
    assert re.search(f"  http://127.0.0.1:[0-9]+/{how}{where}", str(error.value))
    assert files_in(tmp_path) == []
    use()
    assert _cache.fetch_file(ONE, data_home=tmp_path).read_bytes() == FILES[ONE]


def test_no_server(monkeypatch, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/{ONE}"
    monkeypatch.setattr(
        _cache, "registry", lambda: {ONE: {"url": url, "sha256": "0" * 64}}
    )
    with pytest.raises(OSError, match=re.escape(f"{url} -> {tmp_path / ONE}")):
        _cache.fetch_file(ONE, data_home=tmp_path)
    assert files_in(tmp_path) == []


def test_goes_on_with_what_is_missing(use, server, tmp_path, monkeypatch):
    registry = server.registry()
    registry["folder/two.bin"] = server.registry("truncate")["folder/two.bin"]
    monkeypatch.setattr(_cache, "registry", lambda: registry)
    with pytest.raises(OSError, match=r"two\.bin: ") as error:
        _cache.fetch_files(FILES, data_home=tmp_path)
    # what is still to be put in place, and no more
    assert re.findall(r"-> (.*)", str(error.value)) == [
        str(tmp_path / name) for name in ("folder/two.bin", "three.txt")
    ]
    use()
    _cache.fetch_files(FILES, data_home=tmp_path)
    assert server.requests.count(f"/file/{ONE}") == 1
    assert files_in(tmp_path) == sorted(FILES)


def test_not_to_be_downloaded(use, server, tmp_path):
    with pytest.raises(FileNotFoundError, match="download_if_missing") as error:
        _cache.fetch_files(FILES, data_home=tmp_path, download_if_missing=False)
    for name in FILES:
        assert f"/file/{name} -> {tmp_path / name}" in str(error.value)
    assert server.requests == []


def test_wrong_file_is_replaced(use, tmp_path):
    file = tmp_path / ONE
    file.parent.mkdir()
    file.write_bytes(b"something else")
    with pytest.raises(OSError, match="not have the expected sha256"):
        _cache.fetch_file(ONE, data_home=tmp_path, download_if_missing=False)
    use("status/500")
    with (
        pytest.warns(UserWarning, match="downloaded again"),
        pytest.raises(OSError, match="500 Server Error"),
    ):
        _cache.fetch_file(ONE, data_home=tmp_path)
    use()
    with pytest.warns(UserWarning, match="downloaded again"):
        _cache.fetch_file(ONE, data_home=tmp_path)
    assert file.read_bytes() == FILES[ONE]


def test_folder_in_the_way(use, tmp_path):
    (tmp_path / "folder").write_text("a file where a folder should be")
    with pytest.raises(OSError, match=r"folder/one\.bin: .* by hand"):
        _cache.fetch_file(ONE, data_home=tmp_path)


def test_cache_that_is_only_read(use, tmp_path):
    _cache.fetch_files(FILES, data_home=tmp_path)
    folders = [tmp_path, tmp_path / "folder"]
    before = [folder.stat().st_mtime_ns for folder in folders]
    for folder in folders:
        folder.chmod(0o555)
    try:
        _cache.fetch_files(FILES, data_home=tmp_path)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    # mode bits do not stop root: nothing was written either
    assert [folder.stat().st_mtime_ns for folder in folders] == before


SCRIPT = """
import json, sys
from sklearn_unlocknn.datasets import _cache
_cache.registry = lambda: json.loads(sys.argv[1])
print(_cache.fetch_file(sys.argv[3], data_home=sys.argv[2]))
"""


def start(registry, home):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(registry), str(home), ONE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_killed_process_leaves_no_file(use, server, tmp_path):
    with start(server.registry("stall"), tmp_path) as process:
        assert server.stalled.wait(60)
        process.kill()
    assert not (tmp_path / ONE).exists()
    assert all(name.endswith(".part") for name in files_in(tmp_path))
    for part in tmp_path.rglob("*.part"):
        old = time.time() - 2 * _cache.STALE
        os.utime(part, (old, old))
    young = tmp_path / f"{ONE}.0.part"  # of a process that still writes
    young.touch()
    _cache.fetch_file(ONE, data_home=tmp_path)
    assert files_in(tmp_path) == [ONE, f"{ONE}.0.part"]


def test_two_processes_at_once(server, tmp_path):
    processes = [start(server.registry(), tmp_path) for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert Path(out.strip()).read_bytes() == FILES[ONE]
        assert err == ""  # no progress bar in a pipe
    assert files_in(tmp_path) == [ONE]


def test_progress_bar(use, tmp_path, capsys):
    _cache.fetch_file(ONE, data_home=tmp_path / "a")
    assert capsys.readouterr().err == ""
    _cache.fetch_file(ONE, data_home=tmp_path / "b", progress=True)
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
def test_real_files_have_the_registry_s_sha256():
    known = [Path(DATA, path) for path in _cache.registry()]
    there = [file for file in known if file.exists()]
    assert there
    for file in there:
        path = file.relative_to(DATA).as_posix()
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert digest == _cache.registry()[path]["sha256"]
        assert _cache.fetch_file(path, download_if_missing=False).samefile(file)
