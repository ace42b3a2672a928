"""The command line in this process, and its output as a frame."""

import io

import pandas as pd

from sklearn_unlocknn._cli.main import main


def run(*arguments):
    """Run a command and return its exit status."""
    return main([str(argument) for argument in arguments])


def table(text):
    """Read a CSV table with an error, or an empty text, in each row."""
    frame = pd.read_csv(io.StringIO(text), dtype={"error": object})
    return frame.fillna({"error": ""})
