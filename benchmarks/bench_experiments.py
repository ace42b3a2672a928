"""Experiments until the best designs are found: batches, one by one, at random.

    python benchmarks/bench_experiments.py DATA_FOLDER [--seeds 20]

The 600 crossed barrels, each of which was printed and measured three times: an
experiment returns one of the three at random. The first eight are random. Of each way
to choose the others the table has the number of experiments it takes, in the mean over
the seeds, until the toughest design of those tried, and the eight toughest, have the
mean toughness of the best tenth of all 600 (35 J), by the mean of all three
measurements.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as gpk
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.acquisition import expected_improvement, select_batch
from sklearn_unlocknn.datasets import fetch_crossed_barrel


def scikit_learn():
    kernel = gpk.ConstantKernel() * gpk.Matern(np.ones(4), nu=2.5) + gpk.WhiteKernel()
    model = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    return make_pipeline(StandardScaler(), model)


def ours():
    return VGPRegressor("matern52_ard", random_state=0)


def top(model, X, n, best):
    """Return the n samples of the highest expected improvement by itself."""
    mean, std = model.predict(X, return_std=True)
    return np.argsort(-expected_improvement(mean, std, best), kind="stable")[:n]


def batch(model, X, n, best):
    return select_batch(model, X, n, best=best)


WAYS = {
    "at random": (None, None, 8),
    "scikit-learn's GPR, best EI, one by one": (scikit_learn, top, 1),
    "scikit-learn's GPR, best EI, 8 at a time": (scikit_learn, top, 8),
    "scikit-learn's GPR, select_batch, 8 at a time": (scikit_learn, batch, 8),
    "VGPRegressor, best EI, one by one": (ours, top, 1),
    "VGPRegressor, best EI, 8 at a time": (ours, top, 8),
    "VGPRegressor, select_batch, 8 at a time": (ours, batch, 8),
}


def run(X, measured, way, seed, n_experiments):
    """Return the designs in the order of their experiments."""
    make, choose, n = way
    rng = np.random.default_rng(seed)
    y = measured[np.arange(len(X)), rng.integers(0, 3, len(X))]
    order = rng.permutation(len(X))
    done = list(order[:8])
    while len(done) < n_experiments:
        rest = np.setdiff1d(np.arange(len(X)), done)
        if make is None:
            return order[:n_experiments]
        model = make().fit(X[done], y[done])
        done += list(rest[choose(model, X[rest], n, y[done].max())])
    return np.array(done[:n_experiments])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data_folder", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--ways", nargs="*", default=list(WAYS))
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # bounds of hyperparameters, with few experiments
    data = fetch_crossed_barrel(data_home=args.data_folder)
    order = np.argsort(data.design, kind="stable").reshape(600, 3)
    X, measured = data.data[order[:, 0]], data.target[order]
    mean = measured.mean(axis=1)
    goal = np.sort(mean)[-60:].mean()
    print(f"goal {goal:.1f}; best of all {mean.max():.1f}")
    for name in args.ways:
        n = 64 if WAYS[name][0] else 600
        orders = [run(X, measured, WAYS[name], s, n) for s in range(args.seeds)]
        found = mean[np.array(orders)]
        eight = [
            [np.sort(row[:k])[-8:].mean() for k in range(8, n + 1)] for row in found
        ]
        counts = []
        for reached, first in ((np.maximum.accumulate(found, axis=1), 1), (eight, 8)):
            reached = np.array(reached) >= goal
            steps = np.where(reached.any(axis=1), reached.argmax(axis=1) + first, n)
            counts += [steps.mean(), np.median(steps), reached.any(axis=1).sum()]
        print("{:46} one: mean {:.1f} median {:.0f} ({}), eight: {:.1f} {:.0f} ({})"
              .format(name, *counts), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
