"""The command `unlocknn` as a process of its own: imports, streams, progress bar."""

import os
import pty
import shutil
import subprocess
import sys
import termios
from pathlib import Path

from _cli.command import table

INSTALLED = shutil.which("unlocknn", path=str(Path(sys.executable).parent))


def test_help_is_light():
    code = (
        "import sys\nfrom sklearn_unlocknn._cli.main import main\n"
        "try:\n    main(['fit', '--help'])\nexcept SystemExit as stop:\n"
        "    heavy = {'tensorflow', 'megnet', 'pymatgen', 'numpy', 'pandas'}\n"
        "    sys.exit(repr(heavy & set(sys.modules)) if stop.code == 0 else stop.code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == "set()"
    assert "open only trusted files" in done.stdout


def test_installed_command_in_a_pipe(folder, fitted, one_thread):
    """Results go to one stream and reasons to the other, without bar and log."""
    assert INSTALLED, "the package is not installed with its command"
    command = [INSTALLED, "predict", fitted, "POSCAR", "gone.cif", b"odd\xff"]
    one_thread.pop("TF_CPP_MIN_LOG_LEVEL", None)
    done = subprocess.run(
        command, cwd=folder, env=one_thread, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert list(table(done.stdout)["file"]) == ["POSCAR", "gone.cif", r"odd\xff"]
    gone, odd, summary = done.stderr.splitlines()
    assert gone == "gone.cif: there is no file 'gone.cif'"
    assert odd.startswith(r"odd\xff: ")
    assert summary == "2 of 3 files failed"


def test_module_on_a_terminal_shows_a_bar(folder, fitted, one_thread):
    command = [sys.executable, "-m", "sklearn_unlocknn", "predict", fitted]
    main_end, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    process = subprocess.Popen(
        [*command, "cifs/00.cif"], cwd=folder, env=one_thread,
        stdout=subprocess.PIPE, stderr=terminal, text=True,
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(main_end, 1024):
            shown += part
    except OSError:  # Linux: the other end is closed
        pass
    out, _ = process.communicate()
    os.close(main_end)
    assert process.returncode == 0
    assert b"Predicting" in shown
    assert b"1/1" in shown
    assert len(table(out)) == 1
