"""What the commands fit, predict and evaluate do."""

import csv
import json
import math
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from .. import __version__
from . import files as files
from .files import CommandError
from .predictions import cells, columns, predictions, reasons_of
from .tables import read_table, rows_of

_SHOWN = 10


def say(text):
    """Print a line for the user on standard error, above a progress bar if any."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


def fit(args):
    """Fit a model to a data file and write it; report on held-out rows if asked to."""
    if args.kernel is not None:
        from ..kernels import make_kernel

        make_kernel(args.kernel, 2)  # a wrong name is an error at once
    files.check_output(args.output, force=args.force, inputs=[args.data], stdout=False)
    table = read_table(args.data)
    rows = rows_of(table, args.target, args.structures, log10=args.log10)
    _stop_on(rows.errors, len(table), args.on_error)
    _find_network(args.network)

    start = time.monotonic()
    with files.open_output(args.output, "wb") as file, _memory(args) as memory:
        _import_quietly(args)
        _extract(args, rows, memory)
        _stop_on(rows.errors, len(table), args.on_error)
        _require_some(rows)
        X, y = _good(rows)
        model = _regressor(args, memory)
        if args.holdout:
            _report_holdout(model, X, y, args)
        say(f"Fitting the process to {len(y)} rows")
        model.fit(X, y)
        # where this fit ran is of no use to who loads the model
        model.set_params(memory=None, n_jobs=None)
        files.save_model(file, model, target=args.target, log10=args.log10)
    _report_left_out(rows.errors, len(table))
    per_atom = args.mean == "network" and model.network_.extensive
    say(
        f"Wrote {args.output}: {_quantity(args.target, args.log10)} from {len(y)} "
        f"rows, noise std {model.noise_std_:.3g}{' per atom' if per_atom else ''}, "
        f"{time.monotonic() - start:.1f} s"
    )
    return 0


def _find_network(network):
    """Fetch a pretrained network, or raise if it is neither one nor a file."""
    from ..datasets import MEGNET_MODELS, fetch_megnet_model

    if network in MEGNET_MODELS:
        fetch_megnet_model(network)
    elif not os.path.isfile(network):
        from .._megnet.extractor import resolve_megnet

        resolve_megnet(network)  # its error lists the names


def _import_quietly(args):
    """Import TensorFlow, which logs before it minds its log level."""
    from joblib import Parallel, delayed

    from .._megnet.compat import import_megnet
    from .._parallel import count_workers

    if args.debug:
        return
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        if count_workers(args.n_jobs) > 1:  # processes started now inherit it
            Parallel(args.n_jobs)(delayed(int)() for _ in range(2))
        import_megnet()
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _memory(args):
    """Give the folder of features: each structure goes through the network once."""
    if args.memory is None:
        return tempfile.TemporaryDirectory(prefix="unlocknn-")
    return nullcontext(args.memory)


def _extract(args, rows, memory):
    """Run the network on the good rows, and add those that fail to the errors."""
    import numpy as np

    from .._megnet.extractor import MEGNetFeatureExtractor

    extractor = MEGNetFeatureExtractor(
        args.network, _layer(args), memory=memory, n_jobs=args.n_jobs,
        on_error="nan", verbose=1,
    )  # fmt: skip
    good = [i for i in range(len(rows.target)) if i not in rows.errors]
    if good:
        items = [rows.structures[i] for i in good]
        features = extractor.fit_transform(items)
        failed = np.flatnonzero(np.isnan(features).any(axis=1))
        reasons = reasons_of(extractor.network_, [items[k] for k in failed])
        rows.errors.update(zip((good[k] for k in failed), reasons, strict=True))


def _require_some(rows):
    if len(rows.errors) == len(rows.target):
        raise CommandError(f"No row can be used:\n{_listed(rows.errors)}")


def _layer(args):
    layers = args.layer or ["auto"]
    return layers[0] if len(layers) == 1 else layers


def _regressor(args, memory):
    from .._regressors.megnet import MEGNetProbRegressor

    params = {
        name: getattr(args, name)
        for name in ("kernel", "n_inducing_points", "mean", "random_state", "n_jobs")
        if getattr(args, name) is not None
    }
    return MEGNetProbRegressor(args.network, _layer(args), memory=memory, **params)


def _report_holdout(model, X, y, args):
    """Print the report on rows that a fit to the others has not seen."""
    import numpy as np
    from sklearn.base import clone

    from ..metrics import uq_report

    n_test = round(args.holdout * len(y))
    if not 0 < n_test < len(y):
        raise CommandError(
            f"--holdout {args.holdout:g} of {len(y)} rows leaves nothing to "
            f"{'fit' if n_test else 'report on'}."
        )
    order = np.random.default_rng(args.random_state).permutation(len(y))
    test, train = order[:n_test], order[n_test:]
    say(f"Fitting the process to {len(train)} rows, {n_test} held out")
    trial = clone(model).fit([X[i] for i in train], [y[i] for i in train])
    mean, std = trial.predict([X[i] for i in test], return_std=True)
    print(f"{_quantity(args.target, args.log10)}, held out")
    print(uq_report([y[i] for i in test], mean, std), end="", flush=True)


def predict(args):
    """Predict files, a row each; returns 1 if any failed."""
    names = files.structure_files(args.files, args.list)
    inputs = [args.model, args.list or "", *names]
    files.check_output(args.output, force=args.force, inputs=inputs)
    model = _load(args)
    n_failed = 0
    with files.open_output(args.output) as file:
        _import_quietly(args)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", *columns(model["log10"]), "error"])
        steps = predictions(
            model["estimator"], list(map(Path, names)), args.n_jobs,
            progress=not (file is sys.stdout and file.isatty()),
        )  # fmt: skip
        for start, mean, std, errors in steps:
            for k, values in enumerate(zip(mean, std, strict=True)):
                name = os.fsencode(names[start + k]).decode(errors="backslashreplace")
                error = errors.get(k, "")
                if error:
                    say(f"{name}: {error}")
                writer.writerow([name, *cells(*values, args.coverage), error])
            n_failed += len(errors)
            file.flush()
    if n_failed:
        say(f"{n_failed} of {len(names)} files failed")
    return int(n_failed > 0)


def evaluate(args):
    """Print the report on a data file, and write its predictions if asked to."""
    inputs = [args.model, args.data]
    files.check_output(args.output, force=args.force, inputs=inputs, stdout=False)
    model = _load(args)
    target = args.target or model["target"]
    if target is None:
        raise CommandError(f"{args.model} does not say its target. Give --target.")
    table = read_table(args.data)
    rows = rows_of(table, target, args.structures, log10=model["log10"])
    _stop_on(rows.errors, len(table), args.on_error)
    good = [i for i in range(len(table)) if i not in rows.errors]
    output = files.open_output(args.output) if args.output else nullcontext()
    with output as file:
        _import_quietly(args)
        done = {}
        X, _ = _good(rows)
        for start, mean, std, errors in predictions(model["estimator"], X, args.n_jobs):
            for k, values in enumerate(zip(mean, std, strict=True)):
                done[good[start + k]] = tuple(map(float, values))
            rows.errors.update({good[start + k]: e for k, e in errors.items()})
        _stop_on(rows.errors, len(table), args.on_error)
        _require_some(rows)
        if file is not None:
            _write_rows(file, model, rows, done, args.coverage)
    _report_left_out(rows.errors, len(table))
    _print_report(model, target, rows, done, args.json)
    return 0


def _write_rows(file, model, rows, done, coverage):
    name = "log10_target" if model["log10"] else "target"
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["row", name, *columns(model["log10"]), "error"])
    for i, y in enumerate(rows.target):
        mean, std = done.get(i, (math.nan, math.nan))
        error = rows.errors.get(i, "")
        observed = repr(y) if math.isfinite(y) else ""
        writer.writerow([i + 1, observed, *cells(mean, std, coverage), error])


def _print_report(model, target, rows, done, as_json):
    from ..metrics import uq_report

    good = [i for i in sorted(done) if i not in rows.errors]
    mean, std = zip(*(done[i] for i in good), strict=True)
    y = [rows.target[i] for i in good]
    if not as_json:
        print(_quantity(target, model["log10"]))
        print(uq_report(y, mean, std), end="")
        return
    report = uq_report(y, mean, std, output_dict=True)
    head = {"target": target, "log10": model["log10"], "n_left_out": len(rows.errors)}
    print(json.dumps(_plain({**head, **report}), indent=2))


def _plain(value):
    """Make null of what JSON has no number for."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _load(args):
    """Load the model and set it up for this run."""
    model = files.load_model(args.model)
    version = model["version"]
    if version is not None and version != __version__:
        say(f"{args.model} was written by version {version}, this is {__version__}")
    # what belongs to a run and not to the model
    model["estimator"].set_params(
        on_error="nan", memory=args.memory, n_jobs=args.n_jobs, verbose=0
    )
    return model


def _good(rows):
    good = [i for i in range(len(rows.target)) if i not in rows.errors]
    return [rows.structures[i] for i in good], [rows.target[i] for i in good]


def _quantity(target, log10):
    return f"log10({target})" if log10 else target


def _stop_on(errors, n, on_error):
    """Stop if rows cannot be used, unless they are to be dropped."""
    if errors and on_error == "stop":
        raise CommandError(
            f"{len(errors)} of {n} rows cannot be used (--on-error drop leaves them "
            "out):\n" + _listed(errors)
        )


def _report_left_out(errors, n):
    if errors:
        say(f"Left out {len(errors)} of {n} rows:\n{_listed(errors)}")


def _listed(errors):
    lines = [f"  row {i + 1}: {errors[i]}" for i in sorted(errors)[:_SHOWN]]
    if len(errors) > _SHOWN:
        lines.append(f"  and {len(errors) - _SHOWN} more")
    return "\n".join(lines)
