"""Cross-validation on the five published folds of a Matbench task, with error bars.

    python examples/matbench_cv.py matbench_phonons --out results
    python examples/matbench_cv.py phonons --network train --out results
    python examples/matbench_cv.py ionic --n-samples 300 --network train --max-iter 30

The task is any Matbench v0.1 regression of structures, which is downloaded at the first
use, or "ionic": generated crystals, for a trial without a download. The network is a
pretrained one (by name or as an .hdf5 file), or with ``--network train`` a MEGNet that
is trained in each fold on its training samples. A quarter of them (``--head-share``)
are reserved for the Gaussian process: on 300 ionic crystals and 30 epochs a Gaussian
process fitted to the training samples of the network has the smaller error (0.043
against 0.070), but a negative log likelihood of 0.07 against -1.06, as some of its
error bars are 20 times too short.

The predictions of each fold are written to a file in a folder that is named after the
settings. Repeat a call that was stopped to compute the folds that are missing;
``--folds`` distributes them over machines. After the fifth, ``results.json`` is written
in the layout of matbench 0.6, whose ``MatbenchBenchmark.from_file`` reads and validates
it, with the standard deviation of every sample. The package matbench is not used, as
its releases pin NumPy, SciPy and scikit-learn of 2021 and cannot be installed with
Python 3.11.

Matbench needs a number for every sample. A structure that cannot be converted to a
graph, such as one with an isolated atom, gets mean and standard deviation of the
targets of the fit; their number is printed and stored in the parameters of the fold.
"""

import argparse
import datetime
import hashlib
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
from scipy.stats import norm
from sklearn.metrics import max_error, mean_absolute_error, root_mean_squared_error
from sklearn.model_selection import train_test_split

import sklearn_unlocknn
from sklearn_unlocknn import MEGNetProbRegressor, MEGNetRegressor
from sklearn_unlocknn.datasets import (
    MATBENCH_TASKS,
    fetch_matbench,
    make_ionic_crystals,
    matbench_folds,
)
from sklearn_unlocknn.metrics import uq_report

TASKS = (
    "dielectric", "jdft2d", "log_gvrh", "log_kvrh", "mp_e_form", "mp_gap",
    "perovskites", "phonons",
)  # fmt: skip


def load(args):
    """Return structures, targets and Matbench's ids of the samples."""
    if args.task == "ionic":
        made = make_ionic_crystals(args.n_samples, random_state=args.random_state)
        # Energies span two decades, so their logarithm is the target
        ids = [f"ionic-{i + 1:05d}" for i in range(args.n_samples)]
        return made.data, np.log10(-made.target), np.array(ids)
    bunch = fetch_matbench(args.task)
    return bunch.data, np.asarray(bunch.target, float), bunch.mb_id


def make_model(args, memory, X, y, train):
    """Return the regressor, unfitted, and the indices of the samples to fit it to.

    The errors of a network on its training samples are too small, and so are error bars
    fitted to them: the Gaussian process is fitted to other samples.
    """
    network, samples = args.network, train
    if network == "train":
        memory = None  # no two folds share a network
        trainer = MEGNetRegressor(
            max_iter=args.max_iter,
            on_error="nan",
            n_jobs=args.n_jobs,
            random_state=args.random_state,
        )
        for_network, samples = train_test_split(
            train, test_size=args.head_share, random_state=args.random_state
        )
        network = trainer.fit(X[for_network], y[for_network]).network_
    model = MEGNetProbRegressor(
        network,
        kernel=args.kernel,
        memory=memory,
        n_jobs=args.n_jobs,
        on_error="nan",
        random_state=args.random_state,
    )
    return model, samples


def settings_of(args, y):
    """Return the settings that change predictions, in types of JSON."""
    network = args.network
    if Path(network).is_file():  # a file may change under its name
        network = hashlib.sha256(Path(network).read_bytes()).hexdigest()
    return {
        "version": sklearn_unlocknn.__version__,
        "task": args.task,
        "network": network,
        "max_iter": args.max_iter if network == "train" else None,
        "head_share": args.head_share if network == "train" else None,
        "kernel": args.kernel,
        "random_state": args.random_state,
        "target_sha256": hashlib.sha256(y.tobytes()).hexdigest(),
    }


def digest_of(content):
    """Return the sha256 of a dictionary with sorted keys, as matbench computes it."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(content, path):
    """Write a file under another name and rename it, so that it is never partial."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(content), encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def run_fold(model, X, y, train, test):
    """Fit and predict one fold; return the contents of its file."""
    model.fit(X[train], y[train])
    mean, std = model.predict(X[test], return_std=True)
    failed = np.isnan(mean)
    mean[failed], std[failed] = y[train].mean(), y[train].std()
    return {
        "target": y[test].tolist(),
        "mean": mean.tolist(),
        "std": std.tolist(),
        "parameters": {
            "kernel": str(model.kernel_),
            "n_inducing_points": int(model.n_inducing_points_),
            "noise_std": float(model.noise_std_),
            "n_samples_without_graph": int(failed.sum()),
        },
    }


def read_fold(file, test):
    """Read the file of a fold."""
    try:
        fold = json.loads(file.read_text(encoding="utf-8"))
        right = len(fold["mean"]) == len(fold["std"]) == len(test)
    except (ValueError, KeyError, TypeError):
        right = False
    if not right:
        raise ValueError(
            f"{file} does not hold the predictions of {len(test)} samples. Delete it "
            "and repeat the call."
        )
    return fold


def in_matbench_layout(task, settings, folds, index, y):
    """Return the results in the layout of matbench 0.6."""
    z = norm.ppf(0.975)
    results = {}
    for k, ((_, test), fold) in enumerate(folds):
        rows = list(zip(index[test], fold["mean"], fold["std"], strict=True))
        results[f"fold_{k}"] = {
            "data": {key: mean for key, mean, _ in rows},
            "uncertainty": {
                key: {
                    "ci_lower": mean - z * std,
                    "ci_upper": mean + z * std,
                    "std": std,
                }
                for key, mean, std in rows
            },
            "parameters": fold["parameters"],
            "scores": scores(y[test], np.array(fold["mean"])),
        }
    content = {
        "@module": "matbench.bench",
        "@class": "MatbenchBenchmark",
        "version": "0.6",
        "benchmark_name": "matbench_v0.1",
        "tasks": {
            task: {
                "@module": "matbench.task",
                "@class": "MatbenchTask",
                "benchmark_name": "matbench_v0.1",
                "dataset_name": task,
                "results": results,
            }
        },
        "user_metadata": {
            "algorithm": "sklearn-unlocknn MEGNetProbRegressor",
            "settings": settings,
            "python": platform.python_version(),
        },
        "datestamp": datetime.datetime.now(datetime.UTC).strftime("%Y.%m.%d %H:%M.%S"),
    }
    return content | {"hash": digest_of(content)}


def scores(truth, mean):
    """Return the four scores of a fold in matbench."""
    error = np.abs(mean - truth)
    away = np.abs(truth) > 1e-5  # matbench leaves targets near zero out of its mape
    return {
        "mae": float(mean_absolute_error(truth, mean)),
        "rmse": float(root_mean_squared_error(truth, mean)),
        "mape": float(np.mean(error[away] / np.abs(truth[away]))),
        "max_error": float(max_error(truth, mean)),
    }


def run(args):
    """Run the missing folds and write the results."""
    X, y, index = load(args)
    settings = settings_of(args, y)
    label = Path(args.network).stem
    folder = args.out / f"{args.task}-{label}-{digest_of(settings)[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(settings, folder / "settings.json")
    print(f"{args.task}: {len(y)} samples; folds are kept in {folder}")

    splits = matbench_folds(y)
    files = [folder / f"fold_{k}.json" for k in range(len(splits))]
    done = {
        k: read_fold(files[k], test)
        for k, (_, test) in enumerate(splits)
        if files[k].exists()
    }
    for k, (train, test) in enumerate(splits):
        if k in done:
            print(f"fold {k}: was done already")
        elif k in args.folds:
            started = time.perf_counter()
            model, samples = make_model(args, args.out / "features", X, y, train)
            fold = run_fold(model, X, y, samples, test)
            fold["parameters"]["seconds"] = round(time.perf_counter() - started, 1)
            done[k] = {"index": index[test].tolist(), **fold}
            write_json(done[k], files[k])
            report(k, done[k], y[test])
    if len(done) < len(splits):
        print(
            f"{len(done)} of {len(splits)} folds are done; run the others for results"
        )
        return

    order = np.concatenate([test for _, test in splits])
    mean = np.concatenate([done[k]["mean"] for k in range(len(splits))])
    std = np.concatenate([done[k]["std"] for k in range(len(splits))])
    print(f"\nAll folds, {target_of(args.task)}:\n\n{uq_report(y[order], mean, std)}")
    maes = [
        mean_absolute_error(y[t], done[k]["mean"]) for k, (_, t) in enumerate(splits)
    ]
    print(f"MAE of the folds: {np.mean(maes):.4g} +- {np.std(maes):.2g}")
    name = args.task if args.task == "ionic" else f"matbench_{args.task}"
    folds = [(split, done[k]) for k, split in enumerate(splits)]
    content = in_matbench_layout(name, settings, folds, index, y)
    write_json(content, folder / "results.json")
    print(f"Wrote {folder / 'results.json'}")


def report(k, fold, truth):
    """Print a line of a fold."""
    parameters = fold["parameters"]
    mae = mean_absolute_error(truth, fold["mean"])
    text = f"fold {k}: MAE {mae:.4g}, {parameters['seconds']:.0f} s"
    if n := parameters["n_samples_without_graph"]:
        text += (
            f"; {n} of {len(truth)} samples have no graph: mean of the training samples"
        )
    print(text, flush=True)


def target_of(task):
    """Return a description of the target, with units."""
    if task == "ionic":
        return "log10 of minus the electrostatic energy in eV/atom"
    return MATBENCH_TASKS[task]


def task_name(text):
    """Check the name of a task."""
    task = text.removeprefix("matbench_")
    if task == "ionic" or task in TASKS:
        return task
    expected = f"expected ionic or one of {', '.join(TASKS)}"
    if task not in MATBENCH_TASKS:
        raise argparse.ArgumentTypeError(f"got {text!r}, {expected}")
    raise argparse.ArgumentTypeError(
        f"got {text!r}, which is of compositions or a classification; {expected}"
    )


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", type=task_name)
    parser.add_argument(
        "--network", default="Eform_MP_2019", help="name, file or train"
    )
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder")
    parser.add_argument(
        "--folds", type=int, nargs="+", default=range(5), choices=range(5)
    )
    parser.add_argument(
        "--kernel", help="of the Gaussian process, such as matern52_ard"
    )
    parser.add_argument(
        "--max-iter", type=int, default=200, help="epochs of a network that is trained"
    )
    parser.add_argument(
        "--head-share",
        type=float,
        default=0.25,
        help="share of the training samples that a network is not trained on",
    )
    parser.add_argument("--n-samples", type=int, default=500, help="samples of ionic")
    parser.add_argument("--n-jobs", type=int, help="processes that convert structures")
    parser.add_argument("--random-state", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        run(args)
    except (OSError, ValueError) as error:
        sys.exit(f"matbench_cv: {error}")


if __name__ == "__main__":
    main()
