"""Shape and noise of errors: made data, outliers, crossed barrels, few samples.

    python benchmarks/bench_errors.py DATA_FOLDER
        [--parts made outliers barrels few cost] [--draws 30]
        [--sizes 10 20 40 80] [--features FEATURES.npz ...]

DATA_FOLDER is that of the package's data sets, with ``uci/{concrete,energy}.npz``
beside them. FEATURES.npz, with ``X`` and ``y``, are further data for few samples, such
as those of ``make_features.py``.
"""

import argparse
import os
import time
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.datasets import fetch_crossed_barrel

PLAIN = {"likelihood": "gaussian", "noise": "constant"}


def function(X):
    """Return a smooth function of four features."""
    return np.sin(2 * X[:, 0]) + X[:, 1] ** 2 / 2 + X[:, 2]


def make_data(n, seed):
    """Return samples with constant Gaussian noise, and 2000 new ones without."""
    rng = np.random.RandomState(seed)
    X, new = rng.uniform(-2, 2, (n, 4)), rng.uniform(-2, 2, (2000, 4))
    return X, function(X) + 0.3 * rng.normal(size=n), new, rng


def made(args):
    """Print what the choice costs where noise is constant and Gaussian."""
    for n, seeds in ((300, 20), (3000, 20)):
        losses, choices = [], []
        for seed in range(seeds):
            X, y, new, rng = make_data(n, seed)
            targets = function(new) + 0.3 * rng.normal(size=2000)
            densities = []
            for params in (PLAIN, {}):
                model = VGPRegressor(random_state=0, **params).fit(X, y)
                densities.append(model.predict_log_density(new, targets).mean())
            losses.append(densities[0] - densities[1])
            choices.append(
                (model.likelihood_, model.noise_) != ("gaussian", "constant")
            )
        print(
            f"made, {n} samples, {seeds} seeds: loses {np.mean(losses):.4f} nats, at "
            f"most {np.max(losses):.4f}; another shape {sum(choices)} times",
            flush=True,
        )


def outliers(args):
    """Print the error of the mean with 5 % of targets wrong by ten deviations."""
    for n in (100, 300, 1000):
        errors = []
        for seed in range(10):
            X, y, new, rng = make_data(n, seed)
            bad = rng.permutation(n)[: n // 20]
            spoiled = y.copy()
            spoiled[bad] += 10 * y.std() * rng.choice([-1, 1], len(bad))
            for targets, params in ((y, {}), (spoiled, {}), (spoiled, PLAIN)):
                model = VGPRegressor(random_state=0, **params).fit(X, targets)
                errors.append(model.predict(new) - function(new))
        squares = np.mean(np.reshape(errors, (10, 3, -1)) ** 2, axis=(0, 2))
        clean, default, plain = np.sqrt(squares)
        print(
            f"outliers, {n} samples: RMSE {clean:.3f} without, {default:.3f} "
            f"({default / clean:.2f}), plain GP {plain:.3f}",
            flush=True,
        )


def barrels(args):
    """Print noise against repeats of designs that are held out, five folds."""
    data = fetch_crossed_barrel()
    specimens = np.argsort(data.design, kind="stable").reshape(600, 3)
    designs, toughness = data.data[specimens[:, 0]], data.target[specimens]
    order = np.random.RandomState(0).permutation(600)
    rows = []
    for fold in range(5):
        test = order[fold::5]
        train = np.setdiff1d(order, test)
        X, y = np.repeat(designs[train], 2, axis=0), toughness[train, :2].ravel()
        new, targets = np.repeat(designs[test], 3, axis=0), toughness[test].ravel()
        nll = []
        for params in (PLAIN, {}):
            model = VGPRegressor(random_state=0, **params).fit(X, y)
            nll.append(-model.predict_log_density(new, targets).mean())
        repeats = toughness[test].std(axis=1, ddof=1)
        noise = model.predict_components(designs[test])[2]
        rows.append([*nll, spearmanr(noise, repeats).statistic])
    one, varying, rank = np.mean(rows, axis=0)
    print(f"barrels: NLL {one:.3f}, default {varying:.3f}; rank correlation {rank:.2f}")


def cost(args):
    """Print what a Student t and varying noise cost in prediction, in one process."""
    for n in (300, 1000):
        rng = np.random.RandomState(0)
        X, new = rng.uniform(-2, 2, (n, 4)), rng.uniform(-2, 2, (2000, 4))
        y = function(X) + 0.2 * np.exp(0.7 * X[:, 0]) * rng.standard_t(4, n)
        models = [VGPRegressor(random_state=0, **p).fit(X, y) for p in (PLAIN, {})]
        seconds = np.empty((15, 2))
        for row in seconds:
            for column, model in enumerate(models):
                start = time.process_time()
                model.predict(new, return_std=True)
                row[column] = time.process_time() - start
        plain, default = seconds.min(axis=0)
        print(
            f"cost, {n} samples, {models[1].likelihood_}, {models[1].noise_}: "
            f"{default / plain:.2f} of a plain GP's CPU time",
            flush=True,
        )


def peer(X, y, new, anisotropic):
    """Return the prediction of scikit-learn's GPR."""
    length = np.ones(X.shape[1]) if anisotropic else 1.0
    kernel = ConstantKernel(1.0) * Matern(length, (1e-2, 1e3), nu=2.5)
    kernel = kernel + WhiteKernel(0.1, (1e-6, 10.0))
    gp = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    return make_pipeline(StandardScaler(), gp).fit(X, y).predict(new)


def few_draw(X, y, n, seed):
    """Return coverage, share of far means, and RMSE of ours and of two peers."""
    order = np.random.RandomState(1000 + seed).permutation(len(y))
    train, test = order[:n], order[n : n + 1000]
    model = VGPRegressor(random_state=0).fit(X[train], y[train])
    mean, reach = model.predict(X[test]), np.ptp(y[train])
    lower, upper = model.predict_interval(X[test], 0.9).T
    far = (mean < y[train].min() - reach) | (mean > y[train].max() + reach)
    errors = [mean, *(peer(X[train], y[train], X[test], a) for a in (0, 1))]
    return [
        np.mean((lower <= y[test]) & (y[test] <= upper)),
        np.mean(far),
        *(np.sqrt(np.mean((one - y[test]) ** 2)) for one in errors),
    ]


def few(args):
    """Print coverage and error of models of few samples, beside scikit-learn's."""
    paths = [args.data / "uci" / f"{name}.npz" for name in ("energy", "concrete")]
    for path in [*paths, *args.features]:
        with np.load(path) as file:
            X, y = file["X"], file["y"]
        for n in args.sizes:
            rows = [few_draw(X, y, n, seed) for seed in range(args.draws)]
            held, far, ours, *theirs = np.mean(rows, axis=0)
            print(
                f"few, {path.stem}, {n} samples: 90 % hold {held:.3f}, outside "
                f"{far:.4f}, RMSE {ours / y.std():.3f} standard deviations, "
                f"scikit-learn {min(theirs) / y.std():.3f} ({ours / min(theirs):.2f})",
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parts = {
        "made": made, "outliers": outliers, "barrels": barrels, "few": few,
        "cost": cost,
    }  # fmt: skip
    parser.add_argument("--parts", nargs="+", default=list(parts), choices=parts)
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 20, 40, 80])
    parser.add_argument("--features", nargs="*", default=[], type=Path)
    args = parser.parse_args()
    os.environ["SKLEARN_UNLOCKNN_DATA"] = str(args.data)
    warnings.simplefilter("ignore")  # of optimisers, ours and scikit-learn's
    for part in args.parts:
        parts[part](args)


if __name__ == "__main__":
    main()
