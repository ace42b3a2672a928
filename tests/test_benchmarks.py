"""Test the command that makes the figures of RESULTS.md, on commands of its own."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUN = ROOT / "benchmarks" / "run.py"

pytestmark = pytest.mark.skipif(
    not RUN.is_file(), reason="the benchmarks are beside the tests in a checkout only"
)


@pytest.fixture(scope="module")
def run():
    spec = importlib.util.spec_from_file_location("benchmark_run", RUN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_commands_of_the_results_exist_and_take_their_options(run):
    text = (ROOT / "benchmarks" / "RESULTS.md").read_text("utf-8")
    found = run.commands(text)
    scripts = {command.split()[0] for command in found}
    assert len(scripts) > 10
    assert "benchmarks/run.py" not in scripts
    for script in scripts:
        assert (ROOT / script).is_file(), script
    for command in found:
        source = (ROOT / command.split()[0]).read_text("utf-8")
        for option in (word for word in command.split() if word.startswith("--")):
            assert f'"{option}"' in source, command


def test_lines_are_compared_by_their_words(run):
    before = ["| a | 1.00 | 20 |", "| b | -.5 |", "gone 1", "| b | 7 |"]
    after = ["| a |  1.01 | 21 |", "| b | -.8 |", "new 2", "| b | 7.1 |"]
    assert run.changes(before, after, 0.06) == [
        ("| b | -.5 |", "| b | -.8 |"),
        (None, "new 2"),
        ("gone 1", None),
    ]
    assert run.changes(before, before, 0.0) == []


def test_a_run_is_stored_and_compared_and_a_failure_is_shown(tmp_path):
    root = tmp_path / "checkout"
    folder = root / "benchmarks"
    folder.mkdir(parents=True)
    (folder / "run.py").write_bytes(RUN.read_bytes())
    (folder / "good.py").write_text(
        "import sys, pathlib\n"
        "data = pathlib.Path(sys.argv[1], 'value').read_text()\n"
        "print('rmse', data); pathlib.Path('left').write_text('x')\n"
    )
    (folder / "bad.py").write_text("print('half'); raise SystemExit(3)\n")
    (folder / "RESULTS.md").write_text(
        "    python benchmarks/good.py \\\n        DATA_FOLDER  # a remark\n\n"
        "    python benchmarks/bad.py\n"
    )

    def start(*options):
        return subprocess.run(
            [sys.executable, str(folder / "run.py"), str(tmp_path), *options],
            capture_output=True, text=True, cwd=tmp_path,
        )  # fmt: skip

    (tmp_path / "value").write_text("1.0")
    first = start("--only", "good")
    assert first.returncode == 0, first.stderr
    assert "no stored run" in first.stdout
    stored = json.loads((folder / "results.json").read_text())
    (done,) = stored.values()
    assert done["lines"] == ["rmse 1.0"]
    assert done["versions"]["numpy"]
    assert "cores" in done["machine"]
    (tmp_path / "value").write_text("1.2")
    second = start()
    assert second.returncode == 1
    assert "- rmse 1.0\n+ rmse 1.2\n" in second.stdout
    assert "failed with status 3" in second.stdout
    assert list(json.loads((folder / "results.json").read_text())) == list(stored)
    assert not (tmp_path / "left").exists()
    assert "no command of RESULTS.md" in start("--only", "nothing").stderr
