"""Extraction by a frozen MEGNet beside megnet's own ``predict_graphs``.

    python benchmarks/bench_extraction.py DATA_FOLDER [--threads 2] [--repeats 5]
    python benchmarks/bench_extraction.py DATA_FOLDER --memory

Same pretrained network (formation energy), same graphs, same threads, one process for
each set of sizes. Everybody has one warm pass first (tracing is not counted for
anybody), then passes take turns. Ours computes the default features *and* the
network's prediction, megnet's the prediction alone; the predictions are compared. On a
machine with other jobs look at CPU time and at the best of the passes.
``--memory`` streams structures that are made on the fly and prints the peak memory of
the process on the way.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

NETWORK = "Eform_MP_2019"
SETS = {
    "perovskites": "perovskites, 5 atoms",
    "rattled": "perovskites, each atom displaced by .05 angstrom",
    "elasticity": "binaries, mixed",
    "supercells": "supercells, 5 to 150 atoms",
}
# Cells along the three axes: 5 to 150 atoms of a perovskite.
SUPERCELLS = ((1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2), (3, 2, 2), (3, 3, 2),
              (3, 3, 3), (5, 3, 2))  # fmt: skip
CHECKPOINTS = {"perovskites": (1_000, 10_000, 100_000), "supercells": (1_000, 5_000)}


def structures_of(name, data, n):
    """Return n structures of a set."""
    from sklearn_unlocknn.datasets import fetch_elasticity, fetch_perovskites

    rng = np.random.default_rng(0)
    if name == "elasticity":
        # Some ions have no neighbour within the network's cutoff: see `usable`.
        return list(rng.permutation(fetch_elasticity(data_home=data).data)[:n])
    cells = rng.permutation(fetch_perovskites(data_home=data).data)
    if name == "perovskites":
        return list(cells[:n])
    if name == "rattled":  # without symmetry, so that no two bonds are alike
        return [rattled(cell, rng) for cell in cells[:n]]
    return [supercell(cells[i % len(cells)], rng) for i in range(n)]


def rattled(cell, rng):
    cell = cell.copy()
    for i in range(len(cell)):
        step = rng.normal(size=3)
        cell.translate_sites([i], 0.05 * step / np.linalg.norm(step), frac_coords=False)
    return cell


def supercell(cell, rng):
    return cell.make_supercell(
        SUPERCELLS[rng.integers(len(SUPERCELLS))], in_place=False
    )


def usable(network, structures):
    """Return the structures that can be converted, and what megnet makes of them."""
    made = network.graphs(structures)
    structures = [
        s for s, g in zip(structures, made, strict=True) if not isinstance(g, Exception)
    ]
    return structures, [network.converter.convert(s) for s in structures]


def take_turns(passes, repeats):
    """Time callables in turns; return seconds by wall and by CPU of every pass."""
    results = {name: run() for name, run in passes.items()}
    seconds = {name: [] for name in passes}
    for _ in range(repeats):
        for name, run in passes.items():
            start = time.perf_counter(), time.process_time()
            run()
            stop = time.perf_counter(), time.process_time()
            seconds[name].append(np.subtract(stop, start))
    return results, {k: np.array(v) for k, v in seconds.items()}


def load(data):
    """Return the network as this package and as megnet load it."""
    from sklearn_unlocknn._megnet.compat import import_megnet
    from sklearn_unlocknn._megnet.network import MEGNetSnapshot
    from sklearn_unlocknn.datasets import fetch_megnet_model

    file = fetch_megnet_model(NETWORK, data_home=data)
    import_megnet()
    from megnet.models import MEGNetModel

    return MEGNetSnapshot.of(file), MEGNetModel.from_file(str(file))


def run_speed(name, data, n, repeats):
    """Compare the passes on one set of sizes; return its row of the table."""
    ours, megnet = load(data)
    structures, graphs = usable(ours, structures_of(name, data, n))
    passes = {
        "ours": lambda: ours.run(graphs, predict=True),
        "megnet": lambda: megnet.predict_graphs(graphs),
        "ours_structures": lambda: ours.run(structures, predict=True),
        "megnet_structures": lambda: megnet.predict_structures(structures),
    }
    results, seconds = take_turns(passes, repeats)
    difference = np.abs(results["ours"].prediction - results["megnet"]).max()
    n = len(graphs)
    row = {"set": name, "n": n, "difference": float(difference)}
    row["n_atoms"] = float(results["ours"].n_atoms.mean())
    for key, taken in seconds.items():
        mine = seconds["ours_structures" if "structures" in key else "ours"]
        for statistic in (np.median, np.min):
            (wall, cpu), own = statistic(taken, axis=0), statistic(mine, axis=0)
            row[f"{key} {statistic.__name__}"] = {
                "per_s": n / wall,
                "cpu_ms": 1e3 * cpu / n,
                "wall_ratio": wall / own[0],
                "cpu_ratio": cpu / own[1],
            }
    return row


def run_cif(data, n, repeats):
    """Time extraction from CIF text by the number of processes."""
    from sklearn_unlocknn._structures.read import as_structure
    from sklearn_unlocknn.datasets import fetch_perovskites

    ours, megnet = load(data)
    texts = list(fetch_perovskites(as_cif=True, data_home=data).data[:n])
    passes = {
        "megnet": lambda: megnet.predict_structures([as_structure(t) for t in texts]),
        "n_jobs=1": lambda: ours.run(texts, predict=True, n_jobs=1),
        "n_jobs=2": lambda: ours.run(texts, predict=True, n_jobs=2),
    }
    _, seconds = take_turns(passes, repeats)
    walls = {key: np.median(taken[:, 0]) for key, taken in seconds.items()}
    return {key: len(texts) / wall for key, wall in walls.items()}


def strained(cells, n, rng, name):
    """Make n structures on the fly: cells again and again, randomly strained."""
    for i in range(n):
        cell = cells[i % len(cells)]
        cell = supercell(cell, rng) if name == "supercells" else cell.copy()
        yield cell.apply_strain(rng.uniform(-0.02, 0.02, 3), inplace=False)


def run_memory(name, data):
    """Stream structures; print the peak memory at the checkpoints."""
    from sklearn_unlocknn._megnet.network import MEGNetSnapshot
    from sklearn_unlocknn.datasets import fetch_megnet_model, fetch_perovskites

    ours = MEGNetSnapshot.of(fetch_megnet_model(NETWORK, data_home=data))
    cells = list(fetch_perovskites(data_home=data).data)
    ours.run(cells[:10], predict=True)
    rows = [{"structures": 0, "peak_MB": peak(), "seconds": 0.0}]
    due, start, done = list(CHECKPOINTS[name]), time.perf_counter(), 0
    made = strained(cells, due[-1], np.random.default_rng(0), name)
    for chunk in ours.stream(made, predict=True):
        if not np.isfinite(chunk.features).all():
            raise ValueError(f"Features that are not finite after {done} structures.")
        done += len(chunk.features)
        if done >= due[0]:
            due.pop(0)
            seconds = time.perf_counter() - start
            rows.append({"structures": done, "peak_MB": peak(), "seconds": seconds})
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def peak():
    """Return the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


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


def show_speed(row):
    """Print the table of a set of sizes; the best pass in parentheses."""
    print(f"\n{SETS[row['set']]}: {row['n']} structures of {row['n_atoms']:.0f} atoms; "
          f"predictions differ by at most {row['difference']:.1e}")  # fmt: skip
    print(f"{'median (best)':20}{'per s':>14}{'CPU ms each':>16}{'wall ratio':>16}"
          f"{'CPU ratio':>16}")  # fmt: skip
    for key in ("ours", "megnet", "ours_structures", "megnet_structures"):
        median, best = row[f"{key} median"], row[f"{key} min"]
        cells = f"{median['per_s']:7.0f} ({best['per_s']:4.0f})"
        for name in ("cpu_ms", "wall_ratio", "cpu_ratio"):
            cells += f"{median[name]:9.2f} ({best[name]:5.2f})"
        print(f"{key:20}{cells}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sets", nargs="+", default=[*SETS, "cif"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[1024, 1024, 1024, 128])
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # pymatgen tells of coordinates it rounds

    sizes = dict(zip(SETS, args.sizes, strict=True))
    if args.child:
        if args.memory:
            made = run_memory(args.child, args.data)
        elif args.child == "cif":
            made = run_cif(args.data, sizes["perovskites"], args.repeats)
        else:
            made = run_speed(args.child, args.data, sizes[args.child], args.repeats)
        print(json.dumps(made))
        return

    load_average = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"{platform.machine()}, {args.threads} threads, load before {load_average}")
    results = {}
    common = [args.data, "--repeats", args.repeats, "--sizes", *args.sizes]
    if args.memory:
        for name in [name for name in args.sets if name in CHECKPOINTS]:
            rows = child([args.data, "--memory", "--child", name], args.threads)
            results[name] = rows
            print(f"\n{SETS[name]}\n{'structures':>12}{'peak MB':>10}{'seconds':>10}")
            for row in rows:
                print(f"{row['structures']:12d}{row['peak_MB']:10.0f}"
                      f"{row['seconds']:10.1f}", flush=True)  # fmt: skip
    else:
        for name in args.sets:
            row = child([*common, "--child", name], args.threads)
            results[name] = row
            if name == "cif":
                print("\nfrom CIF text of perovskites, per s: "
                      + ", ".join(f"{k} {v:.0f}" for k, v in row.items()))  # fmt: skip
            else:
                show_speed(row)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
