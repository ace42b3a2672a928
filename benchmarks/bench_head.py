"""Gaussian process heads side by side on the same rows and threads.

    python benchmarks/bench_head.py DATA_FOLDER [--threads 2] [--folds 5]
    python benchmarks/bench_head.py DATA_FOLDER --scaling

Features: the 96 readout features of a pretrained MEGNet (formation energy) for the
3787 perovskites in DATA_FOLDER, made once and kept in ``--features``. Every head runs
in a process of its own, which times ``fit`` and ``predict`` after one warm-up fit on
200 rows (imports and tracing are not counted for anybody) and reports its peak memory.
``--scaling`` instead repeats rows with noise to 4k, 16k and 64k.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HEADS = ("ours", "sgpr", "sgpr500", "svgp_gpflow", "svgp_gpytorch", "sklearn")
LABELS = {
    "ours": "VGPRegressor(), defaults",
    "sgpr": "GPflow SGPR, 100 points moved, 60 L-BFGS steps",
    "sgpr500": "GPflow SGPR, 500 points fixed, 60 L-BFGS steps",
    "svgp_gpflow": "GPflow SVGP, 100 points, Adam 2000 x 256",
    "svgp_gpytorch": "GPyTorch SVGP, 100 points, Adam 2000 x 256",
    "sklearn": "scikit-learn GaussianProcessRegressor, exact",
}


class Ours:
    """This package, default arguments."""

    def fit(self, X, y):
        from sklearn_unlocknn import VGPRegressor

        self.model = VGPRegressor(random_state=0).fit(X, y)

    def predict(self, X):
        return self.model.predict(X, return_std=True)


class Standardised:
    """Give a library standardised rows and map its answer back."""

    def fit(self, X, y):
        self.x_mean, self.x_scale = X.mean(0), X.std(0)
        self.x_scale[self.x_scale == 0] = 1.0
        self.y_mean, self.y_scale = y.mean(), y.std()
        self.fit_standardised(self.rows(X), (y - self.y_mean) / self.y_scale)

    def rows(self, X):
        return (X - self.x_mean) / self.x_scale

    def predict(self, X):
        mean, variance = self.predict_standardised(self.rows(X))
        return mean * self.y_scale + self.y_mean, np.sqrt(variance) * self.y_scale


class Sklearn(Standardised):
    """Exact, isotropic Matern 5/2, as most users would set it up."""

    def fit_standardised(self, X, y):
        from sklearn.gaussian_process import GaussianProcessRegressor, kernels

        kernel = kernels.ConstantKernel() * kernels.Matern(np.sqrt(X.shape[1]), nu=2.5)
        kernel += kernels.WhiteKernel(0.1)
        self.model = GaussianProcessRegressor(kernel).fit(X, y)

    def predict_standardised(self, X):
        mean, std = self.model.predict(X, return_std=True)
        return mean, std**2


class GPflowSGPR(Standardised):
    """Collapsed bound, all rows, L-BFGS."""

    n_points, moved = 100, True

    def fit_standardised(self, X, y):
        import gpflow
        from sklearn.cluster import KMeans

        n_points = min(self.n_points, len(X))
        Z = KMeans(n_points, n_init=1, random_state=0).fit(X).cluster_centers_
        kernel = gpflow.kernels.Matern52(lengthscales=np.sqrt(X.shape[1]))
        self.model = gpflow.models.SGPR((X, y[:, None]), kernel, Z, noise_variance=0.1)
        gpflow.set_trainable(self.model.inducing_variable, self.moved)
        gpflow.optimizers.Scipy().minimize(
            self.model.training_loss,
            self.model.trainable_variables,
            options={"maxiter": 60},
        )

    def predict_standardised(self, X):
        mean, variance = self.model.predict_y(X)
        return mean.numpy()[:, 0], variance.numpy()[:, 0]


class GPflowSGPR500(GPflowSGPR):
    """Five times the points, where they are."""

    n_points, moved = 500, False


class GPflowSVGP(GPflowSGPR):
    """Stochastic bound, Adam."""

    def fit_standardised(self, X, y):
        import gpflow
        import tensorflow as tf
        import tf_keras
        from sklearn.cluster import KMeans

        n_points = min(100, len(X))
        Z = KMeans(n_points, n_init=1, random_state=0).fit(X).cluster_centers_
        kernel = gpflow.kernels.Matern52(lengthscales=np.sqrt(X.shape[1]))
        likelihood = gpflow.likelihoods.Gaussian(0.1)
        self.model = gpflow.models.SVGP(kernel, likelihood, Z, num_data=len(X))
        data = tf.data.Dataset.from_tensor_slices((X, y[:, None]))
        batches = iter(data.repeat().shuffle(len(X), seed=0).batch(256))
        loss = self.model.training_loss_closure(batches, compile=True)
        optimizer = tf_keras.optimizers.Adam(0.01)
        variables = self.model.trainable_variables

        @tf.function
        def step():
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                value = loss()
            optimizer.apply_gradients(
                zip(tape.gradient(value, variables), variables, strict=True)
            )

        for _ in range(2000):
            step()


class GPyTorchSVGP(Standardised):
    """Stochastic bound, Adam, in torch."""

    def fit_standardised(self, X, y):
        import gpytorch
        import torch
        from sklearn.cluster import KMeans

        torch.manual_seed(0)
        n_points = min(100, len(X))
        Z = KMeans(n_points, n_init=1, random_state=0).fit(X).cluster_centers_

        class Model(gpytorch.models.ApproximateGP):
            def __init__(self, points):
                q = gpytorch.variational.CholeskyVariationalDistribution(len(points))
                super().__init__(
                    gpytorch.variational.VariationalStrategy(self, points, q)
                )
                self.mean_module = gpytorch.means.ConstantMean()
                self.covar_module = gpytorch.kernels.ScaleKernel(
                    gpytorch.kernels.MaternKernel(nu=2.5)
                )

            def forward(self, x):
                return gpytorch.distributions.MultivariateNormal(
                    self.mean_module(x), self.covar_module(x)
                )

        X, y = torch.tensor(X), torch.tensor(y)
        self.model = Model(torch.tensor(Z)).double()
        self.model.covar_module.base_kernel.lengthscale = X.shape[1] ** 0.5
        self.likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
        parameters = [*self.model.parameters(), *self.likelihood.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=0.01)
        bound = gpytorch.mlls.VariationalELBO(self.likelihood, self.model, len(X))
        for _ in range(2000):
            index = torch.randint(len(X), (256,))
            optimizer.zero_grad()
            (-bound(self.model(X[index]), y[index])).backward()
            optimizer.step()

    def predict_standardised(self, X):
        import torch

        self.model.eval()
        self.likelihood.eval()
        with torch.no_grad():
            dist = self.likelihood(self.model(torch.tensor(X)))
        return dist.mean.numpy(), dist.variance.numpy()


CLASSES = {
    "ours": Ours,
    "sgpr": GPflowSGPR,
    "sgpr500": GPflowSGPR500,
    "svgp_gpflow": GPflowSVGP,
    "svgp_gpytorch": GPyTorchSVGP,
    "sklearn": Sklearn,
}


def make_features(data, path):
    """Make the features once."""
    if not path.exists():
        script = Path(__file__).with_name("make_features.py")
        subprocess.run([sys.executable, str(script), str(data), str(path)], check=True)
    with np.load(path) as file:
        return file["X"], file["y"]


def run_head(name, features, n_folds):
    """Cross-validate one head in this process; return its row of the table."""
    from sklearn.model_selection import KFold

    from sklearn_unlocknn.metrics import gaussian_nll, miscalibration_area

    with np.load(features) as file:
        X, y = file["X"], file["y"]
    CLASSES[name]().fit(X[:200], y[:200])
    rows = []
    folds = KFold(5, shuffle=True, random_state=0).split(X)
    for train, test in list(folds)[:n_folds]:
        head = CLASSES[name]()
        start = time.perf_counter()
        head.fit(X[train], y[train])
        fitted = time.perf_counter()
        mean, std = head.predict(X[test])
        done = time.perf_counter()
        rows.append(
            {
                "MAE": np.abs(mean - y[test]).mean(),
                "NLL": gaussian_nll(y[test], mean, std),
                "area": miscalibration_area(y[test], mean, std, kind="interval"),
                "fit_s": fitted - start,
                "predict_s": done - fitted,
            }
        )
    table = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"head": name, **table, "peak_MB": peak}


def run_scaling(n_rows, features):
    """Fit the default head with fixed points on ``n_rows`` rows."""
    from sklearn_unlocknn import VGPRegressor

    with np.load(features) as file:
        X, y = file["X"], file["y"]
    rng = np.random.default_rng(0)
    index = rng.integers(len(X), size=n_rows)
    X = X[index] + 0.1 * X.std(0) * rng.standard_normal((n_rows, X.shape[1]))
    y = y[index] + 0.1 * y.std() * rng.standard_normal(n_rows)
    settings = {"n_inducing_points": 1000, "random_state": 0}
    VGPRegressor(**settings).fit(X[:200], y[:200])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    VGPRegressor(**settings).fit(X, y)
    seconds = time.perf_counter() - start
    # The same with one L-BFGS step: what the pass over all rows costs.
    start = time.perf_counter()
    VGPRegressor(max_iter=0, **settings).fit(X, y)
    passes = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "rows": n_rows,
        "fit_s": seconds,
        "pass_s": passes,
        "us_per_row": 1e6 * passes / n_rows,
        "extra_MB": peak - before,
        "data_MB": X.nbytes / 2**20,
    }


def child(arguments, threads):
    """Run this file again in a fresh process with a thread count; read its JSON."""
    names = ("OMP", "OPENBLAS", "MKL")
    env = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
    env.update({f"{name}_NUM_THREADS": str(threads) for name in names})
    env.update(TF_NUM_INTRAOP_THREADS=str(threads), TF_NUM_INTEROP_THREADS="1")
    command = [sys.executable, __file__, *map(str, arguments)]
    output = subprocess.run(
        command, env=env, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(output.stdout.splitlines()[-1])


def show(rows):
    """Print rows of a table."""
    keys = list(rows[0])
    width = max(len(str(row[keys[0]])) for row in rows) + 2
    print(f"{keys[0]:<{width}}" + "".join(f"{key:>12}" for key in keys[1:]))
    for row in rows:
        cells = "".join(f"{row[key]:12.3f}" for key in keys[1:])
        print(f"{row[keys[0]]!s:<{width}}{cells}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--features", type=Path, default=Path("perov_features.npz"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--heads", nargs="+", default=list(HEADS), choices=HEADS)
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()

    if args.child:
        if args.scaling:
            row = run_scaling(int(args.child), args.features)
        else:
            row = run_head(args.child, args.features, args.folds)
        print(json.dumps(row))
        return

    make_features(args.data, args.features)
    common = ["--features", args.features, "--folds", args.folds]
    print(f"{platform.machine()}, {args.threads} threads, {args.folds} folds")
    if args.scaling:
        rows = [
            child([args.data, *common, "--scaling", "--child", n], args.threads)
            for n in (4096, 16384, 65536)
        ]
    else:
        rows = []
        for name in args.heads:
            row = child([args.data, *common, "--child", name], args.threads)
            rows.append({**row, "head": LABELS[name]})
    show(rows)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
