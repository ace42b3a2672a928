"""Test that no upload, however damaged, breaks the server or leaves a file."""

import json
import os
import sys
import time
from collections import Counter

import numpy as np
import pytest
from _structures.damage import DAMAGES, WRITERS, sources
from _web.web_pages import HOST, form, text_of

pytest.importorskip("flask", reason="the page needs the extra `web`")

from sklearn_unlocknn._web.results import warm_up

SECONDS = 5
NAMES = ["a.cif", "POSCAR", "a.xyz", "a.json", "a.vasp", "noname", "a.extxyz", "'.cif"]
OWN = {"cif": "a.cif", "poscar": "POSCAR", "xyz": "a.xyz", "json": "a.json"}
NASTY = [
    "", "\n", "\x00" * 50, "data_", "data_a\nloop_\n_atom_site_label\n", "[" * 90_000,
    "{'" * 5_000, "{" * 200, '{"a":' * 20_000, "9" * 10_000 + "\n\nNa 0 0 0",
    "-1\n\n", "0\n\n", "1\n\nNa nan 0 0", "2\n\nNa 0 0 0\nCl 0 0 1e308",
    '{"sites": []}', '{"sites": [{}], "lattice": {}}', "[1, 2]", '"text"', "null",
    '{"@module": "os", "@class": "system", "sites": [{"species": []}]}', "PK\x03\x04",
    "c\n1\n1 0 0\n0 1 0\n0 0 1\nNa\n99999999\nDirect\n0 0 0\n",
    "c\n1e300\n1 0 0\n0 1 0\n0 0 1\nNa\n1\nDirect\n0 0 0\n",
    "c\n-1\n9 0 0\n0 9 0\n0 0 9\nNa\n1\nDirect\n0 0 0\n", "<svg onload=alert(1)>",
    '{"atom": [], "bond": [], "index1": [], "index2": []}', "_atom_site_label " * 5_000,
    '1\nLattice="1 0 0 0 1 0 0 0 1e9" Properties=species:S:1:pos:R:3\nNa 0 0 0',
]  # fmt: skip


def _number(text, rng):
    """Replace a number by one that is absurd."""
    words = text.split(" ")
    numbers = [i for i, word in enumerate(words) if word[:1].isdigit()]
    if numbers:
        odd = ["-1", "0", "1e9", "1e-9", "nan", "999999", "1e400", "1.5.2"]
        words[rng.choice(numbers)] = rng.choice(odd)
    return " ".join(words)


def _repeat(text, rng):
    """Repeat a text."""
    return text * int(rng.integers(2, 40))


def _bits(text, rng):
    """Return bytes with some of them changed."""
    content = np.frombuffer(text.encode(), np.uint8).copy()
    places = rng.integers(0, len(content), 1 + len(content) // 50)
    content[places] = rng.integers(0, 256, len(places))
    return content.tobytes()


def damaged(rng):
    """Return a name and a damaged content."""
    name = rng.choice(NAMES)
    if rng.random() < 0.1:
        return name, rng.choice(np.array(NASTY, object))
    if rng.random() < 0.05:
        return name, rng.bytes(int(rng.integers(1, 3_000)))
    kind = rng.choice(list(WRITERS))
    if rng.random() < 0.8:
        name = next(own for key, own in OWN.items() if key in kind)
    whole = sources(kind)
    text = WRITERS[kind](whole[rng.integers(len(whole))])
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        damage = rng.choice([*DAMAGES, _number, _number, _repeat])
        try:
            text = damage(text, rng)
        except (ValueError, KeyError, IndexError):  # too damaged to be damaged so
            text = _number(text, rng)
    text = text[:400_000]
    return name, _bits(text, rng) if text and rng.random() < 0.1 else text


_written = []


def _watch():
    """Record in a worker which files are opened to be written."""

    def note(event, arguments):
        if event == "open" and set(str(arguments[1])) & set("wax+"):
            _written.append(str(arguments[0]))

    sys.addaudithook(note)


def _seen():
    return _written, os.getpid()


@pytest.mark.parametrize(
    "n", [150, pytest.param(2_000, marks=pytest.mark.slow)], ids=str
)
def test_damaged_uploads(n, make_app, fitted, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    lines = []
    app = make_app(fitted, log=lines.append)
    app.workers.ready(warm_up)
    app.workers.ready(_watch)
    _, process = app.workers.run(_seen)
    client, rng, outcomes = app.test_client(), np.random.default_rng(n), Counter()
    slowest, example = 0.0, None
    for i in range(n):
        files = [damaged(rng) for _ in range(1 if i % 5 else 3)]
        path = "/" if i % 4 == 0 else "/api/predict"
        start = time.monotonic()
        got = client.post(path, data=form(*files), base_url=HOST)
        taken = time.monotonic() - start
        if taken > slowest:
            slowest, example = taken, files
        text = got.get_data(as_text=True)
        assert got.status_code in (200, 413), (i, files, text_of(text))
        if path == "/":
            assert "onload=alert(1)>" not in text
            outcomes[got.status_code] += 1
        else:
            for one in json.loads(text).get("results", []):
                outcomes["refused" if one["error"] else "predicted"] += 1
    print(dict(outcomes), f"slowest {slowest:.2f} s")
    assert app.workers.run(_seen) == ([], process)  # nothing written, none replaced
    assert not list(tmp_path.iterdir())
    assert not [line for line in lines if "failed by an error" in line]
    assert min(outcomes["refused"], outcomes["predicted"]) > n // 20
    assert slowest < SECONDS, example
