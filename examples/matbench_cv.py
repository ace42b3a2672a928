"""Cross-validation on the five published folds of a Matbench task, with error bars.

    python examples/matbench_cv.py matbench_phonons --out results
    python examples/matbench_cv.py phonons --network train --out results
    python examples/matbench_cv.py ionic --n-samples 300 --network train --max-iter 30

The task is any Matbench v0.1 regression of structures, which is downloaded at the first
use, or "ionic": generated crystals, for a trial without a download. Descriptors of
composition and geometry stand beside the features of the network (``--no-descriptors``:
the network alone). The network is a pretrained one (by name or as an .hdf5 file), or
several, or with ``--network train`` a MEGNet that is trained in each fold on its
training samples. A quarter of them (``--head-share``)
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

A target that is positive and skewed (skewness above 1 in the training samples;
phonons, for one) is predicted by its logarithm, unless ``--log no``. The prediction is
then log-normal; its median, which has the smallest absolute error, and its standard
deviation are recorded in the units of Matbench, in which all scores are.

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
from scipy.stats import lognorm, norm, skew
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
    network = network[0] if len(network) == 1 else network
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
        descriptors="auto" if args.descriptors else None,
        kernel=args.kernel,
        memory=memory,
        n_jobs=args.n_jobs,
        on_error="nan",
        random_state=args.random_state,
    )
    return model, samples


def settings_of(args, y):
    """Return the settings that change predictions, in types of JSON."""
    network = list(args.network)
    for i, name in enumerate(network):
        if Path(name).is_file():  # a file may change under its name
            network[i] = hashlib.sha256(Path(name).read_bytes()).hexdigest()
    network = network[0] if len(network) == 1 else network
    return {
        "version": sklearn_unlocknn.__version__,
        "task": args.task,
        "network": network,
        "max_iter": args.max_iter if network == "train" else None,
        "head_share": args.head_share if network == "train" else None,
        "kernel": args.kernel,
        "descriptors": args.descriptors,
        "log": args.log,
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


def takes_log(option, y, train):
    """Return whether the logarithm of a target is predicted, given --log."""
    if option == "yes" and y.min() <= 0:
        raise ValueError(
            f"Got --log yes with targets from {y.min():g} on, expected positive ones."
        )
    skewed = y.min() > 0 and skew(y[train]) > 1
    return option == "yes" or bool(option == "auto" and skewed)


def run_fold(model, X, y, train, test, log=False):
    """Fit and predict one fold; return the contents of its file."""
    t = np.log(y[train]) if log else y[train]
    model.fit(X[train], t)
    mean, std = model.predict(X[test], return_std=True)
    failed = np.isnan(mean)
    mean[failed], std[failed] = t.mean(), t.std()
    fold = {"target": y[test].tolist(), "log": log}
    fold |= {"location": mean.tolist(), "scale": std.tolist()}
    predicted = distribution(fold)
    return fold | {
        "mean": predicted.median().tolist(),
        "std": predicted.std().tolist(),
        "parameters": {
            "kernel": str(model.kernel_),
            "log": log,
            "n_inducing_points": int(model.n_inducing_points_),
            "noise_std": float(model.noise_std_),
            "n_samples_without_graph": int(failed.sum()),
        },
    }


def distribution(fold):
    """Return the predictive distributions of a fold, in the units of Matbench."""
    location, scale = np.array(fold["location"]), np.array(fold["scale"])
    if fold["log"]:
        return lognorm(scale, scale=np.exp(location))
    return norm(location, scale)


def crps(fold, y):
    """Return the continuous ranked probability score of each sample.

    Closed forms of the Gaussian (Gneiting and Raftery 2007) and the log-normal
    (Baran and Lerch 2015).
    """
    location, scale = np.array(fold["location"]), np.array(fold["scale"])
    if not fold["log"]:
        z = (y - location) / scale
        return scale * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - np.pi**-0.5)
    z = (np.log(y) - location) / scale
    both = norm.cdf(z - scale) + norm.cdf(scale / 2**0.5) - 1
    return y * (2 * norm.cdf(z) - 1) - 2 * np.exp(location + scale**2 / 2) * both


def read_fold(file, test):
    """Read the file of a fold."""
    try:
        fold = json.loads(file.read_text(encoding="utf-8"))
        right = len(fold["location"]) == len(fold["scale"]) == len(test)
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
    results = {}
    for k, ((_, test), fold) in enumerate(folds):
        low, high = (distribution(fold).ppf(q).tolist() for q in (0.025, 0.975))
        rows = zip(index[test], fold["mean"], fold["std"], low, high, strict=True)
        rows = list(rows)
        results[f"fold_{k}"] = {
            "data": {key: mean for key, mean, *_ in rows},
            "uncertainty": {
                key: {
                    "ci_lower": low,
                    "ci_upper": high,
                    "std": std,
                }
                for key, _, std, low, high in rows
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
    label = "-".join(Path(name).stem for name in args.network)
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
            log = takes_log(args.log, y, train)
            t = np.log(y) if log else y
            model, samples = make_model(args, args.out / "features", X, t, train)
            fold = run_fold(model, X, y, samples, test, log)
            fold["parameters"]["seconds"] = round(time.perf_counter() - started, 1)
            done[k] = {"index": index[test].tolist(), **fold}
            write_json(done[k], files[k])
            report(k, done[k], y[test])
    if len(done) < len(splits):
        print(
            f"{len(done)} of {len(splits)} folds are done; run the others for results"
        )
        return

    print(f"\nAll folds, {target_of(args.task)}:\n")
    for name, values in scores_of_folds(splits, done, y).items():
        print(f"{name:<28}{np.mean(values):10.4g} +- {np.std(values):.2g}")
    name = args.task if args.task == "ionic" else f"matbench_{args.task}"
    folds = [(split, done[k]) for k, split in enumerate(splits)]
    content = in_matbench_layout(name, settings, folds, index, y)
    write_json(content, folder / "results.json")
    print(f"Wrote {folder / 'results.json'}")


def scores_of_folds(splits, done, y):
    """Return the scores of each fold, by name, in the units of Matbench."""
    found = {}
    for k, (_, test) in enumerate(splits):
        truth, predicted = y[test], distribution(done[k])
        level = predicted.cdf(truth)
        scores = {
            "mean absolute error": mean_absolute_error(truth, done[k]["mean"]),
            "root mean squared error": root_mean_squared_error(truth, done[k]["mean"]),
            "negative log likelihood": -np.mean(predicted.logpdf(truth)),
            "CRPS": np.mean(crps(done[k], truth)),
            "share in 90 % intervals": np.mean(np.abs(level - 0.5) <= 0.45),
            "mean predicted std": np.mean(done[k]["std"]),
        }
        for name, value in scores.items():
            found.setdefault(name, []).append(value)
    return found


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
        "--network",
        nargs="+",
        default=["Eform_MP_2019"],
        help="names or files of pretrained networks, or train",
    )
    parser.add_argument(
        "--log", choices=["auto", "yes", "no"], default="auto",
        help="predict the logarithm of the target; auto: if it is positive and skewed",
    )  # fmt: skip
    parser.add_argument("--no-descriptors", dest="descriptors", action="store_false")
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
    if "train" in args.network and len(args.network) > 1:
        parser.error("expected --network train alone")
    try:
        run(args)
    except (OSError, ValueError) as error:
        sys.exit(f"matbench_cv: {error}")


if __name__ == "__main__":
    main()
