"""Test who may ask, bounds of requests, and that nothing of a visitor is kept."""

import io
import json
import os
import tempfile
import threading
import time
from pathlib import Path

import pytest
from _structures.damage import rock_salt
from _web.web_pages import HOST, form, results, send, text_of

pytest.importorskip("flask", reason="the page needs the extra `web`")

from sklearn_unlocknn._web.uploads import Limits, RequestError
from sklearn_unlocknn._web.workers import Workers

CIF = rock_salt().to(fmt="cif")


# --- who may ask -----------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost", "[::1]:5", "LOCALHOST"]
)
def test_names_of_this_machine_are_served(host, client):
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil:80", "", "[::1"]
)
@pytest.mark.parametrize("path", ["/", "/api/model", "/static/page.css", "/viewer.js"])
def test_other_names_are_refused(host, path, client):
    got = client.get(path, headers={"Host": host})
    assert got.status_code in (400, 403)
    text = got.get_data(as_text=True)
    assert "energy" not in text
    assert "for its own machine" in text or got.status_code == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": HOST, "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost:8000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/predict"])
def test_posts_of_other_pages_are_refused(headers, status, path, client):
    send(client, ("a.cif", CIF), to=path, headers=headers, status=status)


@pytest.mark.parametrize(
    "path", ["/", "/api/model", "/gone", "/static/page.js", "/viewer.js"]
)
def test_every_answer_has_the_headers(path, client):
    got = client.get(path, base_url=HOST)
    policy = dict(
        part.strip().split(" ", 1)
        for part in got.headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["Referrer-Policy"] == "same-origin"
    assert "Set-Cookie" not in got.headers
    assert "Cache-Control" in got.headers
    got.close()


def test_page_names_no_other_host(client):
    page = send(client, ("a.cif", CIF)).get_data(as_text=True)
    page = page.replace(HOST, "").replace('href="data:text', "")
    assert "//" not in page.replace("http://127.0.0.1", "")


@pytest.mark.parametrize(("path", "status"), [("/gone", 404), ("/api/gone", 404)])
def test_unknown_pages(path, status, client):
    got = client.get(path, base_url=HOST)
    assert got.status_code == status
    is_json = path.startswith("/api/")
    text = got.json["error"] if is_json else text_of(got.get_data(as_text=True))
    assert "There is no such page." in text


def test_method_that_is_not_for_a_page(client):
    got = client.get("/api/predict", base_url=HOST)
    assert got.status_code == 405
    assert "POST" in got.headers["Allow"]
    assert "GET is not for this page" in got.json["error"]


# --- bounds ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(make_app, fitted):
    """Return a client of an application with small bounds."""
    limits = Limits(20_000, 9_000, files=3, structures=4, atoms=7)
    return make_app(fitted, limits=limits).test_client()


@pytest.mark.parametrize("path", ["/", "/api/predict"])
@pytest.mark.parametrize(
    ("files", "status", "message"),
    [
        ([], 400, "Got no structure"),
        ([("a.cif", CIF)] * 4, 413, "Got 4 files. Up to 3 files"),
        ([("a.cif", "x" * 30_000)], 413, "The request has 0.03"),
    ],
)
def test_requests_that_are_too_large(files, status, message, path, small):
    got = send(small, *files, to=path, status=status).get_data(as_text=True)
    assert message in (json.loads(got)["error"] if "api" in path else text_of(got))


def test_large_json_is_refused(small):
    body = {"structures": ["x" * 30_000]}
    got = small.post("/api/predict", json=body, base_url=HOST)
    assert got.status_code == 413


def test_body_without_a_length_is_bounded(small):
    data = b'{"structures": ["' + b"x" * 30_000 + b'"]}'
    got = small.post(
        "/api/predict", content_type="application/json", base_url=HOST,
        input_stream=io.BytesIO(data),
        environ_overrides={"wsgi.input_terminated": True},
    )  # fmt: skip
    assert got.status_code == 413


def test_bounds_of_a_file_stand_beside_it(small):
    primitive = rock_salt().get_primitive_structure().to(fmt="cif")
    files = [("a.cif", CIF), ("b.cif", "x" * 9_500), ("c.cif", primitive)]
    one, two, three = results(small, *files)
    assert "it has 8 atoms, more than 7" in one["error"]
    assert "the file has 0.0095 MB, more than 0.009 MB" in two["error"]
    assert three["error"] == ""


def test_too_many_structures_in_a_file(small):
    primitive = rock_salt().get_primitive_structure().to(fmt="poscar")
    frame = '2\nLattice="0 2.8 2.8 2.8 0 2.8 2.8 2.8 0"\nNa 0 0 0\nCl 2.8 2.8 2.8\n'
    got = results(small, ("a.xyz", frame * 5), ("POSCAR", primitive))
    assert [one["file"] for one in got[:2]] == ["a.xyz:1", "a.xyz:2"]
    assert [one["error"] == "" for one in got] == [True] * 4 + [False] * 2
    assert "more than 4 structures" in got[4]["error"]


def _ready():
    return None


def _sleep(seconds):
    time.sleep(seconds)
    return os.getpid()


def _start():
    pass


def _end():
    os._exit(3)


def _runs(pid):
    """Return whether a process runs, and is not only remembered by its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def one_worker():
    workers = Workers(1, _start, (), Limits(waiting=1))
    workers.ready(_ready)
    yield workers
    workers.close()


def test_a_task_that_hangs_is_killed_and_its_process_replaced(one_worker):
    first = one_worker.run(_sleep, 0)
    usual, one_worker._limits = one_worker._limits, Limits(seconds=1.0)
    with pytest.raises(RequestError, match="took more than 1 s") as caught:
        one_worker.run(_sleep, 600)
    assert caught.value.status == 504
    one_worker._limits = usual
    end = time.monotonic() + 10
    while _runs(first):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert one_worker.run(_sleep, 0) != first


def test_a_process_that_ends_is_replaced(one_worker):
    with pytest.raises(RequestError, match="has ended") as caught:
        one_worker.run(_end)
    assert caught.value.status == 503
    assert one_worker.run(_sleep, 0) != os.getpid()


def test_more_than_may_wait_are_refused_at_once(one_worker):
    busy = [threading.Thread(target=one_worker.run, args=(_sleep, 2)) for _ in range(2)]
    for thread in busy:
        thread.start()
    while one_worker._places._value:
        time.sleep(0.01)
    with pytest.raises(RequestError, match="wait already") as caught:
        one_worker.run(_sleep, 0)
    assert caught.value.status == 503
    assert caught.value.headers == {"Retry_After": "5"}
    for thread in busy:
        thread.join()


def test_refusals_of_workers_reach_the_visitor(app, client, monkeypatch):
    def full(*args):
        raise RequestError(503, "wait already", Retry_After="5")

    monkeypatch.setattr(app.workers, "run", full)
    got = send(client, ("a.cif", CIF), to="/api/predict", status=503)
    assert got.headers["Retry-After"] == "5"
    assert got.json == {"error": "wait already"}


def test_a_failure_of_the_server_states_no_content(app, client, monkeypatch, lines):
    def fail(*args):
        raise KeyError("secret")

    monkeypatch.setattr(app.workers, "run", fail)
    got = send(client, ("a.cif", CIF), status=500).get_data(as_text=True)
    assert "The server failed (KeyError)" in got
    assert "secret" not in got
    assert "secret" not in "\n".join(lines)


# --- nothing is kept ---------------------------------------------------------------


def test_large_files_stay_in_memory(client, tmp_path, monkeypatch):
    """Werkzeug writes files of more than 500 kB to the disk by default."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def refuse(*args, **kwargs):
        raise AssertionError("a temporary file")

    for name in ("TemporaryFile", "SpooledTemporaryFile", "NamedTemporaryFile"):
        monkeypatch.setattr(tempfile, name, refuse)
    monkeypatch.setattr("werkzeug.formparser.SpooledTemporaryFile", refuse)
    padded = CIF + "# comment\n" * 150_000
    head = 'Content-Disposition: form-data; name="files"; filename="a.cif"'
    body = f"--b\r\n{head}\r\n\r\n{padded}\r\n--b--\r\n"
    got = client.post(
        "/api/predict", data=body, base_url=HOST,
        content_type="multipart/form-data; boundary=b",
    )  # fmt: skip
    (one,) = got.json["results"]
    assert (one["file"], one["error"]) == ("a.cif", "")
    assert not list(tmp_path.iterdir())


def test_lines_of_the_log_are_counts(client, lines):
    del lines[:]
    send(client, ("secret.cif", CIF), ("secret2.cif", "nothing"))
    assert lines == ["2 structures, 1 failed"]


def test_form_of_other_fields_is_read_for_files(client):
    data = form(("a.cif", CIF))
    data["other"] = data.pop("files")
    got = client.post("/api/predict", data=data, base_url=HOST)
    assert got.json["results"][0]["error"] == ""
