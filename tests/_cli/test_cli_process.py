"""The command `unlocknn` as a process of its own: imports, streams, progress bar."""

import os
import pty
import re
import shutil
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from _cli.command import table

INSTALLED = shutil.which("unlocknn", path=str(Path(sys.executable).parent))


HEAVY = """
import sys
from sklearn_unlocknn._cli.main import main
try:
    status = main(sys.argv[1:])
except SystemExit as stop:
    status = stop.code
heavy = {"numpy", "pandas", "tensorflow", "keras", "megnet", "pymatgen"}
print(*sorted(heavy & set(sys.modules)))
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("fit --help", "load_model and read_model_card of"),
        ("fit {here} --network Eform_MP_2091", "error: .*neither .*Eform_MP_2019"),
        ("fit gone.csv --network {here}", "error: There is no data file 'gone.csv'"),
        ("predict gone POSCAR", "error: There is no model file 'gone'"),
        ("evaluate gone gone.csv", "error: There is no model file 'gone'"),
    ],
)
def test_help_and_wrong_names_need_no_heavy_library(command, message):
    arguments = command.format(here=__file__).split()
    if "--network" in arguments:
        arguments += ["--target", "y", "-o", "new.unlocknn"]
    done = subprocess.run(
        [sys.executable, "-c", HEAVY, *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    is_help = "--help" in arguments
    assert done.returncode == (0 if is_help else 2)
    assert re.search(message, done.stdout if is_help else done.stderr)
    heavy = done.stdout.splitlines()[-1].split()
    assert heavy == (["numpy", "pandas"] if "neither" in message else [])


def test_fit_and_predict_import_no_tensorflow(folder, fit_options, tmp_path):
    model, files = tmp_path / "model", [folder / "POSCAR", folder / "cifs/01.cif"]
    fit = ["fit", folder / "train.json", *fit_options, "-o", model]
    for command in (fit, ["predict", model, *files]):
        done = subprocess.run(
            [sys.executable, "-c", HEAVY, *map(str, command)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        *lines, heavy = done.stdout.splitlines()
        assert heavy.split() == ["numpy", "pandas", "pymatgen"]
    assert not table("\n".join(lines))["error"].any()


def test_installed_command_in_a_pipe(folder, fitted, one_thread):
    """Results go to one stream and reasons to the other, without bar and log."""
    assert INSTALLED, "the package is not installed with its command"
    command = [INSTALLED, "predict", fitted, "POSCAR", "góne.cif", b"odd\xff"]
    one_thread.pop("TF_CPP_MIN_LOG_LEVEL", None)
    one_thread["PYTHONIOENCODING"] = "ascii"
    done = subprocess.run(
        command, cwd=folder, env=one_thread, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert list(table(done.stdout)["file"]) == ["POSCAR", r"g\xf3ne.cif", r"odd\xff"]
    assert done.stderr.splitlines() == [
        r"g\xf3ne.cif: there is no file 'g\xf3ne.cif'",
        r"odd\xff: there is no file 'odd\udcff'",
        "2 of 3 files failed",
    ]


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
    assert shown.startswith(b"Reading ")
    assert b"Predicting" in shown
    assert b"1/1" in shown
    assert len(table(out)) == 1
