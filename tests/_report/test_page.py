"""The HTML file of a report: what it states, and that it needs nothing else."""

import builtins
import os

import numpy as np
import pytest
from _megnet.megnet_nets import quick
from _report.conftest import make_data
from _report.pages import report

import sklearn_unlocknn
from sklearn_unlocknn import VGPRegressor, read_model_card, save_model, write_report
from sklearn_unlocknn._report.units import number
from sklearn_unlocknn.calibration import CalibratedProbRegressor
from sklearn_unlocknn.metrics import uq_by_group, uq_report
from sklearn_unlocknn.prediction import domain_score, nearest_training

HOSTILE = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', r"$\frac{$_^",
    "{{ 7 * 7 }}{% raw %}", "a\x00b\x1b[31m\u202ecod\ud800", "体积模量", "x" * 5000,
    "' onload='alert(1)", "]]></svg><p>",
]  # fmt: skip


def test_page_states_the_figures(model, held_out, tmp_path):
    X, y = held_out
    groups = np.where(X[:, 0] > 0, "right", "left")
    page = report(
        model, X, y, tmp_path, target="height", unit="cm", groups=groups, coverage=0.8
    )
    mean, std = model.predict(X, return_std=True)
    quantiles = lambda q: model.predict_quantiles(X, q)  # noqa: E731
    want = uq_report(
        y, mean, std, quantiles=quantiles, coverages=(0.5, 0.8, 0.9, 0.95),
        log_density=lambda y: model.predict_log_density(X, y), output_dict=True,
    )  # fmt: skip
    figures = {row["Figure"]: row["Value"] for row in page.table("Accuracy")}
    assert figures["MAE"] == f"{number(want['point']['mae'])} cm"
    assert figures["CRPS"] == f"{number(want['proper']['crps'])} cm"
    assert figures["NLL (nats)"] == number(want["proper"]["nll"])
    intervals = page.table("Share of targets")
    assert [row["Nominal"] for row in intervals] == ["50 %", "80 %", "90 %", "95 %"]
    for row, values in zip(intervals, want["intervals"].values(), strict=True):
        assert row["Observed"] == f"{100 * values['coverage']:.1f} %"
        assert row["Mean width"] == f"{number(values['mean_interval_width'])} cm"
        assert f"intervals hold {row['Observed']} of the targets" in page.text
        assert row["Verdict"] in page.text
    table = uq_by_group(y, mean, std, groups, quantiles=quantiles)
    rows = page.table("Largest mean absolute error first")
    assert [row["Group"] for row in rows] == list(table.index)
    assert [row["MAE"] for row in rows] == [f"{number(v)} cm" for v in table["mae"]]

    worst = page.tables["Largest errors"]
    first = dict(zip(worst[0], worst[1], strict=True))
    i = int(np.argmax(np.abs(mean - y)))
    score, rank = domain_score(model, X[[i]], return_rank=True)
    assert first["Sample"] == f"no. {i}"
    assert first["Observed (cm)"] == number(y[i], 4)
    assert first["Domain score"].startswith(f"{score[0]:.2f}")
    assert ("outside" in first["Domain score"]) == (rank[0] < 0.05)
    nearest = nearest_training(model, X[[i]], 3)
    pairs = zip(nearest["index"], nearest["target"], strict=True)
    names = [f"no. {k} ({number(target, 4)})" for k, target in pairs]
    assert first["Nearest in training (cm)"] == "; ".join(names)
    worst = page.tables["Largest errors for their std (|z|)"]
    assert worst[1][0] == f"no. {np.argmax(np.abs(mean - y) / std)}"

    outside = int((domain_score(model, X, return_rank=True)[1] < 0.05).sum())
    assert f"{outside} of 250 samples" in page.text
    assert page.terms["Model"] == "VGPRegressor"
    assert page.terms["Training samples"] == "120"
    assert sklearn_unlocknn.__version__ in page.terms["Program"]
    assert "UTC" in page.terms["Date"]
    assert len(page.images) == 5
    assert all(b"(cm)" in svg for svg in page.pictures()[1:])


def test_names_of_others_are_text(model, held_out, tmp_path):
    X, y = held_out
    n = len(HOSTILE)
    card = {
        "model": HOSTILE[0], "parameters": HOSTILE[1], "estimators": [HOSTILE[1], 3],
        "formulas": [HOSTILE[7], None], "held_out": {"intervals": HOSTILE[0]},
        "versions": {HOSTILE[0]: HOSTILE[4]}, "n_samples": [1], "target": 3,
    }  # fmt: skip
    for target in HOSTILE:
        page = report(
            model, X[:n], y[:n], tmp_path, target=target, unit=target, names=HOSTILE,
            groups=HOSTILE, card=card,
        )  # fmt: skip
        kinds = {tag for tag, _ in page.tags}
        assert kinds.isdisjoint({"script", "p><", "svg"})
        assert "{{ 7 * 7 }}" in page.text
        assert not {"\x00", "\x1b", "\u202e"} & set(page.text)
        assert page.terms["Model"] == "<script>alert(1)</script>"
    assert "体积模量" in page.text


def test_structures_have_formulas_and_elements(tiny_frozen, crystals, tmp_path):
    y = np.log10([len(crystal) for crystal in crystals])
    model = quick(tiny_frozen, on_error="nan", descriptors=["element_fractions"])
    model.fit(crystals[:12], y[:12])
    save_model(
        model, tmp_path / "m", X=crystals[:12], target="n", unit="1", log10=True,
        held_out=uq_report(y, y, y + 1, output_dict=True),
    )  # fmt: skip
    card = read_model_card(tmp_path / "m")
    (tmp_path / "bad.cif").write_text("<b>nothing</b>")
    items = [*crystals[12:], tmp_path / "bad.cif"]
    page = report(model, items, [*y[12:], 1.0], tmp_path, card=card)
    assert "Report on predictions of log10(n / 1)" in page.text
    (row,) = page.table("1 of 13 samples without")
    assert row["Sample"].endswith("bad.cif")
    assert "cannot be read as CIF" in row["Reason"]
    first = dict(zip(*page.tables["Largest errors"][:2], strict=True))
    names = [crystal.composition.reduced_formula for crystal in crystals[12:]]
    assert first["Formula"] in names
    assert first["Observed (1)"] in "12345678"
    assert page.terms["Training samples"] == "12"
    assert "MAE 0" in page.terms["Samples held out when it was fitted"]
    table = page.pictures()[5]
    assert table.count(b"Ti<") + table.count(b"Ti\n") == 1
    assert "Periodic table" in page.images[5]["alt"]


def test_without_targets(model, held_out, tmp_path):
    X, _ = held_out
    page = report(model, X, None, tmp_path)
    assert "their errors are not known" in page.text
    assert "The unit of the target was not stated" in page.text
    assert len(page.images) == 1
    std = model.predict(X, return_std=True)[1]
    assert page.tables["Largest std"][1][0] == f"no. {np.argmax(std)}"
    assert "Accuracy" not in page.text


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_rows(n, model, held_out, tmp_path):
    X, y = held_out
    page = report(model, X[:n], y[:n], tmp_path, groups=["a"] * n)
    assert "too few to judge error bars" in page.text
    assert len(page.images) == 5


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("constant", lambda y: np.full_like(y, 5.0)),
        ("missing", lambda y: np.where(np.arange(len(y)) % 3, y, np.nan)),
        ("huge", lambda y: 1e100 * y),
    ],
)
def test_odd_targets(name, change, model, held_out, tmp_path):
    X, y = held_out
    page = report(model, X, change(y), tmp_path)
    if name == "constant":
        assert "all targets are equal" in page.text
    if name == "missing":
        assert f"{sum(np.arange(250) % 3 == 0)} of 250 samples without" in str(
            page.tables.keys()
        )
        assert page.table("84 of 250")[0]["Reason"] == "the target is nan"


@pytest.mark.filterwarnings("ignore:.*infinite")
def test_infinite_intervals_and_zero_std(training, held_out, tmp_path):
    X, y = training
    model = CalibratedProbRegressor(
        VGPRegressor("rbf", max_iter=2, random_state=0), method="conformal", cv=2
    ).fit(X[:12], y[:12])
    page = report(model, *held_out, tmp_path)
    assert "infinite" in page.table("Share of targets")[2]["Mean width"]

    class Certain:
        def predict(self, X, return_std=False):
            return np.asarray(X)[:, 0], np.zeros(len(X))

        def __sklearn_tags__(self):
            return model.__sklearn_tags__()

    page = report(Certain(), *held_out, tmp_path, card={"model": "Certain"})
    assert "far too narrow" in page.text


def test_ten_thousand_rows_make_a_small_file(model, tmp_path):
    X, y = make_data(10_000, seed=3)
    page = report(model, X, y, tmp_path, names=[f"sample {i}" for i in range(10_000)])
    assert os.path.getsize(tmp_path / "report.html") < 1_500_000
    assert "10000" in page.text
    assert "Colours are numbers among 10000 predictions" in page.text


def test_a_report_is_whole_or_not_there(model, held_out, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("mine")
    X, y = held_out
    with pytest.raises(ValueError, match="y of shape"):
        write_report(model, X, y[1:], path)
    full = os.replace

    def fail(*args):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        write_report(model, X, y, path)
    monkeypatch.setattr(os, "replace", full)
    assert os.listdir(tmp_path) == ["report.html"]
    assert path.read_text() == "mine"
    with pytest.raises(OSError, match="There is no folder"):
        write_report(model, X, y, tmp_path / "gone" / "report.html")
    (tmp_path / "link").symlink_to(path)
    write_report(model, X, y, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("library", "name"), [("jinja2", "Jinja2"), ("matplotlib.pyplot", "matplotlib")]
)
def test_a_missing_library_is_named_with_its_extra(
    library, name, model, held_out, tmp_path, monkeypatch
):
    whole = builtins.__import__

    def without(wanted, *args, **kwargs):
        if wanted == library:
            raise ImportError(wanted)
        return whole(wanted, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=rf"{name}.*sklearn-unlocknn\[plot\]"):
        write_report(model, *held_out, tmp_path / "r.html")
    assert os.listdir(tmp_path) == []
