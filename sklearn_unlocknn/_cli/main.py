"""The command ``unlocknn``: fit, predict, evaluate, report and serve without Python."""

import argparse
import importlib
import logging
import os
import shlex
import sys
import traceback
import warnings
from contextlib import contextmanager

from .. import __version__
from .files import CommandError, announce, find_input, print_message

#: Module of each command.
_MODULES = {
    "fit": ".commands", "predict": ".commands", "evaluate": ".commands",
    "report": ".commands", "serve": ".serve",
}  # fmt: skip

_STATUS = """\
exit status: 0 success; 1 some files failed (predict); 2 no output, for a reason on
standard error; 130 interrupted"""
_MODEL = """\
A model file (.unlocknn) has numbers and no code: one of others is safe to open.
--allow-pickle also reads a MEGNetProbRegressor that was written by pickle or joblib,
which can run any code: open only those of people whom you trust."""
_DATA = """\
DATA is a table with a header: .csv (separated by comma, semicolon or tab), .tsv, .xlsx
(first sheet; needs openpyxl), .json (a list of records, or a frame in a layout of
pandas) or .jsonl (a record on each line). Text is UTF-8 and may be compressed (.gz).
The column of structures has texts of structure files, paths of structure files relative
to the folder of DATA, or (JSON) pymatgen's dictionaries. Rows are numbered from 1,
without the header."""
_FIT = f"""\
Fit a Gaussian process to a column of a data file, on features of a frozen MEGNet.

{_DATA}

MODEL has the fitted regressor and a model card: the formulas of the structures, figures
of the held-out rows, versions. In Python, load_model and read_model_card of
sklearn_unlocknn read them."""
_COLUMNS = """\
  mean, std      in the units of the target; std includes the observation noise
  lower, upper   a new observation lies between them with the probability --coverage
  log10_mean, log10_std
                 after `fit --log10`: of the logarithm. mean and std are those of a
                 log-normal distribution; 10^log10_mean is its median, less than mean
  domain         how well the training structures determine the target, 0 to 1: 1 is
                 without error, .5 no better than their mean
  nearest        formulas of the three nearest training structures
  warning        "outside the domain of the training data" if it is harder to predict
                 than 95 % of it; and what the reader of a structure warned of
  error          reason of a failure; the numbers of its row are empty"""
_PREDICT = f"""\
Predict structure files with a fitted model. The output is a CSV table with a row for
each structure:

  file           name of the file; "file:name" of one of several structures in it
  rank           with --rank: 1 is to be measured first
{_COLUMNS}

A folder stands for the files in it that are named as structure files: .cif, .mcif,
POSCAR*, CONTCAR*, .vasp, .xyz, .json, .cssr, .xsf, .res, .mol and .sdf, also compressed
(.gz, .bz2, .xz). Other files are counted, hidden files are not read.

{_MODEL}"""
_EVALUATE = f"""\
Report accuracy, calibration and sharpness of a fitted model on a data file that was not
used in the fit; after `fit --log10` those of the logarithm. -o writes a CSV table with
a row for each row of DATA:

  row, file, target
                 number, path of the structure (empty for other structures), target
{_COLUMNS}

{_DATA}

{_MODEL}"""
_SERVE = f"""\
Serve a page of this machine to drop crystals on: the structure, its prediction with an
error bar over the training targets, whether it is inside the domain of the training
data, the nearest training structures, all as CSV, and the same as JSON (POST
/api/predict and GET /api/model, which the page describes).

The server is reached from this machine alone, sends no request to another, and keeps
no file of a visitor. It needs the packages of the extra `web`. Without JavaScript or
WebGL crystals are drawn.

--training shows the nearest training structures, too. DATA is the table that `unlocknn
fit` read, or the folder of structure files that a model of Python was fitted to in the
order of their names. It is compared with what the model keeps.

{_MODEL}"""

_REPORT = f"""\
Write a report on a fitted model and a data file that was not used in the fit: one HTML
file that opens in any browser, without a network. It has figures in sentences,
pictures of calibration, errors and domain, the periodic table, the worst rows with
their nearest training structures, and the model card; after `fit --log10` the figures
are those of the logarithm. Needs the extra plot: pip install "sklearn-unlocknn[plot]".

{_DATA}

{_MODEL}"""


def main(argv=None):
    """Run the command line; `argv` of None is that of the process.

    Returns the exit status: 0; 1 if files failed; 2 without output; 130 if interrupted.
    """
    if hasattr(sys.stdout, "reconfigure"):  # characters that its encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    argv = sys.argv[1:] if argv is None else argv
    args = parse_arguments(argv)
    args.command_line = shlex.join(["unlocknn", *argv])
    with _quiet_libraries():
        try:
            find_input(args)
            announce(args)
            # imports pandas, which takes a second
            module = importlib.import_module(_MODULES[args.name], __package__)
            status = getattr(module, args.name)(args)
            sys.stdout.flush()
            return status
        except KeyboardInterrupt:
            _print_error(args, "interrupted; no file was written")
            return 130
        except BrokenPipeError:
            # as in `| head`; the flush at exit must not fail too
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Exception as error:
            if args.debug:
                traceback.print_exc()
            expected = isinstance(error, CommandError | ValueError | OSError)
            text = str(error) or "unknown reason"
            if not expected:
                text = f"{type(error).__name__}: {text} (--debug shows the traceback)"
            _print_error(args, f"error: {text}")
            return 2


def _print_error(args, text):
    print(f"unlocknn {args.name}: {text}", file=sys.stderr)


@contextmanager
def _quiet_libraries():
    """Silence TensorFlow's log; print each warning of libraries once, with a count."""
    seen = {}

    def note(message, category, filename, lineno, file=None, line=None):
        first, n = seen.get((filename, lineno), (message, 0))
        seen[filename, lineno] = first, n + 1

    # Processes of --n-jobs inherit it; their warnings are not counted.
    before = os.environ.get("PYTHONWARNINGS")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        warnings.showwarning = note
        try:
            yield
        finally:
            if before is None:
                os.environ.pop("PYTHONWARNINGS", None)
            for first, n in seen.values():
                text = " ".join(str(first).split())
                text = text if len(text) <= 300 else text[:297] + "..."
                times = f" ({n} times, the first)" if n > 1 else ""
                print_message(f"warning{times}: {text}")


def parse_arguments(argv):
    """Return the arguments of a command, or exit after help or a usage error."""
    parser = argparse.ArgumentParser(
        "unlocknn",
        description="Predictions with error bars for crystals and molecules.",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="name")
    _add_fit(commands)
    _add_predict(commands)
    _add_evaluate(commands)
    _add_report(commands)
    _add_serve(commands)
    if argv and argv[0] in commands.choices:
        command = commands.choices[argv[0]]
        command.set_defaults(name=argv[0])
        # options may stand between MODEL and FILE, which parse_args does not support
        return command.parse_intermixed_args(argv[1:])
    return parser.parse_args(argv)


def _add_command(commands, name, summary, description):
    return commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_common(parser):
    parser.add_argument(
        "--n-jobs", type=int, metavar="N",
        help="number of processes that read structures and run the network; -1 uses "
        "all processors; useful for thousands of structures",
    )  # fmt: skip
    parser.add_argument(
        "--memory", metavar="FOLDER",
        help="folder that keeps features, so that the network runs once on each "
        "structure",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace the output file")
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error"
    )


def _add_data(parser, required):
    text = "column to predict" if required else "column (default: that of the fit)"
    parser.add_argument("--target", required=required, metavar="NAME", help=text)
    parser.add_argument(
        "--structures", metavar="NAME",
        help="column of structures (default: found by its content and its name, "
        "structure, cif, path or file)",
    )  # fmt: skip
    parser.add_argument(
        "--on-error", choices=("stop", "drop"), default="stop",
        help="for rows without a usable target or structure: stop, or leave them out "
        "and list them (default: %(default)s)",
    )  # fmt: skip


def _add_coverage(parser):
    parser.add_argument(
        "--coverage", type=_fraction, default=0.95, metavar="P",
        help="probability of the interval (default: %(default)s)",
    )  # fmt: skip


def _add_model(parser):
    parser.add_argument("model", metavar="MODEL", help="model file of `unlocknn fit`")
    parser.add_argument(
        "--allow-pickle", action="store_true",
        help="read MODEL by pickle if it is no model file: it can run any code",
    )  # fmt: skip


def _add_fit(commands):
    parser = _add_command(commands, "fit", "fit a model to a data file", _FIT)
    parser.add_argument("data", metavar="DATA", help="table of structures and targets")
    _add_data(parser, required=True)
    _add_unit(parser)
    parser.add_argument(
        "-o", "--output", required=True, metavar="MODEL",
        help="model file to write, such as model.unlocknn",
    )  # fmt: skip
    parser.add_argument(
        "--log10", action="store_true",
        help="fit and predict log10 of the target, which must be positive",
    )  # fmt: skip
    parser.add_argument(
        "--network", default="Eform_MP_2019", metavar="NAME|FILE",
        help="pretrained network, or an .hdf5 file with its .json (default: "
        "%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--layer", action="append", type=_index_or_name, metavar="LAYER",
        help="layer of the features, by index or name; repeat the option to join "
        "several (default: auto, the readout and the states of earlier blocks)",
    )  # fmt: skip
    parser.add_argument("--kernel", help='such as "matern52_ard + linear"')
    parser.add_argument(
        "--mean", default="constant",
        choices=("zero", "constant", "linear", "network"),
        help="prior mean; network is the network's own prediction (default: "
        "%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--n-inducing-points", type=_count_or_fraction, metavar="N",
        help="number of inducing points, or their fraction of the rows",
    )  # fmt: skip
    parser.add_argument(
        "--random-state", type=_seed, default=0, metavar="SEED",
        help="seed (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--holdout", type=_fraction, metavar="P",
        help="before the fit to all rows, hold out this fraction of them at random, "
        "fit to the others and report on the held-out rows",
    )  # fmt: skip
    _add_common(parser)


def _add_predict(commands):
    parser = _add_command(commands, "predict", "predict structure files", _PREDICT)
    _add_model(parser)
    parser.add_argument(
        "files", metavar="FILE", nargs="*",
        help="CIF, POSCAR or another structure file, folder of such files, or - for "
        "names on standard input",
    )  # fmt: skip
    parser.add_argument(
        "--list", metavar="FILE",
        help="text file with the name of a file or folder on each line, relative to "
        "the current folder",
    )  # fmt: skip
    parser.add_argument(
        "--recursive", action="store_true", help="read subfolders of folders, too"
    )
    parser.add_argument(
        "-o", "--output", metavar="CSV", help="output (default: standard output)"
    )
    parser.add_argument(
        "--rank", type=_count, metavar="N",
        help="choose the N structures to measure next, together as a batch, and write "
        "their order to the column rank",
    )  # fmt: skip
    parser.add_argument(
        "--goal", choices=("highest", "lowest", "uncertain"), default="highest",
        help="what --rank searches: targets above the highest or below the lowest of "
        "the training data, by expected improvement; or structures whose measurement "
        "improves the model most (default: %(default)s)",
    )  # fmt: skip
    _add_coverage(parser)
    _add_common(parser)


def _add_evaluate(commands):
    parser = _add_command(
        commands, "evaluate", "report the errors of a model on a data file", _EVALUATE
    )
    _add_model(parser)
    parser.add_argument("data", metavar="DATA", help="table of structures and targets")
    _add_data(parser, required=False)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "-o", "--output", metavar="CSV", help="also write the prediction of each row"
    )
    _add_coverage(parser)
    _add_common(parser)


def _add_report(commands):
    parser = _add_command(
        commands, "report", "write a report on a data file as HTML", _REPORT
    )
    _add_model(parser)
    parser.add_argument("data", metavar="DATA", help="table of structures and targets")
    _add_data(parser, required=False)
    parser.add_argument(
        "--no-target", action="store_true",
        help="DATA has no targets: report predictions and their domain alone",
    )  # fmt: skip
    parser.add_argument(
        "--group", metavar="NAME", help="column of labels for a table by group"
    )
    _add_unit(parser, " (default: that of the fit)")
    parser.add_argument(
        "-o", "--output", default="report.html", metavar="HTML",
        help="file to write (default: %(default)s)",
    )  # fmt: skip
    _add_coverage(parser)
    _add_common(parser)


def _add_unit(parser, default=""):
    parser.add_argument(
        "--unit", metavar="UNIT", help=f"unit of the target, such as GPa{default}"
    )


def _add_serve(commands):
    parser = _add_command(commands, "serve", "serve a model as a web page", _SERVE)
    _add_model(parser)
    parser.add_argument(
        "--port", type=_port, default=8000, metavar="N",
        help="port of 127.0.0.1; 0 takes one that is free (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--open", action="store_true", help="open the page in the browser"
    )
    parser.add_argument(
        "--training", metavar="DATA",
        help="table or folder that the model was fitted to, to show its structures",
    )  # fmt: skip
    parser.add_argument(
        "--target", metavar="NAME",
        help="column of DATA with the target (default: that of the fit)",
    )  # fmt: skip
    parser.add_argument(
        "--structures", metavar="NAME",
        help="column of DATA with structures (default: found as by fit)",
    )  # fmt: skip
    _add_coverage(parser)
    parser.add_argument(
        "--n-jobs", type=int, metavar="N",
        help="number of processes that read structures and run the network; -1 uses "
        "all processors (default: 2, or 1 on a single processor)",
    )  # fmt: skip
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error"
    )


def _port(text):
    if not 0 <= (value := int(text)) < 2**16:
        raise argparse.ArgumentTypeError(f"got {text}, expected 0 to 65535")
    return value


def _fraction(text):
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected a number in (0, 1)")
    return value


def _count(text):
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected a number from 1")
    return value


def _seed(text):
    if not 0 <= (value := int(text)) < 2**32:
        raise argparse.ArgumentTypeError(f"got {text}, expected 0 to 2**32 - 1")
    return value


def _index_or_name(text, other=str):
    try:
        return int(text)
    except ValueError:
        return other(text)


def _count_or_fraction(text):
    return _index_or_name(text, _fraction)
