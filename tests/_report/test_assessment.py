"""Predictions and figures of a report, for each kind of model."""

import numpy as np
import pytest
from _megnet.megnet_nets import quick
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn import ProbNNRegressor, StructureDescriptors, VGPRegressor
from sklearn_unlocknn._prediction import own_keywords, predict_distribution
from sklearn_unlocknn._report.assessment import assess
from sklearn_unlocknn.calibration import CalibratedProbRegressor
from sklearn_unlocknn.compose import ProbTransformedTargetRegressor
from sklearn_unlocknn.metrics import uq_report
from sklearn_unlocknn.prediction import (
    domain_score,
    nearest_training,
    predict_interval,
)

VGP = VGPRegressor("rbf", max_iter=5, random_state=0)
KINDS = {
    "bare": VGP,
    "pipeline": make_pipeline(StandardScaler(), VGP),
    "search": GridSearchCV(VGP, {"kernel": ["rbf", "linear"]}, cv=2),
    "calibrated": CalibratedProbRegressor(VGP, method="std", cv=3),
    "conformal": CalibratedProbRegressor(VGP, method="conformal", cv=3),
    "transformed": ProbTransformedTargetRegressor(
        VGP, func=np.log, inverse_func=np.exp
    ),
    "student t": VGPRegressor(
        "rbf", likelihood="student_t", noise="constant", max_iter=5, random_state=0
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_figures_are_those_of_uq_report(kind, training, held_out):
    model = KINDS[kind].fit(*training)
    X, y = held_out
    result = assess(model, X, y, coverage=0.8)
    mean, std = getattr(model, "best_estimator_", model).predict(X, return_std=True)
    own = own_keywords(uq_report, predict_distribution(model, X))
    want = uq_report(
        y, mean, std, **own, coverages=(0.5, 0.8, 0.9, 0.95), output_dict=True
    )
    for section, values in want.items():
        if section in ("n_samples", "n_outputs"):
            assert result.figures[section] == values
        elif section == "intervals":
            assert list(result.figures[section]) == [0.5, 0.8, 0.9, 0.95]
            for coverage, row in values.items():
                assert_allclose(
                    list(result.figures[section][coverage].values()),
                    list(row.values()), rtol=1e-9,
                )  # fmt: skip
        else:
            for key, value in values.items():
                assert_allclose(result.figures[section][key], value, rtol=1e-9)
    assert_allclose(result.ends, predict_interval(model, X, 0.8), rtol=1e-9)

    score, rank = domain_score(model, X, return_rank=True)
    assert_allclose(result.score, score, rtol=1e-9)
    assert_array_equal(result.outside, rank < 0.05)
    table = nearest_training(model, X, 3)
    got = [one for near in result.neighbours for one in near]
    assert [one.name for one in got] == [f"no. {i}" for i in table["index"]]
    assert_allclose([one.distance for one in got], table["distance"], atol=1e-9)
    if kind == "transformed":  # targets of the GP are logarithms
        assert {one.target for one in got} == {None}
    else:
        assert_allclose([one.target for one in got], table["target"])
    assert result.n_repeated == 0
    assert assess(model, *training).n_repeated == len(training[1])


def test_network_on_numbers(keras3_net, small_data):
    X, y = small_data
    model = ProbNNRegressor(keras3_net, kernel="rbf", max_iter=2, random_state=0)
    result = assess(model.fit(X[:40], y[:40]), X[40:], y[40:])
    assert result.figures["n_samples"] == 20
    assert result.formulas is None
    assert result.score.shape == (20,)


def test_regressor_of_others_has_no_domain(training, held_out):
    result = assess(BayesianRidge().fit(*training), *held_out)
    assert result.figures["n_samples"] == 250
    assert result.outside is None
    assert result.neighbours is None


@pytest.mark.parametrize("descriptors", [None, ["element_fractions"]])
def test_structures_that_fail_are_left_out_with_reasons(
    tiny_frozen, crystals, tmp_path, descriptors
):
    y = np.arange(24.0)
    model = quick(tiny_frozen, on_error="nan", descriptors=descriptors)
    model.fit(crystals[:12], y[:12])
    files = []
    for i, crystal in enumerate(crystals[12:18]):
        files.append(tmp_path / f"{i}.cif")
        crystal.to(filename=str(files[-1]))
    files[1].write_text("nothing")
    y[15] = np.nan
    result = assess(model, files, y[12:18])
    assert_array_equal(result.positions, [0, 2, 4, 5])
    (one, name, reason), (other, _, no_target) = result.failures
    assert (one, name, other) == (1, str(files[1]), 3)
    assert "cannot be read as CIF" in reason
    assert no_target == "the target is nan"
    assert result.names == [str(files[i]) for i in (0, 2, 4, 5)]
    whole = [crystals[i].composition.reduced_formula for i in (12, 14, 16, 17)]
    assert result.formulas == whole
    mean, std = model.predict([files[i] for i in (0, 2, 4, 5)], return_std=True)
    assert_allclose(result.mean, mean)
    assert_allclose(result.std, std)
    known = nearest_training(model, [files[2]], 3)
    names = [one.name for one in result.neighbours[1]]
    if descriptors is None:
        assert names == [f"no. {i}" for i in known["index"]]
    else:
        assert names == known["formula"].tolist()
    with pytest.raises(ValueError, match=r"None of 1 samples.*\n.*1.cif: .*CIF"):
        assess(model, files[1:2], [1.0])


def test_structures_through_a_pipeline_and_beside_numbers(crystals):
    y = np.array([len(crystal) for crystal in crystals], float)
    steps = StructureDescriptors(["composition"]), VGP
    result = assess(make_pipeline(*steps).fit(crystals[:16], y[:16]), crystals[16:])
    want = [crystal.composition.reduced_formula for crystal in crystals[16:]]
    assert result.formulas == want
    X = steps[0].transform(crystals)
    model = steps[1].fit(X[:16], y[:16])
    beside = assess(model, X[16:], structures=crystals[16:])
    assert beside.formulas == want
    assert_allclose(beside.mean, result.mean)
    assert assess(model, X[16:17], structures=["NaCl"]).formulas == ["NaCl"]


@pytest.mark.parametrize(
    ("arguments", "options", "match"),
    [
        ((np.empty((0, 2)), None), {}, "no samples"),
        ((np.zeros((3, 2)), [1.0]), {}, r"y of shape \(1,\), expected \(3,\)"),
        ((np.zeros((3, 2)), [np.nan] * 3), {}, "Pass y=None"),
        ((np.zeros((3, 2)), None), {"groups": [1]}, "groups of 1 samples, expected 3"),
        ((np.zeros((3, 2)), None), {"names": "ab"}, "names of 2 samples, expected 3"),
        ((np.zeros((3, 2)), None), {"coverage": 95}, "coverage=95"),
        ((np.zeros((3, 2)), None), {"structures": ["NaCl"]}, "structures of 1"),
        ((np.zeros((3, 2)), None), {"groups": [None] * 3}, "no label"),
    ],
)
def test_wrong_arguments_are_named(arguments, options, match, model):
    with pytest.raises(ValueError, match=match):
        assess(model, *arguments, **options)


def test_several_targets_and_models_without_std_are_refused(training):
    X, y = training
    two = VGPRegressor("rbf", max_iter=1).fit(X, np.column_stack([y, -y]))
    with pytest.raises(ValueError, match="model of 2 targets, expected one"):
        assess(two, X)
    with pytest.raises(TypeError, match="no return_std"):
        assess(WithoutStd(), X)
    with pytest.raises(TypeError, match="expected samples with a length"):
        assess(two, iter(X))


class WithoutStd(BayesianRidge):
    """A regressor without std."""

    def predict(self, X):
        return np.zeros(len(X))
