"""The report has the values of the metrics, in aligned columns."""

import json
import math
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose
from predictions import make_prediction
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from sklearn_unlocknn import metrics
from sklearn_unlocknn.metrics import uq_report


@pytest.mark.parametrize("n_outputs", [None, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_figures_are_those_of_the_metrics(n_outputs, weighted):
    args = make_prediction(100, n_outputs)
    kwargs = {"sample_weight": np.arange(100.0)} if weighted else {}
    report = uq_report(*args, output_dict=True, **kwargs)

    assert report["n_samples"] == 100 - weighted  # one weight is zero
    assert_allclose(report["point"]["mae"], mean_absolute_error(*args[:2], **kwargs))
    rmse = root_mean_squared_error(*args[:2], **kwargs)
    assert_allclose(report["point"]["rmse"], rmse)
    assert_allclose(report["point"]["r2"], r2_score(*args[:2], **kwargs))

    losses = metrics.gaussian_nll, metrics.gaussian_crps
    losses = [f(*args, **kwargs) for f in (*losses, metrics.mean_standardized_log_loss)]
    assert_allclose(list(report["proper"].values()), losses)
    for name in ("miscalibration_area", "root_mean_squared_calibration_error"):
        for kind in ("quantile", "interval"):
            value = getattr(metrics, name)(*args, kind=kind, **kwargs)
            assert_allclose(report["calibration"][f"{name}_{kind}"], value)
    ends = metrics.mean_squared_z_interval(*args, **kwargs)
    assert (report["squared_z"].pop("low"), report["squared_z"].pop("high")) == ends
    for section in ("squared_z", "sharpness", "ranking"):
        for name, value in report[section].items():
            assert_allclose(value, getattr(metrics, name)(*args, **kwargs))

    assert list(report["intervals"]) == [0.5, 0.8, 0.9, 0.95]
    for coverage, row in report["intervals"].items():
        for name, value in row.items():
            name = "interval_coverage" if name == "coverage" else name
            metric = getattr(metrics, name)
            assert_allclose(value, metric(*args, coverage=coverage, **kwargs))


def test_calibration_error_is_a_mean_over_levels():
    """A root mean square of shares, not a sum over 100 levels, which grows to 33."""
    y_true, y_pred = np.full(50, 1e9), np.zeros(50)
    report = uq_report(y_true, y_pred, np.ones(50), output_dict=True)["calibration"]
    name = "root_mean_squared_calibration_error_quantile"
    assert_allclose(report[name], math.sqrt(1 / 3), rtol=0.02)  # |p - 0|
    text = uq_report(y_true, y_pred, np.ones(50))
    assert re.search(rf"RMS calibration error, quantile +{report[name]:.3f} ", text)


def test_table_shows_every_figure():
    args = make_prediction(100)
    text = uq_report(*args, digits=4)
    report = uq_report(*args, output_dict=True)
    assert text.startswith("100 samples\n")
    sections = "point", "proper", "calibration", "squared_z", "sharpness", "ranking"
    for section in sections:
        for value in report[section].values():
            assert f" {value:.4f} " in text
    for nominal, row in report["intervals"].items():
        (line,) = [
            x for x in text.splitlines() if x.startswith(f"  nominal {nominal} ")
        ]
        assert line.split()[2:] == [f"{value:.4f}" for value in row.values()]


@pytest.mark.parametrize("digits", [1, 3, 6])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_columns_are_aligned_at_any_scale(digits, scale):
    text = uq_report(*[scale * a for a in make_prediction()], digits=digits)
    lines = text.splitlines()
    end = next(line.index("value") + 5 for line in lines if "value" in line)
    rows = [line for line in lines if line.startswith("  ")]
    assert len(rows) == 22
    for line in rows:
        assert line[end - 1] != " "
        assert len(line) == end or line[end] == " "
        float(line[:end].split()[-1])
    (mae,) = [line for line in rows if line.startswith("  MAE")]
    assert float(mae.split()[1]) > 0


def test_heavy_tails_are_stated():
    rng = np.random.default_rng(0)
    zero, one = np.zeros(2000), np.ones(2000)
    for dof, heavy in ((2.5, True), (3.0, True), (6.0, False), (np.inf, False)):
        y = rng.standard_t(dof, 2000) if dof < np.inf else rng.normal(size=2000)
        text = uq_report(y, zero, one)
        assert ("Heavy tails: the std is a poor summary" in text) == heavy
        report = uq_report(y, zero, one, output_dict=True)["squared_z"]
        assert (report["squared_z_skewness"] > 0.8) == heavy


def test_outputs_and_coverages_are_named():
    text = uq_report(*make_prediction(30, 2), coverages=[0.68])
    assert text.startswith("30 samples, mean over 2 outputs\n")
    assert "nominal 0.68" in text
    assert "nominal 0.95" not in text
    assert "Intervals" not in uq_report(*make_prediction(), coverages=())
    report = uq_report(*make_prediction(), output_dict=True)
    assert json.loads(json.dumps(report))["intervals"]["0.9"]["coverage"] > 0


def test_one_sample_constant_targets_and_zero_std():
    report = uq_report([1.0], [1.5], [0.5], output_dict=True)
    assert math.isnan(report["point"]["r2"])
    assert math.isnan(report["proper"]["msll"])
    assert uq_report([1.0], [1.5], [0.5]).startswith("1 sample\n")
    constant = uq_report(np.ones(5), np.arange(5.0), np.ones(5), output_dict=True)
    assert math.isnan(constant["proper"]["msll"])
    assert math.isfinite(constant["proper"]["nll"])
    text = uq_report([1.0, 2.0], [1.0, 2.5], [0.0, 0.0])
    (nll,) = [line for line in text.splitlines() if "NLL (nats)" in line]
    assert nll.split()[2] == "inf"


def test_errors():
    with pytest.raises(ValueError, match="Got coverage=95"):
        uq_report([1.0], [1.0], [1.0], coverages=[95])
    with pytest.raises(ValueError, match="1 of 1 samples"):
        uq_report([1.0], [np.nan], [1.0])


def test_groups_are_the_table_of_uq_by_group():
    args = make_prediction(100)
    labels = [{"Na", "Cl"}, {"Cl"}, "Si", "K"] * 25
    table = metrics.uq_by_group(*args, labels)
    report = uq_report(*args, groups=labels, output_dict=True)
    assert list(report["groups"]) == table.index.tolist()
    for label, row in report["groups"].items():
        assert_allclose(list(row.values()), table.loc[label])
    text = uq_report(*args, groups=labels)
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Groups"))
    assert lines[start].split() == (
        ["Groups", "MAE", "mean", "std", "in", "95", "%", "z", "mean", "z", "std", "n"]
    )
    for line, (label, row) in zip(lines[start + 1 :], table.iterrows(), strict=True):
        assert line.split()[0] == label
        assert line.split()[1] == f"{row['mae']:.3f}"
        assert line.split()[-1] == f"{row['n']:.0f}"
    assert text.startswith(uq_report(*args))


def test_groups_take_quantiles_and_neither_weights_nor_outputs():
    args = make_prediction(100)

    def wide(q):
        return np.where(np.asarray(q) < 0.5, -1e9, 1e9) + np.zeros((100, 1))

    labels = ["a", "b"] * 50
    report = uq_report(*args, groups=labels, quantiles=wide, output_dict=True)
    assert [row["coverage_95"] for row in report["groups"].values()] == [1.0, 1.0]
    with pytest.raises(ValueError, match="groups and sample_weight"):
        uq_report(*args, groups=labels, sample_weight=np.ones(100))
    with pytest.raises(ValueError, match="2 outputs, expected one"):
        uq_report(*make_prediction(100, 2), groups=labels)
    with pytest.raises(ValueError, match="groups of 3 samples, expected 100"):
        uq_report(*args, groups=["a", "b", "c"])
