"""Each example of the gallery runs, draws its pictures and prints true figures."""

import re
from pathlib import Path

import numpy as np
from example_runs import EXAMPLES, needs_data, run

SAVE_FIGURES = """
import pathlib, runpy, sys, warnings, matplotlib.pyplot as plt
warnings.simplefilter("error", UserWarning)
runpy.run_path(sys.argv[1], run_name="__main__")
for n in plt.get_fignums():
    plt.figure(n).savefig(pathlib.Path(sys.argv[2], f"{n}.png"))
"""


def run_gallery(name, folder):
    """Run an example; return its output and the number of its pictures."""
    out = run(["-c", SAVE_FIGURES, EXAMPLES / f"plot_{name}.py", folder], folder)
    return out, len(list(folder.glob("*.png")))


def rows_of(table):
    """Return the figures at the end of each printed line by its first words."""
    rows = {}
    for line in table.splitlines():
        if found := re.fullmatch(r"(.+?)((?:\s+-?[\d.]+)+)", line):
            rows[found[1].strip()] = [float(value) for value in found[2].split()]
    return rows


def test_every_example_is_tested_here():
    tested = re.findall(r"run_gallery\(\"(\w+)\"", Path(__file__).read_text())
    names = [path.stem.removeprefix("plot_") for path in EXAMPLES.glob("plot_*.py")]
    assert sorted(tested) == sorted(names)


def test_judge_models(tmp_path):
    out, n_pictures = run_gallery("judge_models", tmp_path)
    assert n_pictures == 4
    nll, crps, _, area = zip(*rows_of(out).values(), strict=True)
    # linear, ensemble, VGP
    assert nll[2] > max(nll[:2])
    assert crps[2] > max(crps[:2])
    assert area[1] < area[2]


def test_recalibration(tmp_path):
    out, n_pictures = run_gallery("recalibration", tmp_path)
    assert n_pictures == 2
    rows = rows_of(out)
    shares = [rows[str(level)][::2] for level in (50, 68, 80, 90, 95)]
    levels = np.array([[50], [68], [80], [90], [95]])
    off = np.abs(shares - levels).max(axis=0)
    assert len(off) == 4
    assert off[0] > 10  # percentage points, before
    # 4 is three standard errors of a share of 1400; calibration samples vary too
    assert off[1:].max() < 8
    areas = [-rows[name][2] for name in ("before", "std", "isotonic", "conformal")]
    assert max(areas[1:]) < 0.7 * areas[0]


def test_domain_of_applicability(tmp_path):
    out, n_pictures = run_gallery("domain_of_applicability", tmp_path)
    assert n_pictures == 4
    tables = [part.split("outside the domain")[0] for part in out.split("group")[1:]]
    without, ten = map(rows_of, tables)
    nitrides, others = map(int, re.findall(r"outside the domain: +(\d+)%", out))
    assert nitrides > 80
    assert others < 15
    assert without["N"][2] > max(v[2] for k, v in without.items() if k != "N")
    least = min(v[3] for k, v in without.items() if k != "N")
    assert without["N"][3] < 0.3  # coverage
    assert 2 * without["N"][3] < least
    assert ten["N"][3] > 0.8
    assert ten["N"][1] < 0.5 * without["N"][1]  # mean absolute error


@needs_data
def test_megnet_nearest_perovskites(tmp_path):
    out, n_pictures = run_gallery("megnet_nearest_perovskites", tmp_path)
    assert n_pictures == 1
    assert "758 held out" in out
    at_random, *shares = map(int, re.findall(r"same A or B.+: (\d+)%", out))
    assert at_random < 6
    assert shares == sorted(shares, reverse=True)
    assert shares[0] >= 75
    assert shares[-1] >= 40


def test_next_experiment(tmp_path):
    out, n_pictures = run_gallery("next_experiment", tmp_path)
    assert n_pictures == 1
    random, mean, improvement = map(float, re.findall(r": ([\d.]+) on average", out))
    assert random < min(mean, improvement)
    assert improvement >= mean


@needs_data
def test_batches_of_experiments(tmp_path):
    out, n_pictures = run_gallery("batches_of_experiments", tmp_path)
    assert n_pictures == 1
    toughness, modulus = out.split("bulk modulus")
    goal = float(re.search(r"best 10 % ([\d.]+)", toughness)[1])
    assert 34.9 < goal < 35.1  # as published
    for part in (toughness, modulus):
        found = re.findall(r"experiments, (.+?) +: (\w+)", part)
        counts = {name: float(count) for name, count in found}
        assert len(counts) == 3
        batches = counts.pop("select_batch")
        assert batches <= min(counts.values())
        assert batches <= (40 if part == toughness else 48)


@needs_data
def test_varying_noise(tmp_path):
    out, n_pictures = run_gallery("varying_noise", tmp_path)
    assert n_pictures == 1
    one, varying = map(float, re.findall(r"NLL ([\d.]+)", out))
    assert "student_t, varying" in out
    assert varying < one - 0.2
    assert 86 <= int(re.search(r"hold (\d+)%", out)[1]) <= 94


def test_skewed_target(tmp_path):
    out, n_pictures = run_gallery("skewed_target", tmp_path)
    assert n_pictures == 2
    rows = rows_of(out)
    error, logarithm = rows["mean absolute error"]
    assert logarithm < 0.9 * error
    below, logarithm = rows["95 % intervals that reach below zero"]
    assert below > 0.5
    assert logarithm == 0


def test_grid_search(tmp_path):
    out, n_pictures = run_gallery("grid_search", tmp_path)
    assert n_pictures == 2
    assert "'kernel': 'matern52_ard + linear'" in out
    area = float(re.search(r"miscalibration area, interval +([\d.]+)", out)[1])
    assert area < 0.05


def test_keras_network(tmp_path):
    out, n_pictures = run_gallery("keras_network", tmp_path)
    assert n_pictures == 1
    assert "177 samples" in out


@needs_data
def test_megnet_bulk_modulus(tmp_path):
    out, n_pictures = run_gallery("megnet_bulk_modulus", tmp_path)
    assert n_pictures == 4
    assert "791 samples" in out
    mae = float(re.search(r"MAE +([\d.]+)", out)[1])
    assert mae < 0.1  # log10 GPa; the readout alone has 0.11
    expected, found = re.search(r"(\d+) are\nexpected to, and (\d+) do", out).groups()
    assert abs(int(expected) - int(found)) < 10
