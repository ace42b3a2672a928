"""Experiments until the best samples are found: batches, one by one, at random.

    python benchmarks/bench_experiments.py DATA_FOLDER [--data moduli] [--seeds 20]

``barrels``: the 600 crossed barrels, each of which was printed and measured three
times; an experiment returns one of the three at random. The goal is the mean toughness
of the best tenth of all, by the mean of all three measurements. ``moduli``: the bulk
moduli of 3953 binary compounds in GPa, each calculated once, on 352 features of the
pretrained network and 144 descriptors. The goal is the mean of the best hundredth.

The first eight experiments are random. Of each way to choose the others the table has
the number of experiments, in the mean and the median over the seeds, until the best
sample of those tried, and the mean of the best eight, reach the goal, and in brackets
the number of seeds that reached it; last, how many tried the best sample of all. A run
ends after 64 experiments (barrels) or 80 (moduli, not one by one), which is its count
then; at random it goes on to the last sample.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as gpk
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn import (
    MEGNetFeatureExtractor,
    StructureDescriptors,
    VGPRegressor,
)
from sklearn_unlocknn.acquisition import expected_improvement, select_batch
from sklearn_unlocknn.datasets import (
    fetch_crossed_barrel,
    fetch_elasticity,
    fetch_megnet_model,
)


def barrels(folder):
    """Return features, measurements of each sample, and the size of the goal."""
    data = fetch_crossed_barrel(data_home=folder)
    order = np.argsort(data.design, kind="stable").reshape(600, 3)
    return data.data[order[:, 0]], data.target[order], 60


def moduli(folder):
    structures, y = fetch_elasticity(data_home=folder, return_X_y=True)
    network = fetch_megnet_model("Eform_MP_2019", data_home=folder)
    parts = MEGNetFeatureExtractor(network), StructureDescriptors()
    X = np.hstack([part.fit_transform(structures) for part in parts])
    return X, y[:, None], len(y) // 100


DATA = {"barrels": barrels, "moduli": moduli}


def scikit_learn(length_scale, bounds=(1e-5, 1e5)):
    matern = gpk.Matern(length_scale, bounds, nu=2.5)
    kernel = gpk.ConstantKernel() * matern + gpk.WhiteKernel()
    model = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    return make_pipeline(StandardScaler(), model)


def top(model, X, n, best):
    """Return the n samples of the highest expected improvement by itself."""
    mean, std = model.predict(X, return_std=True)
    return np.argsort(-expected_improvement(mean, std, best), kind="stable")[:n]


def batch(model, X, n, best):
    return select_batch(model, X, n, best=best)


# A length scale for each of four features; of 496 standardised ones one for all, from
# their root on: at 1 the likelihood has no slope.
MODELS = {
    "barrels": {
        "scikit-learn's GPR": lambda: scikit_learn(np.ones(4)),
        "matern52_ard": lambda: VGPRegressor("matern52_ard", random_state=0),
    },
    "moduli": {
        "scikit-learn's GPR": lambda: scikit_learn(22.0),
        "matern52": lambda: VGPRegressor("matern52", random_state=0),
        "default": lambda: VGPRegressor(random_state=0),
    },
}
CHOICES = {
    "best EI, one by one": (top, 1),
    "best EI, 8 at a time": (top, 8),
    "select_batch, 8 at a time": (batch, 8),
}
# Experiments of a run. Of the moduli one by one the fits would take an hour.
LENGTHS = {"barrels": 64, "moduli": 80}


def run(X, measured, make, choose, n, seed, n_experiments):
    """Return the samples in the order of their experiments."""
    rng = np.random.default_rng(seed)
    y = measured[np.arange(len(X)), rng.integers(0, measured.shape[1], len(X))]
    order = rng.permutation(len(X))
    if make is None:
        return order
    done = list(order[:8])
    while len(done) < n_experiments:
        rest = np.setdiff1d(np.arange(len(X)), done)
        model = make().fit(X[done], y[done])
        done += list(rest[choose(model, X[rest], n, y[done].max())])
    return np.array(done[:n_experiments])


def best_eight(values):
    """Return the mean of the best eight of the first 8, 9, ... values."""
    best = np.sort(values[:8])
    means = [best.mean()]
    for value in values[8:]:
        best[0] = max(best[0], value)
        best.sort()
        means.append(best.mean())
    return np.array(means)


def table_row(found, goal, best):
    """Return the figures of some runs; ``found`` has their values in order."""
    n, counts = found.shape[1], []
    eight = np.array([best_eight(row) for row in found])
    for reached, first in ((np.maximum.accumulate(found, axis=1), 1), (eight, 8)):
        reached = reached >= goal
        steps = np.where(reached.any(axis=1), reached.argmax(axis=1) + first, n)
        counts += [steps.mean(), np.median(steps), reached.any(axis=1).sum()]
    return *counts, (found == best).any(axis=1).sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data_folder", type=Path)
    parser.add_argument("--data", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--ways", nargs="*", default=[""], help="parts of their names")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # bounds of hyperparameters, with few experiments
    for name in args.data:
        X, measured, n_best = DATA[name](args.data_folder)
        mean = measured.mean(axis=1)
        goal = np.sort(mean)[-n_best:].mean()
        print(f"{name}: goal {goal:.1f}; best of all {mean.max():.1f}")
        ways = {"at random": (None, None, 8)}
        for model, make in MODELS[name].items():
            for choice, how in CHOICES.items():
                if name == "barrels" or how[1] > 1:
                    ways[f"{model}, {choice}"] = (make, *how)
        for way, how in ways.items():
            if not any(part in way for part in args.ways):
                continue
            orders = [
                run(X, measured, *how, seed, LENGTHS[name])
                for seed in range(args.seeds)
            ]
            row = table_row(mean[np.array(orders)], goal, mean.max())
            print("{:46} one: mean {:.1f} median {:.0f} ({}), eight: {:.1f} {:.0f} "
                  "({}), best of all ({})".format(way, *row), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
