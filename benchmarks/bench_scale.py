"""Rows by the million and structures by the hundred thousand: time and memory.

    python benchmarks/bench_scale.py rows [--threads 2]
    python benchmarks/bench_scale.py structures DATA_FOLDER [--threads 2]

``rows``: 32 features and a smooth target with noise, made in blocks and read from a
memmap; 500 inducing points, else default arguments. Every row of the table is a process
of its own, after a fit to 2000 rows that imports and warms everything up. Columns:

* fit s, us/row: seconds of the fit and what that is for each row;
* anon MB: the growth of the process's own memory (anonymous pages) at its peak over
  what it was after the warm-up; peak MB: ru_maxrss, pages of the mapped file included;
* x 25k: its time over that of 25,000 rows;
* R2 and NLL on 10,000 other rows.

"stream" fits the same rows from a generator (`fit_stream`), "float32" from a float32
memmap, "2 processes" with n_jobs=2 on one thread each, "minibatch" moves the inducing
points by batches (two epochs).

``structures``: a generator of crystals (`make_ionic_crystals`' prototypes, strained at
random) through ``predict_stream`` of a ``MEGNetProbRegressor`` without descriptors;
columns are structures a second and the growth of anonymous memory over that after 1000.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

D = 32
CASES = {
    "10k": (10_000, "memmap"),
    "25k": (25_000, "memmap"),
    "100k": (100_000, "memmap"),
    "1M": (1_000_000, "memmap"),
    "1M, float32": (1_000_000, "float32"),
    "1M, stream": (1_000_000, "stream"),
    "1M, 2 processes": (1_000_000, "n_jobs"),
    "100k, minibatch": (100_000, "minibatch"),
    "1M, minibatch": (1_000_000, "minibatch"),
}


def make(n, seed, dtype=np.float64):
    """Give blocks of rows."""
    rng = np.random.default_rng(seed)
    for start in range(0, n, 50_000):
        X = rng.normal(size=(min(50_000, n - start), D))
        y = (
            np.sin(X[:, 0] * X[:, 1])
            + X[:, 2] * np.abs(X[:, 3])
            + np.tanh(X[:, 4:8]).sum(1)
        )
        yield X.astype(dtype), y + 0.2 * rng.normal(size=len(X))


def on_disk(folder, n, dtype):
    """Write rows to a file and map it."""
    path = folder / "X.npy"
    X = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(n, D))
    targets, start = [], 0
    for block, y in make(n, 0, dtype):
        X[start : start + len(y)] = block
        targets.append(y)
        start += len(y)
    X.flush()
    del X
    return np.load(path, mmap_mode="r"), np.concatenate(targets)


class Watch:
    """Watches anonymous memory from a thread."""

    def __enter__(self):
        self.base = self.top = self.now()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.done.set()
        self.thread.join()
        self.grown = self.top - self.base

    def watch(self):
        while not self.done.wait(0.02):
            self.top = max(self.top, self.now())

    @staticmethod
    def now():
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith("RssAnon"):
                    return int(line.split()[1]) / 1024
        raise RuntimeError("no RssAnon in /proc/self/status: this runs on Linux")


def run_rows(name):
    from sklearn_unlocknn import VGPRegressor
    from sklearn_unlocknn.metrics import gaussian_nll

    n, kind = CASES[name]
    model = VGPRegressor(n_inducing_points=500, random_state=0)
    if kind == "n_jobs":
        model.set_params(n_jobs=2)
    if kind == "minibatch":
        model.set_params(optimize_inducing_points=True, max_iter=2)
    (X_warm, y_warm), *_ = make(2000, 2)
    VGPRegressor(n_inducing_points=500, random_state=1).fit(X_warm, y_warm)
    with tempfile.TemporaryDirectory() as folder:
        dtype = np.float32 if kind == "float32" else np.float64
        if kind != "stream":
            X, y = on_disk(Path(folder), n, dtype)
        with Watch() as watch:
            start = time.perf_counter()
            if kind == "stream":
                model.fit_stream(make(n, 0))
            else:
                model.fit(X, y)
            seconds = time.perf_counter() - start
        X = None
    (X_test, y_test), *_ = make(10_000, 1)
    mean, std = model.predict(X_test, return_std=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "rows": name,
        "fit s": seconds,
        "us/row": 1e6 * seconds / n,
        "anon MB": watch.grown,
        "peak MB": peak,
        "R2": 1 - np.mean((mean - y_test) ** 2) / np.var(y_test),
        "NLL": gaussian_nll(y_test, mean, std),
    }


def crystals(n):
    """Give n crystals, strained at random."""
    from sklearn_unlocknn.datasets import make_ionic_crystals

    rng = np.random.default_rng(0)
    kinds = make_ionic_crystals(600, random_state=0).data
    for i in range(n):
        crystal = kinds[i % len(kinds)].copy()
        crystal.apply_strain(rng.uniform(-0.03, 0.03, size=3))
        yield crystal


def run_structures(data, n, n_jobs):
    from sklearn_unlocknn import MEGNetProbRegressor
    from sklearn_unlocknn.datasets import fetch_megnet_model

    network = fetch_megnet_model("Eform_MP_2019", data_home=data)
    options = {"kernel": "rbf", "n_jobs": n_jobs, "random_state": 0}
    model = MEGNetProbRegressor(network, descriptors=None, **options)
    some = list(crystals(1000))
    model.fit(some, np.arange(1000.0))
    list(model.predict_stream(some))
    with Watch() as watch:
        start = time.perf_counter()
        done = sum(len(mean) for mean, std in model.predict_stream(crystals(n)))
        seconds = time.perf_counter() - start
    assert done == n
    label = f"{n}" if n_jobs is None else f"{n}, {n_jobs} processes"
    return {
        "structures": label,
        "predict s": seconds,
        "structures/s": n / seconds,
        "anon MB": watch.grown,
    }


def child(arguments, threads):
    """Run this file again in a fresh process; read its JSON."""
    env = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
    env.update({f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS")})
    command = [sys.executable, __file__, *map(str, arguments)]
    output = subprocess.run(
        command, env=env, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(output.stdout.splitlines()[-1])


def show(row, first):
    if first:
        print("| " + " | ".join(row) + " |\n" + "|---" * len(row) + "|")
    cells = [v if isinstance(v, str) else f"{v:.4g}" for v in row.values()]
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["rows", "structures"])
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 10_000, 100_000])
    parser.add_argument("--n-jobs", type=int)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        if args.what == "rows":
            row = run_rows(args.child)
        else:
            row = run_structures(args.data, int(args.child), args.n_jobs)
        print(json.dumps(row))
        return
    if args.what == "structures":
        jobs = [] if args.n_jobs is None else ["--n-jobs", args.n_jobs]
        for n in args.sizes:
            more = [*jobs, "--child", n]
            show(
                child(["structures", args.data, *more], args.threads),
                n == args.sizes[0],
            )
        return
    base = None
    for name in args.cases:
        row = child(["rows", "--child", name], args.threads)
        if name == "25k":
            base = row["fit s"]
        row["x 25k"] = "" if base is None else f"{row['fit s'] / base:.1f}"
        show(row, name == args.cases[0])


if __name__ == "__main__":
    main()
