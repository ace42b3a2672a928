"""Outputs of the command line are written completely or not at all."""

import sys

import pytest

from sklearn_unlocknn._cli.files import open_output
from sklearn_unlocknn._files.output import replacing


# interrupted between open() and `with`: the file object is left to be collected
@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO")
def test_output_interrupted_at_any_line(tmp_path):
    """Ctrl-C may come between any two lines, right after the file is made too."""
    codes = open_output.__wrapped__.__code__, replacing.__wrapped__.__code__
    out = tmp_path / "out.csv"
    files_seen = set()

    def interrupt_at(n):
        def of_lines(frame, event, arg):
            nonlocal n
            if event == "line":
                n -= 1
                if n == 0:
                    files_seen.update(file.suffix for file in tmp_path.iterdir())
                    raise KeyboardInterrupt
            return of_lines

        return lambda frame, event, arg: of_lines if frame.f_code in codes else None

    before = sys.gettrace()
    for n in range(1, 100):
        out.unlink(missing_ok=True)
        sys.settrace(interrupt_at(n))
        try:
            with open_output(out) as file:
                file.write("content")
            break
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        left = {file.name: file.read_text() for file in tmp_path.iterdir()}
        assert left in ({}, {"out.csv": "content"})
    assert files_seen == {".part", ".csv"}
    assert out.read_text() == "content"
