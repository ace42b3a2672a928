"""The default fit beside its own floating-point operations at the rate of dgemm.

    python benchmarks/bench_flops.py FEATURES.npz [--threads 1] [--rows 3030]

FEATURES.npz holds ``X`` and ``y``, made by ``make_features.py``. One fit is run with
every BLAS and LAPACK call and every evaluated kernel element counted:

* matrix products, factorisations and triangular solves by their textbook counts: 2 mnk
  for dgemm, nk(n + 1) for dsyrk, n^3 / 3 for dpotrf and dtrtri, 2 n^3 / 3 for dpotri,
  m^2 n for dtrsm;
* a kernel element by the additions, multiplications, divisions, maxima, square roots
  and exponentials that `kernel_blocks._stationary` writes down for it, each as one,
  though a square root takes ten and an exponential some twenty times as long.

Then the same fit is timed uncounted, alternately with dgemm of 2000 x 2000 in this
process, so that both see the same machine. ``ratio`` is seconds of the fit over seconds
that the operations would take at the rate of dgemm; ``BLAS share`` is the share of the
operations that are matrix algebra.
"""

import argparse
import os
import time
from collections import Counter

COUNTS = {
    "dgemm": lambda out, a, b, **o: (
        2.0 * out.size * a.shape[0 if o.get("trans_a") else 1]
    ),
    "dsyrk": lambda out, a, **o: a.shape[1] * len(out) * (len(out) + 1.0),
    "dsymm": lambda out, a, b, **o: 2.0 * out.size * len(a),
    "dtrsm": lambda out, L, b, **o: 1.0 * out.size * len(L),
    "dpotrf": lambda out, a, **o: len(a) ** 3 / 3.0,
    "dtrtri": lambda out, a, **o: len(a) ** 3 / 3.0,
    "dpotri": lambda out, a, **o: 2.0 * len(a) ** 3 / 3.0,
}
# For each element: distance and function; in a gradient, slope and pull.
FORWARD = {1.5: 1 + 5, 2.5: 1 + 8, 0.5: 1 + 3, float("inf"): 1 + 2}
BACKWARD = {1.5: 0 + 2, 2.5: 0 + 2, 0.5: 1 + 2, float("inf"): 0 + 2}


def count(fit):
    """Return the operations of a fit: {name: number}."""
    from scipy.linalg import lapack

    from sklearn_unlocknn._gp import (
        covariance,
        inducing,
        kernel_blocks,
        linalg,
        posterior,
        training,
    )

    done, undo = Counter(), []

    def patch(module, name, wrapper):
        undo.append((module, name, getattr(module, name)))
        setattr(module, name, wrapper)

    def counted(name, real, skip_scale):
        def call(*args, **kwargs):
            out = real(*args, **kwargs)
            result = out[0] if isinstance(out, tuple) else out
            done[name] += COUNTS[name](result, *args[skip_scale:], **kwargs)
            return out

        return call

    for module in (linalg, inducing, posterior, training):
        for name in ("dgemm", "dsyrk", "dsymm", "dtrsm"):
            if hasattr(module, name):
                patch(module, name, counted(name, getattr(module, name), 1))
    for name in ("dpotrf", "dtrtri", "dpotri"):
        patch(lapack, name, counted(name, getattr(lapack, name), 0))
    real_profile, real_vjp = kernel_blocks._profile, covariance.Covariance.lower_vjp
    elements = Counter()

    def profile(kernel, *args):
        K, *slope = real_profile(kernel, *args)
        nu = getattr(kernel, "nu", float("inf"))
        elements[nu] += K.size
        done["kernel elements"] += FORWARD[nu] * K.size
        return K, *slope

    def lower_vjp(self, theta, X):
        before = elements.copy()
        K, pull_back = real_vjp(self, theta, X)
        for nu, size in (elements - before).items():
            done["kernel gradients"] += BACKWARD[nu] * size
        return K, pull_back

    patch(kernel_blocks, "_profile", profile)
    patch(covariance.Covariance, "lower_vjp", lower_vjp)
    try:
        fit()
    finally:
        for module, name, real in undo:
            setattr(module, name, real)
    return done


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("features")
    parser.add_argument("--threads", type=int, default=1, help="read before NumPy")
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 2000, 3030])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()

    from scipy.linalg.blas import dgemm

    from sklearn_unlocknn import VGPRegressor
    from sklearn_unlocknn._gp import training

    with np.load(args.features) as file:
        X_all, y_all = file["X"], file["y"]
    order = np.random.default_rng(0).permutation(len(X_all))
    A = np.asfortranarray(np.random.default_rng(0).normal(size=(2000, 2000)))
    print(f"{args.threads} threads; seconds are medians of {args.repeats}")
    print("| rows | Gflop | BLAS share | dgemm Gflop/s | fit s | at dgemm s | ratio |")
    print("|---|---|---|---|---|---|---|")
    for n in args.rows:
        X, y = X_all[order[:n]], y_all[order[:n]]

        def fit(X=X, y=y):
            training._OPTIMA.clear()
            VGPRegressor(random_state=0).fit(X, y)

        fit()
        done = count(fit)
        times, rates = [], []
        for _ in range(args.repeats):
            start = time.perf_counter()
            dgemm(1.0, A, A)
            rates.append(2 * 2000.0**3 / (time.perf_counter() - start))
            start = time.perf_counter()
            fit()
            times.append(time.perf_counter() - start)
        total = sum(done.values())
        share = 1 - sum(v for k, v in done.items() if k.startswith("kernel")) / total
        seconds, rate = np.median(times), np.median(rates)
        print(
            f"| {n} | {total / 1e9:.1f} | {share:.2f} | {rate / 1e9:.0f} | "
            f"{seconds:.2f} | {total / rate:.2f} | {seconds * rate / total:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    early = argparse.ArgumentParser(add_help=False)
    early.add_argument("--threads", type=int, default=1)
    n_threads = str(early.parse_known_args()[0].threads)
    for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[pool] = n_threads
    import numpy as np

    main()
