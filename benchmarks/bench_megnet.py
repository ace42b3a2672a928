"""MEGNetProbRegressor on real data: accuracy, calibration, time, and the layer.

    python benchmarks/bench_megnet.py DATA_FOLDER [--threads 2] [--parts ...]

Five-fold cross-validation (``KFold(5, shuffle=True, random_state=0)``) by the public
API, pretrained formation-energy network, default arguments, with a `memory` folder that
starts empty, so that the network runs once a structure. Figures are means over the
folds, of the model's own distribution; "Gaussian CRPS" is that of mean and standard
deviation. Parts, each in a process of its own:

accuracy  3787 perovskites from CIF text (eV) and 3953 binaries (log10 of the bulk and
          of the shear modulus in GPa), with descriptors and without
layers    the same by layer, without descriptors
fit       one whole fit on 3000 perovskites from CIF text, without `memory`, and what
          its steps take
std       a network with a target scaler as prior mean: the std must not take over the
          scaler's offset
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

NETWORK = "Eform_MP_2019"
LAYERS = ("auto", -4, -3, -2)
#: Data set -> unit, and the largest MAE and CRPS of a pass.
ASKED = {
    "perovskites": ("eV", 0.108, 0.077),
    "bulk": ("log10 GPa", 0.05, 0.039),
    "shear": ("log10 GPa", 0.098, 0.075),
}


FIGURES = (
    "MAE", "NLL", "CRPS", "gaussian_CRPS", "area_quantile", "area_interval", "cover_90",
)  # fmt: skip


def load(name, data):
    """Return structures and targets."""
    from sklearn_unlocknn.datasets import fetch_elasticity, fetch_perovskites

    if name == "perovskites":
        return fetch_perovskites(as_cif=True, data_home=data, return_X_y=True)
    X, y = fetch_elasticity(f"{name}_modulus_vrh", data_home=data, return_X_y=True)
    keep = np.flatnonzero(y > 0)
    return X[keep], np.log10(y[keep])


def cross_validate(name, layer, descriptors, data):
    """Return the row of a data set, a layer and the descriptors."""
    from sklearn.model_selection import KFold

    from sklearn_unlocknn import MEGNetProbRegressor

    X, y = load(name, data)
    rows, fits, predicts = [], [], []
    import_all()
    cpu = time.process_time()
    with tempfile.TemporaryDirectory() as memory:
        options = {"layer": layer, "memory": memory, "on_error": "nan"}
        options |= {"descriptors": descriptors, "random_state": 0}
        start = time.perf_counter()
        # Fills the folder
        MEGNetProbRegressor(NETWORK, max_iter=0, **options).fit(X, y)
        extraction = time.perf_counter() - start
        for train, test in KFold(5, shuffle=True, random_state=0).split(X):
            model = MEGNetProbRegressor(NETWORK, **options)
            start = time.perf_counter()
            model.fit(X[train], y[train])
            fitted = time.perf_counter()
            mean = model.predict(X[test], return_std=True)[0]
            fits.append(fitted - start)
            predicts.append(time.perf_counter() - fitted)
            some = test[np.isfinite(mean)]
            rows.append((len(some), *figures(model, X[some], y[some])))
    cpu = time.process_time() - cpu
    counts, *means = np.transpose(rows)
    means = np.average(means, axis=1, weights=counts)
    return {
        "data": name,
        "layer": layer,
        "descriptors": descriptors is not None,
        "rows": int(counts.sum()),
        "features": model.n_features_out_,
        **dict(zip(FIGURES, means.tolist(), strict=True)),
        "extract_s": extraction,
        "fit_s": float(np.mean(fits)),
        "predict_s": float(np.mean(predicts)),
        "total_s": extraction + sum(fits) + sum(predicts),
        "cpu_s": cpu,
    }


def figures(model, X, y):
    """Return the values of `FIGURES` for new samples."""
    from sklearn_unlocknn import metrics

    mean, std = model.predict(X, return_std=True)
    own = {"quantiles": lambda q: model.predict_quantiles(X, q)}
    return (
        np.abs(y - mean).mean(),
        -model.predict_log_density(X, y).mean(),
        metrics.gaussian_crps(y, mean, std, **own),
        metrics.gaussian_crps(y, mean, std),
        metrics.miscalibration_area(y, mean, std, kind="quantile", **own),
        metrics.miscalibration_area(y, mean, std, kind="interval", **own),
        metrics.interval_coverage(y, mean, std, coverage=0.9, **own),
    )


def whole_fit(data, n_rows):
    """Time a fit from nothing, imports aside."""
    import_all()
    from sklearn_unlocknn import MEGNetProbRegressor

    X, y = load("perovskites", data)
    start = time.perf_counter(), time.process_time()
    MEGNetProbRegressor(NETWORK, random_state=0).fit(X[:n_rows], y[:n_rows])
    stop = time.perf_counter(), time.process_time()
    wall, cpu = np.subtract(stop, start)
    return {"all": (wall, cpu)}


def steps_of_fit(data, n_rows):
    """Time the steps of the same fit, one after the other, likewise from nothing."""
    import_all()
    from sklearn_unlocknn import VGPRegressor
    from sklearn_unlocknn._megnet.network import MEGNetSnapshot
    from sklearn_unlocknn._structures.descriptors import (
        DESCRIPTOR_GROUPS,
        describe_structures,
    )
    from sklearn_unlocknn._structures.read import as_structure
    from sklearn_unlocknn.datasets import fetch_megnet_model

    X, y = load("perovskites", data)
    X, y, seconds = X[:n_rows], y[:n_rows], {}

    def timed(name, step):
        start = time.perf_counter(), time.process_time()
        result = step()
        stop = time.perf_counter(), time.process_time()
        seconds[name] = tuple(np.subtract(stop, start))
        return result

    def trace():
        network = MEGNetSnapshot.of(fetch_megnet_model(NETWORK, data_home=data))
        network.run([as_structure(X[0])], predict=True)
        return network

    network = timed("load and trace", trace)
    structures = timed("parse", lambda: [as_structure(x) for x in X])
    convert = network.converter.convert
    graphs = timed("convert", lambda: [convert(s) for s in structures])
    done = timed("network", lambda: network.run(graphs, predict=True))
    groups = DESCRIPTOR_GROUPS
    rows = timed("descriptors", lambda: describe_structures(structures, groups))
    table = np.hstack([done.features, rows])
    timed("GP", lambda: VGPRegressor(random_state=0).fit(table, y))
    return seconds


def import_all():
    """Import what a fit needs, which is not its cost."""
    import tensorflow  # noqa: F401

    from sklearn_unlocknn._gp import training  # noqa: F401
    from sklearn_unlocknn._megnet.compat import import_megnet

    import_megnet()


def check_std(data, n_rows, noise_std):
    """Compare std and errors of a model whose network has a target scaler."""
    from sklearn_unlocknn import MEGNetProbRegressor

    X, _ = load("perovskites", data)
    X = X[: 2 * n_rows]
    model = MEGNetProbRegressor("Efermi_MP_2019", mean="network", random_state=0)
    rng = np.random.default_rng(0)
    network = model.fit(X[:2], np.zeros(2)).network_
    y = network.predict(X)[:, 0] + noise_std * rng.standard_normal(len(X))
    model.fit(X[:n_rows], y[:n_rows])
    mean, std = model.predict(X[n_rows:], return_std=True)
    return {
        "noise": noise_std,
        "residual_std": float((mean - y[n_rows:]).std()),
        "mean_std": float(std.mean()),
        "scaler_mean": float(network.scaler.mean),
        "scaler_std": float(network.scaler.std),
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


def show(row):
    """Print a row of the cross-validation, and whether it reaches what was asked."""
    unit, mae, crps = ASKED[row["data"]]
    missed = [n for n, got in (("MAE", mae), ("CRPS", crps)) if row[n] > got]
    missed = missed if row["descriptors"] else []
    print(
        f"{row['data']:12}{row['layer']!s:>6}{row['rows']:6d}{row['features']:5d}"
        f"{row['MAE']:8.4f}{row['NLL']:8.3f}{row['CRPS']:8.4f}{row['gaussian_CRPS']:9.4f}"
        f"{row['area_quantile']:7.3f}"
        f"{row['area_interval']:7.3f}{row['cover_90']:7.3f}{row['extract_s']:8.1f}"
        f"{row['fit_s']:7.1f}{row['predict_s']:7.2f}{row['total_s']:8.1f}"
        f"{row['cpu_s']:8.1f}  {unit}"
        + (f"; misses {' and '.join(missed)}" if missed else ""),
        flush=True,
    )


def run_part(part, data, threads):
    """Run a part, print its table and return its rows."""
    if part in ("accuracy", "layers"):
        print(f"\n{'data':12}{'layer':>6}{'rows':>6}{'d':>5}{'MAE':>8}{'NLL':>8}"
              f"{'CRPS':>8}{'Gaussian':>9}{'area q':>7}{'i':>7}{'in 90':>7}"
              f"{'extract':>8}{'fit':>7}{'pred':>7}"
              f"{'all s':>8}{'CPU':>8}")  # fmt: skip
        rows = []
        settings = [("auto", "auto"), ("auto", "none")]
        if part == "layers":
            settings = [(layer, "none") for layer in LAYERS]
        for name in ASKED:
            for setting in settings:
                rows.append(child([data, "--child", "cv", name, *setting], threads))
                show(rows[-1])
        return rows
    if part == "fit":
        row = child([data, "--child", "fit"], threads)
        row.update(child([data, "--child", "steps"], threads))
        print("\n3000 perovskites, seconds by wall (by CPU)")
        for name, (wall, cpu) in row.items():
            print(f"{name:16}{wall:8.1f} ({cpu:.1f})", flush=True)
        return row
    row = child([data, "--child", "std"], threads)
    print("\nEfermi_MP_2019, mean='network', target = its output + noise of "
          f"{row['noise']} eV: mean std {row['mean_std']:.3f} eV, std of the residual "
          f"{row['residual_std']:.3f} eV (the scaler: mean {row['scaler_mean']:.2f}, "
          f"std {row['scaler_std']:.2f})", flush=True)  # fmt: skip
    return row


def run_child(task, data):
    if task[0] == "cv":
        layer = task[2] if task[2] == "auto" else int(task[2])
        descriptors = None if task[3] == "none" else task[3]
        return cross_validate(task[1], layer, descriptors, data)
    if task[0] == "fit":
        return whole_fit(data, 3000)
    if task[0] == "steps":
        return steps_of_fit(data, 3000)
    return check_std(data, 300, 0.1)


def main():
    parts = ("accuracy", "layers", "fit", "std")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--parts", nargs="+", default=list(parts), choices=parts)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["SKLEARN_UNLOCKNN_DATA"] = str(args.data.resolve())
    warnings.simplefilter("ignore")  # pymatgen tells of coordinates it rounds

    if args.child:
        print(json.dumps(run_child(args.child, args.data)))
        return
    load_average = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"{platform.machine()}, {args.threads} threads, load before {load_average}")
    results = {part: run_part(part, args.data, args.threads) for part in args.parts}
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
