"""Out-of-fold predictions: shared hyperparameters against a fit for each fold.

    python benchmarks/bench_folds.py DATA_FOLDER [--threads 1]

The features of the 3787 perovskites in DATA_FOLDER that ``MEGNetProbRegressor`` takes
by default, made once and kept in ``--features``; and made data of 20000 and of 60000
rows with 1000 inducing points. Seconds are of the processor, as the machine may be
shared. Each row of the table says

* fit: seconds of one fit to all rows;
* shared, refit: seconds of ``cross_val_predict_dist`` by "shared_hyperparameters" and
  by "refit", five folds, and of leave-one-out by the first;
* the largest difference of mean and std from posteriors that are computed anew from the
  rows of the other folds with the same hyperparameters and points, in standard
  deviations of the target;
* MAE and NLL out of fold by either method: what the hyperparameters let through.

A second table has the NLL of few rows of UCI data by either method and on all others.
"""

import argparse
import dataclasses
import os
import time
from pathlib import Path

METHODS = "shared_hyperparameters", "refit"


def load(data_folder, path):
    """Return features and targets of perovskites, made once."""
    if not path.exists():
        from sklearn_unlocknn import MEGNetFeatureExtractor
        from sklearn_unlocknn.datasets import fetch_megnet_model, fetch_perovskites

        structures, y = fetch_perovskites(data_home=data_folder, return_X_y=True)
        network = fetch_megnet_model("Eform_MP_2019", data_home=data_folder)
        X = MEGNetFeatureExtractor(network).fit_transform(structures)
        np.savez(path, X=X, y=y)
    with np.load(path) as file:
        return file["X"], file["y"]


def make(n=20_000):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 8))
    y = np.sin(X[:, 0] * X[:, 1]) + X[:, 2] * np.abs(X[:, 3]) + 0.2 * rng.normal(size=n)
    return X, y


def timed(function):
    from sklearn_unlocknn._gp import training

    training._OPTIMA.clear()  # hyperparameters of an earlier fit to the same samples
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def anew(model, X, y, splits):
    """Predict folds from posteriors of the other samples, nothing subtracted."""
    from sklearn_unlocknn._gp.encoded import Encoded
    from sklearn_unlocknn._gp.posterior import (
        ExactPosterior,
        exact_posterior,
        optimal_posterior,
    )
    from sklearn_unlocknn._gp.samples import GroupedSamples, Targets

    head, posterior = model._head, model._head.posterior
    kernel, theta = posterior.kernel, posterior.theta
    mean, std = np.empty(len(y)), np.empty(len(y))
    samples = head.samples(Encoded(X), Targets(y, np.ones(len(y))))
    for train, test in splits:
        some = samples.take(train)
        if isinstance(posterior, ExactPosterior):
            new = exact_posterior(kernel, theta, GroupedSamples.of(some))
        else:
            new = optimal_posterior(kernel, theta, posterior.Z, some)(theta)
        other = dataclasses.replace(head, posterior=new)
        mean[test], std[test] = other.mean_and_std(Encoded(X[test]))
    return mean, std


def measure(name, estimator, X, y):
    from sklearn.base import clone
    from sklearn.model_selection import KFold, LeaveOneOut

    from sklearn_unlocknn.metrics import gaussian_nll
    from sklearn_unlocknn.model_selection import cross_val_predict_dist

    splits = list(KFold(5, shuffle=True, random_state=0).split(X))
    fit, model = timed(lambda: clone(estimator).fit(X, y))
    times, found = {}, {}
    for method in METHODS:
        times[method], found[method] = timed(
            lambda method=method: cross_val_predict_dist(
                estimator, X, y, cv=splits, method=method
            )
        )
    again, _ = timed(lambda: clone(estimator).fit(X, y))
    fit = (fit + again) / 2  # one before, one after the rest
    times["loo"], _ = timed(
        lambda: cross_val_predict_dist(
            estimator, X, y, cv=LeaveOneOut(), method=METHODS[0]
        )
    )
    shared = found[METHODS[0]]
    mean, std = anew(model, X, y, splits)
    worst = max(np.abs(shared.mean - mean).max(), np.abs(shared.std - std).max())
    scores = [
        f"{np.abs(y - one.mean).mean():.4f} | {gaussian_nll(y, one.mean, one.std):.3f}"
        for one in found.values()
    ]
    print(
        f"| {name} | {len(y)} | {model.n_inducing_points_} | {fit:.1f} | "
        f"{times[METHODS[0]]:.1f} ({times[METHODS[0]] / fit:.2f} fits) | "
        f"{times['refit']:.1f} ({times['refit'] / fit:.2f}) | "
        f"{times['loo']:.1f} ({times['loo'] / fit:.2f}) | {worst / y.std():.0e} | "
        + " | ".join(scores) + " |",
        flush=True,
    )  # fmt: skip


def measure_few(path, n_rows, n_draws=20):
    """Print the NLL of few rows out of fold, and of the other rows."""
    from sklearn.model_selection import KFold

    from sklearn_unlocknn import VGPRegressor
    from sklearn_unlocknn.metrics import gaussian_nll
    from sklearn_unlocknn.model_selection import cross_val_predict_dist

    with np.load(path) as file:
        X, y = file["X"], file["y"]
    scores = []
    for draw in range(n_draws):
        few, others = np.split(
            np.random.default_rng(draw).permutation(len(y)), [n_rows]
        )
        cv = KFold(5, shuffle=True, random_state=draw)
        model, row = VGPRegressor(random_state=0), []
        for method in METHODS:
            left = cross_val_predict_dist(model, X[few], y[few], cv=cv, method=method)
            row.append(gaussian_nll(y[few], left.mean, left.std))
        new = model.fit(X[few], y[few]).predict(X[others], return_std=True)
        scores.append([*row, gaussian_nll(y[others], *new)])
    scores = np.array(scores)
    cells = [
        f"{mean:.2f} +- {error:.2f}, {median:.2f}"
        for mean, error, median in zip(
            scores.mean(axis=0),
            scores.std(axis=0) / np.sqrt(n_draws),
            np.median(scores, axis=0),
            strict=True,
        )
    ]
    print(f"| {path.stem} | {n_rows} | " + " | ".join(cells) + " |", flush=True)


def measure_all_few(data):
    print("\n| data | rows | shared | refit | other rows |\n|---|---|---|---|---|")
    for name in ("energy", "concrete"):
        for n_rows in (30, 60):
            measure_few(data / "uci" / f"{name}.npz", n_rows)


def main():
    from sklearn_unlocknn import VGPRegressor

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--features", type=Path, default=Path("perov_default.npz"))
    parser.add_argument("--threads", type=int, help="read before NumPy starts")
    parser.add_argument("--few", action="store_true", help="the second table alone")
    args = parser.parse_args()

    if args.few:
        measure_all_few(args.data)
        return
    print(
        "| data | rows | points | fit s | shared s | refit s | leave-one-out s | "
        "difference | MAE shared | NLL shared | MAE refit | NLL refit |\n"
        + "|---" * 12
        + "|"
    )
    X, y = load(args.data, args.features)
    measure("warm-up", VGPRegressor(random_state=0, max_iter=2), X[:200], y[:200])
    measure("perovskites, defaults", VGPRegressor(random_state=0), X, y)
    one_scale = VGPRegressor("matern52", random_state=0)
    measure("perovskites, one length scale", one_scale, X, y)
    measure("perovskites, sparse", VGPRegressor(None, 1000, random_state=0), X, y)
    measure("made", VGPRegressor(None, 1000, random_state=0), *make())
    measure("made, more", VGPRegressor(None, 1000, random_state=0), *make(60_000))
    measure_all_few(args.data)


if __name__ == "__main__":
    early = argparse.ArgumentParser(add_help=False)
    early.add_argument("--threads", type=int, default=1)
    n_threads = str(early.parse_known_args()[0].threads)
    for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[pool] = n_threads  # BLAS reads it when NumPy is imported
    import numpy as np

    main()
