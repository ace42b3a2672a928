"""The command ``unlocknn``: fit, predict and evaluate without writing Python."""

import argparse
import logging
import os
import sys
import traceback
import warnings
from contextlib import contextmanager

from .. import __version__
from . import commands as commands
from .files import CommandError

_STATUS = """\
exit status: 0 all went well; 1 some files failed (predict); 2 nothing was done, for a
reason given on standard error; 130 interrupted"""
_MODEL = (
    "A model file is a pickle, which runs code when opened: open only what you trust."
)
_DATA = """\
DATA is a CSV file with a header, or a JSON file: a list of records or a frame in
pandas' "split" layout. Either may be compressed (.gz). Its column of structures has the
text of CIF files, paths of CIF or POSCAR files relative to DATA, or (JSON) pymatgen's
dictionaries."""
_FIT = f"""\
Fit a Gaussian process on the readout of a frozen MEGNet to a column of a data file.

{_DATA}

The network is run once a structure. Rows count from 1, without the header.

{_MODEL}
From Python, joblib.load gives a dict; its "estimator" is the MEGNetProbRegressor."""
_PREDICT = f"""\
Predict structure files with a fitted model: a row a file, of mean, standard deviation
(observation noise included) and the interval that holds a new observation with the
probability of --coverage, in the units of the target. Columns are file, mean, std,
lower, upper, error; after `fit --log10` they are log10_mean and so on. A file that
fails has empty numbers and the reason in error, and the others go on.

{_MODEL}"""
_EVALUATE = f"""\
Report accuracy, calibration and sharpness of a fitted model on a data file, which it
should not have been fitted on.

{_DATA}

{_MODEL}"""


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments; those of the process if None.

    Returns
    -------
    int
        Exit status: 0; 1 if files failed; 2 if nothing was done; 130 if interrupted.
    """
    args = _parser().parse_args(argv)
    with _quiet_libraries():
        try:
            status = args.run(args)
            sys.stdout.flush()
            return status
        except KeyboardInterrupt:
            _complain(args, "interrupted; no file was written")
            return 130
        except BrokenPipeError:
            # `| head` has what it wants; the flush at exit must not fail too
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Exception as error:
            if args.debug:
                traceback.print_exc()
            expected = isinstance(error, CommandError | ValueError | OSError)
            text = str(error) or "no reason given"
            if not expected:
                text = f"{type(error).__name__}: {text} (--debug shows where)"
            _complain(args, f"error: {text}")
            return 2


def _complain(args, text):
    print(f"unlocknn {args.name}: {text}", file=sys.stderr)


@contextmanager
def _quiet_libraries():
    """Silence TensorFlow's log, and say once what libraries warn of for every file."""
    seen = {}

    def note(message, category, filename, lineno, file=None, line=None):
        first, n = seen.get((filename, lineno), (message, 0))
        seen[filename, lineno] = first, n + 1

    # Processes of --n-jobs inherit it; what they warn of is not counted.
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
                commands.say(f"warning{times}: {text}")


def _parser():
    parser = argparse.ArgumentParser(
        "unlocknn",
        description="Predictions with error bars for crystals and molecules.",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands_of = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_fit(commands_of)
    _add_predict(commands_of)
    _add_evaluate(commands_of)
    return parser


def _add(commands_of, name, run, summary, description):
    parser = commands_of.add_parser(
        name,
        help=summary,
        description=description,
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, name=name)
    return parser


def _add_common(parser):
    parser.add_argument(
        "--n-jobs", type=int, metavar="N",
        help="processes that read structures; pays for many (-1: one a core)",
    )  # fmt: skip
    parser.add_argument(
        "--memory", metavar="FOLDER",
        help="keep features here: a structure seen before needs no network",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace the output file")
    parser.add_argument("--debug", action="store_true", help="show the traceback")


def _add_data(parser, required):
    text = "column to predict" if required else "column, if not that of the fit"
    parser.add_argument("--target", required=required, metavar="NAME", help=text)
    parser.add_argument(
        "--structures", metavar="NAME",
        help="column of structures; by default found by what it holds and by its name "
        "(structure, cif, path or file)",
    )  # fmt: skip
    parser.add_argument(
        "--on-error", choices=("stop", "drop"), default="stop",
        help="on rows without a usable target or structure: stop before the fit, or "
        "leave them out and say which (default: %(default)s)",
    )  # fmt: skip


def _add_coverage(parser):
    parser.add_argument(
        "--coverage", type=_share, default=0.95, metavar="P",
        help="probability of the interval (default: %(default)s)",
    )  # fmt: skip


def _add_fit(commands_of):
    parser = _add(commands_of, "fit", commands.fit, "fit a model to a data file", _FIT)
    parser.add_argument("data", metavar="DATA")
    _add_data(parser, required=True)
    parser.add_argument("-o", "--output", required=True, metavar="MODEL")
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
        help="layer, by index or name; again for more (default: auto, the readout "
        "and what the blocks before it know of the state)",
    )  # fmt: skip
    parser.add_argument("--kernel", help='such as "matern52_ard + linear"')
    parser.add_argument(
        "--mean", default="constant",
        choices=("zero", "constant", "linear", "network"),
        help="prior mean; network is what the network predicts (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--n-inducing-points", type=_count_or_share, metavar="N",
        help="inducing points, or their share of the rows",
    )  # fmt: skip
    parser.add_argument(
        "--random-state", type=int, default=0, metavar="SEED",
        help="seed (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--holdout", type=_share, metavar="P",
        help="first fit to the other rows and report on this share of them, drawn at "
        "random; the model is then fitted to all",
    )  # fmt: skip
    _add_common(parser)


def _add_predict(commands_of):
    parser = _add(
        commands_of, "predict", commands.predict, "predict structure files", _PREDICT
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "files", metavar="FILE", nargs="*",
        help="CIF, POSCAR or molecule file, folder of CIF and POSCAR files, or - for "
        "names on standard input",
    )  # fmt: skip
    parser.add_argument("--list", metavar="FILE", help="file with a name a line")
    parser.add_argument(
        "-o", "--output", metavar="CSV", help="by default the standard output"
    )
    _add_coverage(parser)
    _add_common(parser)


def _add_evaluate(commands_of):
    parser = _add(
        commands_of, "evaluate", commands.evaluate, "judge a model on a data file",
        _EVALUATE,
    )  # fmt: skip
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("data", metavar="DATA")
    _add_data(parser, required=False)
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    parser.add_argument(
        "-o", "--output", metavar="CSV", help="also write the prediction of each row"
    )
    _add_coverage(parser)
    _add_common(parser)


def _share(text):
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected a number in (0, 1)")
    return value


def _index_or_name(text):
    try:
        return int(text)
    except ValueError:
        return text


def _count_or_share(text):
    try:
        return int(text)
    except ValueError:
        return _share(text)
