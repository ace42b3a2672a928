"""The commands fit, predict, evaluate and report."""

import json
import math
import os
import re
import sys
import tempfile
import time
from contextlib import nullcontext

import numpy as np
import pandas as pd
from sklearn.base import clone

from .. import __version__
from .._files.card import as_json
from .._files.model_file import save_model
from .._gp.domain import is_outside
from .._prediction import own_keywords, predict_distribution
from .._quiet import quiet_tensorflow
from .._regressors.predictions import join_errors, predictions, reasons
from .files import (
    CommandError,
    check_model_name,
    check_output,
    load_model,
    open_output,
    print_message,
    structure_rows,
)
from .tables import read_samples


def fit(args):
    """Fit a model to a data file and write it; report on held-out rows if requested."""
    from .._megnet.encoder import resolve_megnets

    if args.kernel is not None:
        from ..kernels import make_kernel

        # A wrong name is an early error; columns are known later.
        make_kernel(re.sub(r"\[[^\]]*\]", "", args.kernel), 2)
    check_model_name(args.output)
    check_output(args.output, force=args.force, inputs=[args.data], stdout=False)
    _find_network(args.network)
    samples = _read_samples(args, args.target, args.log10)
    n = int((samples["error"] == "").sum())
    if args.holdout and math.ceil(args.holdout * n) >= n:
        raise CommandError(f"--holdout {args.holdout} of {n} rows leaves none to fit.")
    quantity = _quantity(args.target, args.log10)

    start = time.monotonic()
    with open_output(args.output, "wb") as file, _memory(args) as memory:
        _load_quietly(args, lambda: resolve_megnets(args.network))
        _find_failures(samples, args, memory)
        good = _usable(samples, args.on_error)
        model, report = _regressor(args, memory), None
        if args.holdout:
            report = _report_holdout(model, good, quantity, args)
        print_message(f"Fitting the Gaussian process to {len(good)} rows")
        model.fit(good["structure"], good["y"])
        model.set_params(memory=None)  # a folder that the card would name
        save_model(
            model, file, X=good["structure"].tolist(), target=args.target,
            unit=args.unit, log10=args.log10, held_out=report,
        )  # fmt: skip
    _report_left_out(samples)
    per_atom = args.mean == "network" and model.network_.extensive
    print_message(
        f"Wrote {args.output}: {quantity} from {len(good)} rows, noise std "
        f"{model.noise_std_:.3g}{' per atom' if per_atom else ''}, "
        f"{time.monotonic() - start:.1f} s"
    )
    return 0


def _find_network(network):
    """Fetch a pretrained network; raise if it is neither one nor a file."""
    from .._megnet.encoder import resolve_megnet
    from ..datasets import MEGNET_MODELS, fetch_megnet_model

    if network in MEGNET_MODELS:
        fetch_megnet_model(network)
    elif not os.path.isfile(network):
        resolve_megnet(network)  # its error lists the names


def _load_quietly(args, networks):
    """Load networks, and TensorFlow where they need it, without its start-up lines.

    ``networks`` is a function that returns them.
    """
    from joblib import Parallel, delayed

    from .._megnet.compat import import_megnet
    from .._parallel import count_workers

    with nullcontext() if args.debug else quiet_tensorflow():
        if not any(network.needs_tensorflow for network in networks()):
            return
        if count_workers(args.n_jobs) > 1:  # processes started now inherit it
            Parallel(args.n_jobs)(delayed(int)() for _ in range(2))
        import_megnet()


def _memory(args, needed=True):
    """Return the folder of features: the network runs once on each structure."""
    if args.memory is None and needed:
        return tempfile.TemporaryDirectory(prefix="unlocknn-")
    return nullcontext(args.memory)


def _find_failures(samples, args, memory):
    """Compute and keep the features; set the errors of structures without features."""
    from .._megnet.encoder import MEGNetEncoder

    model = _regressor(args, memory).set_params(on_error="nan", verbose=1)
    structures, encoder = samples["structure"].dropna(), MEGNetEncoder()
    done = encoder.extract(model, encoder.freeze(model, structures))
    failed = np.flatnonzero(done.n_atoms == 0)
    found = reasons(done.errors, failed)
    samples["error"] = join_errors(samples["error"], found, structures.index[failed])


def _layer(args):
    layers = args.layer or ["auto"]
    return layers[0] if len(layers) == 1 else layers


def _regressor(args, memory):
    from .._regressors.megnet import MEGNetProbRegressor

    names = ("kernel", "n_inducing_points", "mean", "random_state", "n_jobs")
    params = {name: getattr(args, name) for name in names}
    params = {name: value for name, value in params.items() if value is not None}
    return MEGNetProbRegressor(args.network, _layer(args), memory=memory, **params)


def _report_holdout(model, samples, quantity, args):
    """Fit a clone to a part of the samples; print and return the report on the rest."""
    from sklearn.model_selection import train_test_split

    from ..metrics import uq_report

    train, test = train_test_split(
        samples, test_size=args.holdout, random_state=args.random_state
    )
    print_message(
        f"Fitting the Gaussian process to {len(train)} rows, {len(test)} held out"
    )
    trial = clone(model).fit(train["structure"], train["y"])
    prediction = predict_distribution(trial, test["structure"])
    own = own_keywords(uq_report, prediction)
    print(f"{quantity}, held out")
    print(uq_report(test["y"], *prediction[:2], **own), end="", flush=True)
    return uq_report(test["y"], *prediction[:2], **own, output_dict=True)


def predict(args):
    """Predict files, one row for each; return 1 if any of them failed."""
    rows = structure_rows(args.files, args.list, recursive=args.recursive)
    columns = ["path", "file", "structure", "error"]
    samples = pd.DataFrame(rows, columns=columns, dtype=object)
    inputs = [args.model, args.list or "", *samples["path"].dropna()]
    check_output(args.output, force=args.force, inputs=inputs)
    n_failed = n_outside = 0
    with open_output(args.output) as file, _memory(args, args.rank) as memory:
        model = _load(args, memory)
        _load_quietly(args, lambda: model["estimator"]._encoder.networks)
        blocks = predictions(
            model["estimator"], samples, args.coverage,
            log10=model["log10"], progress=not (file is sys.stdout and file.isatty()),
        )  # fmt: skip
        if args.rank:
            whole = pd.concat(blocks)
            ranks = _ranks(model["estimator"], samples["structure"], whole, args)
            whole.insert(0, "rank", ranks)
            blocks = [whole]
        for block in blocks:
            block.insert(0, "file", samples["file"])
            failed = block[block["error"] != ""]
            n_failed += len(failed)
            n_outside += is_outside(block.pop("domain_rank")).sum()
            for name, error in zip(failed["file"], failed["error"], strict=True):
                print_message(f"{name}: {error}")
            first = block.index[0] == 0
            block.to_csv(file, header=first, index=False, lineterminator="\n")
            file.flush()
    _report_outside(n_outside, len(samples) - n_failed)
    if n_failed:
        print_message(f"{n_failed} of {len(samples)} files failed")
    return int(n_failed > 0)


def _ranks(estimator, structures, predicted, args):
    """Return 1 for the structure to measure first, up to ``--rank``; <NA> for others.

    On the scale of the fit: that of the logarithm after ``fit --log10``.
    """
    from ..acquisition import select_batch

    ranks = pd.Series(pd.NA, predicted.index, dtype="Int64")
    good = predicted.index[predicted["error"] == ""]
    if not len(good):
        return ranks
    estimator._check_recorded()
    record, highest = estimator._head.record, args.goal == "highest"
    batch = select_batch(
        estimator,
        structures[good].tolist(),
        min(args.rank, len(good)),
        "variance" if args.goal == "uncertain" else "expected_improvement",
        best=float((record.high if highest else record.low)[0]),
        maximize=highest,
    )
    ranks[good[batch]] = np.arange(1, len(batch) + 1)
    return ranks


def _report_outside(n_outside, n):
    if n_outside:
        print_message(
            f"{n_outside} of {n} structures are outside the domain of the training "
            "data: they are harder to predict than 95 % of it"
        )


def evaluate(args):
    """Print the report on a data file, and write its predictions if requested."""
    from ..metrics import uq_report

    inputs = [args.model, args.data]
    check_output(args.output, force=args.force, inputs=inputs, stdout=False)
    model = _load(args, args.memory)
    target, log10 = find_target(args, model), model["log10"]
    samples = _read_samples(args, target, log10)
    output = open_output(args.output) if args.output else nullcontext()
    with output as file:
        _load_quietly(args, lambda: model["estimator"]._encoder.networks)
        blocks = predictions(model["estimator"], samples, args.coverage, log10=log10)
        predicted = pd.concat(blocks)
        outside = is_outside(predicted.pop("domain_rank"))
        samples["error"] = predicted["error"]
        good = _usable(samples, args.on_error)
        if file is not None:
            table = samples[["file", "target"]].join(predicted)
            table.to_csv(file, lineterminator="\n")
    _report_left_out(samples)
    _report_outside(outside.sum(), len(good))

    names = ["log10_mean", "log10_std"] if log10 else ["mean", "std"]
    y, (mean, std) = good["y"], predicted.loc[good.index, names].to_numpy().T
    own = own_keywords(uq_report, model["estimator"]._distribution(mean, std))
    if not args.json:
        print(_quantity(target, log10))
        print(uq_report(y, mean, std, **own), end="")
        return 0
    report = uq_report(y, mean, std, **own, output_dict=True)
    n_left_out = len(samples) - len(good)
    head = {"target": target, "log10": log10, "n_left_out": n_left_out}
    print(json.dumps(as_json(head | report), indent=2))
    return 0


def report(args):
    """Write the report on a data file as an HTML file."""
    from .._report.assessment import assess
    from .._report.page import import_libraries, render
    from .._report.units import Quantity

    try:
        import_libraries()
    except ImportError as error:
        raise CommandError(str(error)) from error
    inputs = [args.model, args.data]
    check_output(args.output, force=args.force, inputs=inputs, stdout=False)
    with open_output(args.output) as file, _memory(args) as memory:
        model = _load(args, memory)
        estimator, log10 = model["estimator"].set_params(verbose=1), model["log10"]
        target = find_target(args, model)
        column = None if args.no_target else target
        samples = _read_samples(args, column, log10, args.group)
        rows = samples[samples["error"] == ""]
        names = samples["file"].where(
            samples["file"] != "", [f"row {row}" for row in samples.index]
        )
        _load_quietly(args, lambda: estimator._encoder.networks)
        found = assess(
            estimator, rows["structure"].tolist(),
            None if args.no_target else rows["y"].to_numpy(),
            coverage=args.coverage, names=names[rows.index],
            groups=None if args.group is None else rows["group"],
        )  # fmt: skip
        for position, _, reason in found.failures:
            samples.loc[rows.index[position], "error"] = reason
        _usable(samples, args.on_error)
        failed = samples[samples["error"] != ""].index
        found.failures = [(row, names[row], samples["error"][row]) for row in failed]
        found.n_samples = len(samples)
        quantity = Quantity(target, args.unit or model["card"].get("unit"), log10)
        made_from = [
            ("Model file", args.model), ("Data file", args.data),
            ("Command", args.command_line),
        ]  # fmt: skip
        card = model["card"] or None
        file.write(render(found, quantity, card=card, made_from=made_from))
    _report_left_out(samples)
    if found.outside is not None:
        _report_outside(found.outside.sum(), found.n)
    print_message(f"Wrote {args.output}: {found.n} of {len(samples)} rows")
    return 0


def find_target(args, model):
    """Return the name of the target column."""
    target = args.target or model["target"]
    if target is None:
        raise CommandError(
            f"{args.model} does not contain the name of its target. Give --target."
        )
    return target


def warn_about_version(args, model):
    """Print a line if another version of this package wrote the model."""
    version = model["version"]
    if version is not None and version != __version__:
        print_message(
            f"{args.model} was written by version {version}, this is {__version__}"
        )


def _load(args, memory):
    """Load the model and set the parameters of this run."""
    model = load_model(args.model, args.allow_pickle)
    warn_about_version(args, model)
    model["estimator"].set_params(
        on_error="nan", memory=memory, n_jobs=args.n_jobs, verbose=0
    )
    return model


def _quantity(target, log10):
    return f"log10({target})" if log10 else target


def _read_samples(args, target, log10, group=None):
    """Read the data file; raise if no row is usable. Rows to drop lose structures."""
    samples = read_samples(args.data, target, args.structures, log10=log10, group=group)
    _usable(samples, "drop")
    if args.on_error == "drop":
        samples.loc[samples["error"] != "", "structure"] = None
    return samples


def _usable(samples, on_error):
    """Return the samples without errors; raise an error if some must not be dropped."""
    good = samples[samples["error"] == ""]
    n, n_failed = len(samples), len(samples) - len(good)
    if n_failed and on_error == "stop":
        raise CommandError(
            f"{n_failed} of {n} rows cannot be used (--on-error drop leaves them out):"
            f"\n{_listed(samples)}"
        )
    if good.empty:
        raise CommandError(f"None of {n} rows can be used:\n{_listed(samples, 5)}")
    return good


def _report_left_out(samples):
    n, n_failed = len(samples), (samples["error"] != "").sum()
    if n_failed:
        print_message(f"Left out {n_failed} of {n} rows:\n{_listed(samples)}")


def _listed(samples, most=50):
    failed = samples[samples["error"] != ""]
    lines = [
        f"  row {row}{file and f' ({file})'}: {error}"
        for row, file, error in failed[["file", "error"]][:most].itertuples()
    ]
    if len(failed) > most:
        lines.append(f"  and {len(failed) - most} more")
    return "\n".join(lines)
