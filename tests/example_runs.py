"""Runs scripts as a user runs them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def run(command, folder):
    """Run Python with arguments in a folder; return what it prints."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env={**os.environ, "MPLBACKEND": "Agg"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
