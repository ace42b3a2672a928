"""A search from structures: what it costs beside its parts and beside other ways.

    python benchmarks/bench_search.py DATA_FOLDER [--n-jobs 1] [--separate 3]
    python benchmarks/bench_search.py DATA_FOLDER --ways gpflow gpytorch unlocknn

12 candidates (4 kernels x 3 numbers of inducing points) in 5 folds of the 3787
perovskites in DATA_FOLDER: 60 fits from structures to a head. Measured, each in a
process of its own with an empty cache:

* ``search``: ``GridSearchCV`` over `MEGNetProbRegressor`, and the structures that went
  through the network;
* ``parts``: one extraction, and the 60 head fits and predictions one by one on its
  features, each a new estimator, which share nothing;
* ``separate``: some fits with extraction, each in a process of its own, scaled to 60;
* ``gpflow``, ``gpytorch``: the same folds on ready features, 4 kernels of GPflow's
  SGPR, or of GPyTorch's SVGP, x the same numbers of points; plus one extraction;
* ``unlocknn``: an emulation of its way, the network inside every epoch: the frozen
  network run 30 times over the training rows of a fold, scaled to 60 fits. Its own
  measured figures are in the results.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

KERNELS = ("rbf", "matern32", "matern52", "matern52+linear")
POINTS = (250, 500, 1000)
NETWORK = "Eform_MP_2019"
WAYS = ("search", "parts", "separate", "gpflow", "gpytorch", "unlocknn")
EPOCHS = 30


def folds(n):
    from sklearn.model_selection import KFold

    return list(KFold(5, shuffle=True, random_state=0).split(np.zeros(n)))


def load(data, n):
    from sklearn_unlocknn.datasets import fetch_perovskites

    bunch = fetch_perovskites(data_home=data)
    os.environ.setdefault("SKLEARN_UNLOCKNN_DATA", str(data))
    return list(bunch.data[:n]), np.asarray(bunch.target[:n])


def model(**parameters):
    from sklearn_unlocknn import MEGNetProbRegressor

    options = {"descriptors": None, "random_state": 0, **parameters}
    return MEGNetProbRegressor(NETWORK, **options)


def candidates():
    return [(kernel, m) for kernel in KERNELS for m in POINTS]


def run_search(args):
    """Time the search; count what goes through the network in this process."""
    from sklearn.model_selection import GridSearchCV

    from sklearn_unlocknn._megnet.network import MEGNetSnapshot
    from sklearn_unlocknn.metrics import get_prob_scorer

    X, y = load(args.data, args.n)
    log = Path(os.environ["SEARCH_LOG"])
    run = MEGNetSnapshot._run_block

    def counted(self, block):
        with log.open("a") as file:
            file.write(f"{len(block[1])}\n")
        return run(self, block)

    MEGNetSnapshot._run_block = counted
    search = GridSearchCV(
        model(), {"kernel": KERNELS, "n_inducing_points": POINTS}, cv=folds(len(X)),
        scoring=get_prob_scorer("neg_nll"), refit=False, n_jobs=args.n_jobs,
    )  # fmt: skip
    start = time.perf_counter()
    search.fit(X, y)
    seconds = time.perf_counter() - start
    passes = sum(map(int, log.read_text().split())) if log.exists() else None
    best = int(np.argmax(search.cv_results_["mean_test_score"]))
    return {
        "seconds": seconds,
        "passes": passes,
        "best": str(search.cv_results_["params"][best]),
        "best_nll": -float(search.cv_results_["mean_test_score"][best]),
    }


def extracted(args):
    """Return features, targets and the seconds of one extraction, loading included."""
    from sklearn_unlocknn import MEGNetFeatureExtractor

    X, y = load(args.data, args.n)
    start = time.perf_counter()
    features = MEGNetFeatureExtractor(NETWORK).fit_transform(X)
    return features, y, time.perf_counter() - start


def run_parts(args):
    """Time one extraction, and each head fit with the prediction of its fold."""
    from sklearn_unlocknn import VGPRegressor

    features, y, extraction = extracted(args)
    seconds = []
    for kernel, m in candidates():
        for i, (train, test) in enumerate(folds(len(y))):
            start = time.perf_counter()
            # Another seed for each: nothing is there from the fit before.
            seed = 1 + i + 5 * len(seconds)
            head = VGPRegressor(kernel, m, random_state=seed)
            head.fit(features[train], y[train]).predict(features[test], return_std=True)
            seconds.append(time.perf_counter() - start)
    return {"extraction": extraction, "heads": sum(seconds), "fits": len(seconds)}


def run_separate(args):
    """Time one fit from structures and the prediction of its fold."""
    X, y = load(args.data, args.n)
    kernel, m = candidates()[args.index % 12]
    train, test = folds(len(X))[args.index % 5]
    start = time.perf_counter()
    fitted = model(kernel=kernel, n_inducing_points=m)
    fitted.fit([X[i] for i in train], y[train])
    fitted.predict([X[i] for i in test], return_std=True)
    return {"seconds": time.perf_counter() - start, "fit": f"{kernel}, {m}"}


def scaled(features, y, train, test):
    mean, scale = features[train].mean(0), features[train].std(0)
    scale[scale == 0] = 1.0
    rows = (features - mean) / scale
    target = (y - y[train].mean()) / y[train].std()
    return rows[train], target[train], rows[test], target[test]


def gpflow_fit(kernel, m, X, y, X_test):
    """Fit SGPR, fixed points by k-means, 60 L-BFGS steps."""
    import gpflow
    from sklearn.cluster import KMeans

    kinds = {
        "rbf": gpflow.kernels.SquaredExponential,
        "matern32": gpflow.kernels.Matern32,
        "matern52": gpflow.kernels.Matern52,
    }
    made = kinds[kernel.split("+")[0]](lengthscales=np.sqrt(X.shape[1]))
    if "+linear" in kernel:
        made += gpflow.kernels.Linear(variance=1 / X.shape[1])
    Z = KMeans(m, n_init=1, random_state=0).fit(X).cluster_centers_
    sgpr = gpflow.models.SGPR((X, y[:, None]), made, Z, noise_variance=0.1)
    gpflow.set_trainable(sgpr.inducing_variable, False)
    gpflow.optimizers.Scipy().minimize(
        sgpr.training_loss, sgpr.trainable_variables, options={"maxiter": 60}
    )
    sgpr.predict_y(X_test)


def gpytorch_fit(kernel, m, X, y, X_test):
    """Fit SVGP, points by k-means and moved, Adam 2000 x 256."""
    import gpytorch
    import torch
    from sklearn.cluster import KMeans

    kinds = {
        "rbf": gpytorch.kernels.RBFKernel,
        "matern32": lambda: gpytorch.kernels.MaternKernel(1.5),
        "matern52": lambda: gpytorch.kernels.MaternKernel(2.5),
    }
    base = kinds[kernel.split("+")[0]]()
    base.lengthscale = np.sqrt(X.shape[1])
    made = gpytorch.kernels.ScaleKernel(base)
    if "+linear" in kernel:
        made += gpytorch.kernels.LinearKernel()
    Z = torch.tensor(KMeans(m, n_init=1, random_state=0).fit(X).cluster_centers_)

    class Model(gpytorch.models.ApproximateGP):
        def __init__(self):
            q = gpytorch.variational.CholeskyVariationalDistribution(m)
            strategy = gpytorch.variational.VariationalStrategy(self, Z.float(), q)
            super().__init__(strategy)
            self.mean_module = gpytorch.means.ConstantMean()
            self.covar_module = made

        def forward(self, x):
            return gpytorch.distributions.MultivariateNormal(
                self.mean_module(x), self.covar_module(x)
            )

    torch.manual_seed(0)
    svgp, likelihood = Model(), gpytorch.likelihoods.GaussianLikelihood()
    bound = gpytorch.mlls.VariationalELBO(likelihood, svgp, len(X))
    optimizer = torch.optim.Adam([*svgp.parameters(), *likelihood.parameters()], 0.01)
    X, y = torch.tensor(X).float(), torch.tensor(y).float()
    for _ in range(2000):
        rows = torch.randint(len(X), (256,))
        optimizer.zero_grad()
        loss = -bound(svgp(X[rows]), y[rows])
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        svgp.eval(), likelihood.eval()
        likelihood(svgp(torch.tensor(X_test).float())).variance.sum()


def run_heads(args, fit):
    """Time a library's heads on ready features: each candidate, some of the folds."""
    features, y, extraction = extracted(args)
    seconds = []
    for kernel, m in candidates():
        for train, test in folds(len(y))[: args.folds]:
            X, t, X_test, _ = scaled(features, y, train, test)
            start = time.perf_counter()
            fit(kernel, min(m, len(X)), X, t, X_test)
            seconds.append(time.perf_counter() - start)
            print(kernel, m, f"{seconds[-1]:.1f} s", file=sys.stderr, flush=True)
    heads = sum(seconds) * 5 / args.folds
    return {"extraction": extraction, "heads": heads, "measured": len(seconds)}


def run_unlocknn(args):
    """Time epochs that each run the network, warm, over the rows of a fold."""
    from sklearn_unlocknn._megnet.network import MEGNetSnapshot
    from sklearn_unlocknn.datasets import fetch_megnet_model

    X, _ = load(args.data, args.n)
    train, _ = folds(len(X))[0]
    network = MEGNetSnapshot.of(fetch_megnet_model(NETWORK, data_home=args.data))
    graphs = network.graphs([X[i] for i in train])
    network.run(X[:200])
    dicts = [
        {"atom": g.atom, "bond": g.bond, "state": g.state, "index1": g.index1,
         "index2": g.index2}
        for g in graphs
    ]  # fmt: skip
    start = time.perf_counter()
    for _ in range(args.epochs):
        network.run(dicts)
    epoch = (time.perf_counter() - start) / args.epochs
    return {"epoch": epoch, "fit": epoch * EPOCHS, "search": epoch * EPOCHS * 60}


def child(args, way, index=0):
    """Run a way in a fresh process, with a session and a log of its own."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        env = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3", TMPDIR=folder)
        env["SEARCH_LOG"] = str(Path(folder) / "log")
        command = [sys.executable, __file__, *sys.argv[1:], "--child", way]
        command += ["--index", str(index)]
        output = subprocess.run(
            command, env=env, check=True, stdout=subprocess.PIPE, text=True
        )
    return json.loads(output.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--n", type=int, default=3787, help="structures")
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--separate", type=int, default=3, help="fits to measure")
    parser.add_argument("--folds", type=int, default=5, help="of the other libraries")
    parser.add_argument("--epochs", type=int, default=3, help="epochs to measure")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS[:3])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--index", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")

    if args.child:
        ways = {
            "search": run_search,
            "parts": run_parts,
            "separate": run_separate,
            "gpflow": lambda args: run_heads(args, gpflow_fit),
            "gpytorch": lambda args: run_heads(args, gpytorch_fit),
            "unlocknn": run_unlocknn,
        }
        print(json.dumps(ways[args.child](args)))
        return

    load_average = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"{platform.machine()}, {os.cpu_count()} cores, load before {load_average}")
    results = {}
    for way in args.ways:
        if way == "separate":
            fits = [child(args, way, 5 * i) for i in range(args.separate)]
            each = float(np.mean([fit["seconds"] for fit in fits]))
            results[way] = {"fits": fits, "mean": each, "sixty": 60 * each}
        else:
            results[way] = child(args, way)
        print(way, json.dumps(results[way]), flush=True)
    if set(WAYS[:3]) <= set(results):
        search, parts = results["search"], results["parts"]
        whole = parts["extraction"] + parts["heads"]
        print(f"passes {search['passes']} of {args.n} structures")
        print(f"search / (extraction + heads): {search['seconds'] / whole:.2f}")
        separate = results["separate"]["sixty"]
        print(f"search / 60 separate fits: {search['seconds'] / separate:.3f}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
