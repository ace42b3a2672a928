"""Time of features with and without the cache, beside the bare network.

    python benchmarks/bench_cache.py [--samples 50000]

Prints milliseconds on the wall, the best of several runs, and bars where there are.
"""

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import keras
import numpy as np

from sklearn_unlocknn import ProbNNRegressor
from sklearn_unlocknn._features.cache import FeatureCache, forget, hash_rows
from sklearn_unlocknn._keras.encoder import KerasEncoder
from sklearn_unlocknn._keras.network import NetworkHandle

WIDTHS = [64, 256, 1024, 4096]


def interleaved(runs, repeats=7):
    """Return the shortest time of each (prepare, run), in milliseconds."""
    times = [np.inf] * len(runs)
    for _ in range(repeats):
        for i, (prepare, run) in enumerate(runs):
            prepare()
            start = time.perf_counter()
            run()
            times[i] = min(times[i], 1e3 * (time.perf_counter() - start))
    return times


def nothing():
    """Prepare nothing."""


def build(n_inputs, width, last=32):
    """Build a network of three dense layers."""
    layers = [keras.layers.Dense(width, "relu"), keras.layers.Dense(last, "relu")]
    return keras.Sequential([keras.Input((n_inputs,)), *layers, keras.layers.Dense(1)])


def time_encoder(width, X):
    """Time the features of a fit: bare, computed into the cache, and as hits."""
    settings = SimpleNamespace(network=None, layer=-2, memory=None, batch_size=1024)
    encoder = KerasEncoder()
    encoder.layer, encoder.with_output = -2, False
    encoder.use(NetworkHandle.of(build(X.shape[1], width)))
    worth, kind = encoder.network.worth_caching([X]), type(encoder.network)

    def run(keep):
        return lambda: encoder._run(settings, [X], keep)

    decide, kind.worth_caching = kind.worth_caching, lambda *_: True
    times = interleaved(
        [(nothing, run(False)), (forget, run(True)), (nothing, run(True))]
    )
    with tempfile.TemporaryDirectory() as settings.memory:
        times += interleaved([(forget, run(True))], 1)
        times += interleaved([(forget, run(True))], 2)
    kind.worth_caching = decide
    forget()
    return worth, times


def time_threads(seconds=1.0, n_threads=4):
    """Return the time of one thread, and of four with samples of their own."""
    X = np.random.default_rng(0).normal(size=(n_threads, 100, 8))

    def work(part):
        def compute(rows):
            time.sleep(seconds)  # as a network that leaves the interpreter
            return [part[rows]]

        return FeatureCache(None, "threads").fetch(hash_rows(part), compute)

    with ThreadPoolExecutor(n_threads) as pool:
        several = lambda: list(pool.map(work, X))  # noqa: E731
        return interleaved([(forget, lambda: work(X[0])), (forget, several)], 2)


def time_one_row(width):
    """Time a prediction of a new sample by default, and without cache and checksum."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 8))
    model = ProbNNRegressor(build(8, width), n_inducing_points=100, random_state=0)
    model.fit(X, np.sin(X[:, 0]))
    kind, checksum = NetworkHandle, NetworkHandle.checksum

    def predict():
        model.predict(rng.normal(size=(1, 8)), return_std=True)

    def bare():
        worth, sums = kind.worth_caching, model._encoder.checksum
        kind.worth_caching, kind.checksum = lambda *_: False, lambda _: sums
        return worth

    def default():
        kind.worth_caching, kind.checksum = worth, checksum

    worth = bare()
    times = interleaved([(bare, predict), (default, predict)], 300)
    default()
    return times


def time_checksum():
    """Time the checksum of a small network, and of one of 21 million weights."""
    times = []
    for shape in ((8, 64), (100, 4096, 5000)):
        handle = NetworkHandle.of(build(*shape))
        times += interleaved([(nothing, handle.checksum)], 100)
    return times


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=50_000)
    n_samples = parser.parse_args().samples
    print("inputs | width | cached | bare | first | hits | file: first | file: hits")
    for n_inputs in (8, 256):
        X = np.random.default_rng(0).normal(size=(n_samples, n_inputs)).astype("f4")
        for width in WIDTHS:
            worth, times = time_encoder(width, X)
            figures = [f"{value:.0f}" for value in times]
            print(n_inputs, width, worth, *figures, sep=" | ", flush=True)
    one, four = time_threads()
    print(f"one thread {one:.0f} ms, four with other samples {four:.0f} (bar 1.3 x)")
    for width in (64, 4096):
        bare, default = time_one_row(width)
        print(f"one row, width {width}: {bare:.2f} ms, default {default:.2f}, ", end="")
        print(f"{default / bare:.2f} x (bar 1.2)")
    small, large = time_checksum()
    print(f"checksum: small {small:.3f} ms (bar .2), 21 M weights {large:.1f} (bar 15)")
