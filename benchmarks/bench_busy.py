"""The default fit beside other busy processes, by number of threads.

    python benchmarks/bench_busy.py FEATURES.npz [--repeats 3 --rows 3787]

FEATURES.npz is written by ``make_features.py``. While none, one and two other processes
keep a processor busy each, a fit runs on one thread, on all threads that BLAS has, and
on the number that it chooses, in turns. Each row of the table has medians in seconds
and their ratios to one thread. OMP_NUM_THREADS must not be set.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._gp import head, training


@contextlib.contextmanager
def busy(n):
    """Run processes that compute until the end of the block, or of this process."""
    loop = f"import os\nwhile os.getppid() == {os.getpid()}: pass"
    command = [sys.executable, "-S", "-c", loop]
    others = [subprocess.Popen(command) for _ in range(n)]
    try:
        time.sleep(1.0)
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def fit(X, y):
    training._OPTIMA.clear()  # hyperparameters of an earlier fit to the same samples
    start = time.perf_counter()
    VGPRegressor(random_state=0).fit(X, y)
    return time.perf_counter() - start


def one_thread(X, y):
    with threadpool_limits(1, user_api="blas"):
        return fit(X, y)


def all_threads(X, y):
    with mock.patch.object(head, "free_threads", contextlib.nullcontext):
        return fit(X, y)


WAYS = {"one thread": one_thread, "all threads": all_threads, "chosen": fit}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("features", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    args = parser.parse_args()
    if "OMP_NUM_THREADS" in os.environ:
        parser.error("OMP_NUM_THREADS is set; unset it")
    with np.load(args.features) as file:
        X, y = file["X"][: args.rows], file["y"][: args.rows]
    n_threads = {pool["num_threads"] for pool in threadpool_info()}
    print(
        f"{len(y)} rows, {os.cpu_count()} processors, pools of {sorted(n_threads)} "
        f"threads, load before {os.getloadavg()[0]:.1f}"
    )
    fit(X[:600], y[:600])  # warm-up
    print("| busy processes | " + " | ".join(args.ways) + " |")
    print("|---" * (len(args.ways) + 1) + "|")
    for n in range(3):
        seconds = {way: [] for way in args.ways}
        with busy(n):
            for _ in range(args.repeats):
                for way in args.ways:
                    seconds[way].append(WAYS[way](X, y))
        medians = {way: np.median(values) for way, values in seconds.items()}
        first = medians[args.ways[0]]
        cells = [f"{m:.1f} s ({m / first:.2f})" for m in medians.values()]
        print(f"| {n} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
