"""Time of features with and without the cache, beside the bare compiled network.

    python benchmarks/bench_cache.py [--samples 50000]

Prints a table of milliseconds, best of five.
"""

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from sklearn_unlocknn._features.cache import FeatureCache, forget, hash_rows
from sklearn_unlocknn._keras.network import NetworkHandle

WIDTHS = [32, 64, 128, 256, 512]


def best(run, prepare=lambda: None, repeats=5):
    """Return the shortest time of several runs, in milliseconds."""
    times = []
    for _ in range(repeats):
        prepare()
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def build(width, n_inputs):
    """Build a network of three dense layers."""
    layers = [keras.layers.Dense(width, "relu"), keras.layers.Dense(32, "relu")]
    return keras.Sequential([keras.Input((n_inputs,)), *layers, keras.layers.Dense(1)])


def time_network(width, X):
    """Time a network and the cache before it, for all samples and for one."""
    handle = NetworkHandle.of(build(width, X.shape[1]))
    names = handle.resolve_layer(-2)
    identity = handle.identity(names)

    def bare(X):
        return np.hstack(handle.extract([X], names, with_output=True))

    def cached(X, location=None):
        cache = FeatureCache(location, identity)
        return cache.fetch(hash_rows(X), lambda rows: [bare(X[rows])])

    bare(X)
    times = {"network": best(lambda: bare(X))}
    times["first"] = best(lambda: cached(X), forget)
    times["hits"] = best(lambda: cached(X))
    times["one: network"] = best(lambda: bare(X[:1]), repeats=50)
    times["one: first"] = best(lambda: cached(X[:1]), forget, repeats=50)
    with tempfile.TemporaryDirectory() as folder:
        times["file: first"] = best(lambda: cached(X, folder), forget, repeats=1)
        times["file: hits"] = best(lambda: cached(X, folder), forget, repeats=1)
    forget()
    return handle.worth_caching([X]), times


def time_threads(seconds=1.0, n_threads=4):
    """Return the time of threads with samples of their own, and of one of them."""
    X = np.random.default_rng(0).normal(size=(n_threads, 100, 8))

    def work(part):
        def compute(rows):
            time.sleep(seconds)  # as a network that leaves the interpreter
            return [part[rows]]

        return FeatureCache(None, "threads").fetch(hash_rows(part), compute)

    one = best(lambda: work(X[0]), forget, 1)
    with ThreadPoolExecutor(n_threads) as pool:
        return one, best(lambda: list(pool.map(work, X)), forget, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=50_000)
    n_samples = parser.parse_args().samples
    head = True
    for n_inputs in (8, 256):
        X = np.random.default_rng(0).normal(size=(n_samples, n_inputs)).astype("f4")
        for width in WIDTHS:
            worth, times = time_network(width, X)
            if head:
                print("inputs", "width", "cached", *times, sep=" | ")
                head = False
            figures = [f"{value:.3g}" for value in times.values()]
            print(n_inputs, width, worth, *figures, sep=" | ", flush=True)
    one, four = time_threads()
    print(f"one thread {one:.0f} ms, four with other samples {four:.0f} ms")
