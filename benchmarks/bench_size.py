"""Cost and accuracy of a default fit by the number of samples.

    python benchmarks/bench_size.py DATA_FOLDER [--features FEATURES.npz] [--data ...]

Data: ``rough`` and ``smooth``, made here (a noisy function of 16 features, and one of
14 features nearly without noise); ``protein`` and ``kin8nm``, the first published
split; with ``--features``, of ``make_features.py``, ``perovskites``, each twice with
jitter of a tenth of a standard deviation of each feature and of the target. One
process, one BLAS thread, CPU seconds, as other programs may run beside it. Columns:

* points: inducing points, all samples of an exact GP; "nearest" where predictions are
  of the nearest samples;
* step: seconds relative to the size before, over what n^3 allows where both are exact
  and over what n allows otherwise: 1 is as expected, 1.5 the most that is allowed;
* exact s, exact NLL: the same with ``n_inducing_points=1.0``, up to ``--exact``.

NLL is that of the model's own distribution, on samples held out.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._gp import training
from sklearn_unlocknn._gp.posterior import ExactPosterior

SIZES = [3000, 3900, 4100, 6000, 8000, 12_000, 25_000, 40_000]
N_TEST = 4000


def rough(rng, n):
    X = rng.normal(size=(n, 16))
    y = np.sin(X[:, 0] * X[:, 1]) + X[:, 2] * np.abs(X[:, 3])
    y = y + np.tanh(X[:, 4:8]).sum(axis=1)
    return X, y + 0.3 * rng.normal(size=n)


def smooth(rng, n):
    U = rng.uniform(-1.0, 1.0, size=(n, 4))
    X = np.tanh(U @ rng.normal(size=(4, 14)))
    y = np.sin(2.0 * U[:, 0] + U[:, 1] ** 2) + np.exp(U[:, 2] * U[:, 3])
    return X, y + 0.003 * rng.normal(size=n)


def load(name, args):
    """Return samples to fit, in random order, and samples to test."""
    rng = np.random.default_rng(0)
    if name in ("rough", "smooth"):
        X, y = globals()[name](rng, max(SIZES) + N_TEST)
        test = np.arange(len(y)) < N_TEST
    elif name == "perovskites":
        with np.load(args.features) as file:
            X, y = np.repeat(file["X"], 2, axis=0), np.repeat(file["y"], 2)
        X = X + 0.1 * X.std(axis=0) * rng.normal(size=X.shape)
        y = y + 0.1 * y.std() * rng.normal(size=y.shape)
        test = np.arange(len(y)) % 20 < 2  # both of a pair
    else:
        with np.load(args.data_folder / "uci" / f"{name}.npz") as file:
            X, y, test = file["X"], file["y"], file["test_mask"][0].astype(bool)
    order = rng.permutation(np.flatnonzero(~test))
    return X[order], y[order], X[test], y[test]


def measure(X, y, X_test, y_test, **params):
    """Return the fitted model, CPU seconds of the fit, RMSE and NLL."""
    training._OPTIMA.clear()  # hyperparameters of an earlier fit to the same samples
    start = time.process_time()
    model = VGPRegressor(random_state=0, **params).fit(X, y)
    seconds = time.process_time() - start
    error = model.predict(X_test) - y_test
    nll = -model.predict_log_density(X_test, y_test).mean()
    return model, seconds, np.sqrt(np.mean(error**2)), nll


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_folder", type=Path)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--data", nargs="+", default=["rough", "smooth", "protein"])
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--exact", type=int, default=8000)
    args = parser.parse_args()
    columns = "data", "samples", "points", "fit s", "step", "RMSE", "NLL", "exact s"
    print(f"| {' | '.join(columns)} | exact NLL |\n|" + "---|" * 9)
    for name in args.data:
        X, y, X_test, y_test = load(name, args)
        before = None
        for n in sorted({min(size, len(y)) for size in args.sizes}):
            model, seconds, rmse, nll = measure(X[:n], y[:n], X_test, y_test)
            exact = isinstance(model._head.posterior, ExactPosterior)  # if some repeat
            step, rest = "", ("", "")
            if before is not None:
                grown = n / before[0]
                allowed = grown**3 if exact and before[2] else grown
                step = f"{seconds / before[1] / allowed:.2f}"
            before = n, seconds, exact
            if exact:
                rest = "the same", ""
            elif n <= args.exact:
                _, other, _, exact_nll = measure(
                    X[:n], y[:n], X_test, y_test, n_inducing_points=1.0
                )
                rest = f"{other:.1f}", f"{exact_nll:.3f}"
            points = str(model.n_inducing_points_)
            if model.n_neighbors_ is not None:
                points += f", {model.n_neighbors_} nearest"
            print(
                f"| {name} | {n} | {points} | {seconds:.1f} | {step} "
                f"| {rmse:.4f} | {nll:.3f} | {rest[0]} | {rest[1]} |",
                flush=True,
            )


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
