"""The examples run as a user runs them and show what they promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_quickstart_shows_that_intervals_cover_and_saves_a_picture(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "quickstart.py")]
    picture = tmp_path / "picture.png"
    done = subprocess.run(
        [*command, "--output", str(picture)],
        env={**os.environ, "MPLBACKEND": "Agg"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    shares = re.findall(r"([\d.]+)% intervals hold ([\d.]+)% of 177", done.stdout)
    assert len(shares) == 3
    for nominal, observed in shares:
        # two standard errors of a share among 177 rows are at most 7.5 %
        assert abs(float(nominal) - float(observed)) < 8.0
    assert "miscalibration area" in done.stdout


def test_readme_names_the_commands_that_ci_runs():
    readme = (ROOT / "README.md").read_text()
    ci = (ROOT / ".ci" / "run").read_text()
    marker = "<!-- test command -->"
    assert marker in ci
    block = readme.split(marker)[1].split("```")[1]
    assert "pip install" in block
    assert "pytest" in block
    assert "examples/quickstart.py" in readme
