"""Examples and pages of the documentation: where they are, and how they run."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXAMPLES = ROOT / "examples"
DATA = Path(os.environ.get("SKLEARN_UNLOCKNN_DATA", ""))
needs_data = pytest.mark.skipif(
    "SKLEARN_UNLOCKNN_DATA" not in os.environ,
    reason="needs data sets and pretrained networks in SKLEARN_UNLOCKNN_DATA",
)


def run(command, folder):
    """Run Python with arguments in a folder; return its output."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env={**os.environ, "MPLBACKEND": "Agg"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def python_blocks(page):
    """Return the Python code of a page of the guide, or of a section of README.md."""
    if page.startswith("README"):
        section = README.split(page.replace("README", "##"))[1].split("\n## ")[0]
        return re.findall(r"^```python\n(.*?)^```", section, flags=re.M | re.S)
    text = (ROOT / "docs" / f"{page}.rst").read_text()
    pattern = r"^\.\. code-block:: python\n\n((?: {4}.*\n|\n)+)"
    return [textwrap.dedent(b) for b in re.findall(pattern, text + "\n", flags=re.M)]
