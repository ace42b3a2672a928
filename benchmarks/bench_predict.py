"""Cost of predictions: many samples beside dgemm, nearest, one sample, one structure.

    python benchmarks/bench_predict.py [DATA_FOLDER] [--threads 1] [--parts nearest]

Samples: a default fit to 4000 samples of 16 features, exact, predicts mean and standard
deviation of 100,000 others, in turns with a dgemm of 2000 x 2000 on the same threads.
``ratio`` is its time over that of its operations at the rate of dgemm: for each sample
a triangular solve (m^2), and for each element of K(X, Z) its distances, profile and
product with the weights.

Nearest training samples: five of the same 4000 to each of 1000 others, with weights,
which take two triangular solves a sample. ``ratio`` is as above.

One sample: milliseconds for each of 200 calls, best of five rounds. One structure, with
DATA_FOLDER: calls of a default ``MEGNetProbRegressor``, fitted to 3000 perovskites, on
other structures in memory.

On one thread seconds are those of the processor, which other programs disturb least,
else of the clock.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.linalg.blas import dgemm
from threadpoolctl import threadpool_limits

from sklearn_unlocknn import VGPRegressor

D = 16
# Operations for each element of the default kernel: three products of D + 2 columns,
# the profiles of two Matern kernels, two sums and the mean
ELEMENT = 3 * 2 * (D + 2) + 8 + 5 + 2 + 2


def samples(n, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, D))
    return X, np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=n)


def seconds(clock, function, *args, **kwargs):
    start = clock()
    function(*args, **kwargs)
    return clock() - start


def many(clock, repeats=3, n=100_000):
    model = VGPRegressor(random_state=0).fit(*samples(4000, 0))
    X, _ = samples(n, 1)
    m = model.n_inducing_points_
    A = np.asfortranarray(np.random.default_rng(0).normal(size=(2000, 2000)))
    operations = n * (m**2 + float(ELEMENT) * m)
    for _ in range(repeats):
        rate = 2 * 2000.0**3 / seconds(clock, dgemm, 1.0, A, A)
        both = seconds(clock, model.predict, X, return_std=True)
        mean = seconds(clock, model.predict, X)
        print(
            f"{n} samples, {m} points: dgemm {rate / 1e9:.0f} Gflop/s, mean and std "
            f"{both:.1f} s, ratio {both * rate / operations:.2f}; mean {mean:.1f} s",
            flush=True,
        )


def nearest(clock, repeats=5, n=1000):
    model = VGPRegressor(random_state=0).fit(*samples(4000, 0))
    X, _ = samples(n, 1)
    m = model.n_inducing_points_
    model.nearest_training(X[:1])
    A = np.asfortranarray(np.random.default_rng(0).normal(size=(2000, 2000)))
    operations = n * (2.0 * m**2 + float(ELEMENT) * m)
    for _ in range(repeats):
        rate = 2 * 2000.0**3 / seconds(clock, dgemm, 1.0, A, A)
        found = seconds(clock, model.nearest_training, X)
        both = seconds(clock, model.predict, X, return_std=True)
        print(
            f"nearest 5 of {m} to {n} samples: dgemm {rate / 1e9:.0f} Gflop/s, "
            f"{found:.2f} s, ratio {found * rate / operations:.2f}, "
            f"{found / both:.2f} times mean and std",
            flush=True,
        )


def each(clock, predict, items, rounds=5):
    """Return milliseconds for each of some calls, the best of several rounds."""
    predict(items[0])
    best = np.inf
    for _ in range(rounds):
        start = clock()
        for item in items:
            predict(item)
        best = min(best, clock() - start)
    return 1e3 * best / len(items)


def one(clock):
    X, _ = samples(200, 1)
    items = [X[i : i + 1] for i in range(len(X))]
    for n in (500, 1000, 2000, 4000):
        model = VGPRegressor(random_state=0, max_iter=3).fit(*samples(n, 0))
        mean = each(clock, model.predict, items)
        both = each(clock, lambda x, m=model: m.predict(x, return_std=True), items)
        print(f"one sample, {n} points: mean {mean:.2f} ms, with std {both:.2f} ms")


def one_structure(clock, folder):
    from sklearn_unlocknn import MEGNetProbRegressor
    from sklearn_unlocknn.datasets import fetch_megnet_model, fetch_perovskites

    X, y = fetch_perovskites(data_home=folder, return_X_y=True)
    network = fetch_megnet_model("Eform_MP_2019", data_home=folder)
    model = MEGNetProbRegressor(network, random_state=0).fit(X[:3000], y[:3000])
    items = [X[i : i + 1] for i in range(3000, 3100)]
    # features of a structure are kept: every structure is new, and there is one round
    both = each(clock, lambda x: model.predict(x, return_std=True), items, rounds=1)
    print(f"one structure, 3000 points: mean and std {both:.1f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parts = {"many": many, "nearest": nearest, "one": one}
    parser.add_argument("--parts", nargs="*", choices=parts, default=list(parts))
    args = parser.parse_args()
    clock = time.process_time if args.threads == 1 else time.perf_counter
    with threadpool_limits(args.threads):
        for name, part in parts.items():
            if name in args.parts:
                part(clock)
        if args.data is not None:
            one_structure(clock, args.data)


if __name__ == "__main__":
    main()
