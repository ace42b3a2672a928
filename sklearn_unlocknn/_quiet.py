"""Programs without TensorFlow's start-up lines."""

import os
import subprocess
import sys
from contextlib import contextmanager, suppress

#: Copies standard input to standard error, without the lines that TensorFlow writes at
#: each start on a machine without a graphics processor.
_FILTER = r"""
import re, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
known = re.compile(
    rb"All log messages before absl::InitializeLog|cudart_stub\.cc|"
    rb"cpu_feature_guard\.cc|To enable the following instructions:|"
    rb"oneDNN custom operations are on|cuda_platform\.cc.*failed call to cuInit|"
    rb"Unable to register cu\w+ factory|computation_placer already registered|"
    rb"TF-TRT Warning: Could not find TensorRT|Skipping registering GPU devices"
)
for line in sys.stdin.buffer:
    if not known.search(line):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""
_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


@contextmanager
def quiet_tensorflow():
    """Hide the lines that TensorFlow writes whenever it starts, in a program.

    They are about graphics processors, instructions of the processor and its own log,
    and some of them ignore ``TF_CPP_MIN_LOG_LEVEL``. All other lines are shown, and
    errors are raised as ever. For scripts and commands; the package itself changes
    nothing of the process.

    Yields
    ------
    None

    Notes
    -----
    Meanwhile what libraries write to the file descriptor of standard error passes
    through a small process that leaves these lines out, and ``TF_CPP_MIN_LOG_LEVEL`` is
    3 unless it is set. ``sys.stderr`` of Python is not filtered. Worker processes that
    are started meanwhile inherit both.

    Examples
    --------
    >>> from sklearn_unlocknn import quiet_tensorflow
    >>> with quiet_tensorflow():
    ...     import tensorflow
    """
    given = os.environ.get(_LEVEL)
    os.environ.setdefault(_LEVEL, "3")
    stderr = sys.stderr
    try:
        stderr.flush()
        saved = os.dup(2)
    except (AttributeError, OSError, ValueError):  # a program without standard error
        saved = None
    try:
        if saved is None:
            yield
            return
        command = [sys.executable, "-I", "-S", "-c", _FILTER]
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=saved)
        own = _fileno(stderr) == 2
        if own:
            sys.stderr = open(  # noqa: SIM115
                saved, "w", buffering=1, encoding=stderr.encoding,
                errors=stderr.errors, closefd=False,
            )  # fmt: skip
        os.dup2(worker.stdin.fileno(), 2)
        try:
            yield
        finally:
            if own:
                sys.stderr.flush()
                sys.stderr = stderr
            os.dup2(saved, 2)
            worker.stdin.close()
            # Workers of joblib that are still idle keep the other end open.
            with suppress(subprocess.TimeoutExpired):
                worker.wait(1)
    finally:
        if saved is not None:
            os.close(saved)
        if given is None:
            os.environ.pop(_LEVEL, None)


def _fileno(stream):
    with suppress(AttributeError, OSError, ValueError):
        return stream.fileno()
    return None
