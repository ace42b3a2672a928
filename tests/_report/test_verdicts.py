"""Verdicts in words are those of the figures."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import ndtri
from sklearn.dummy import DummyRegressor

from sklearn_unlocknn._report.assessment import assess
from sklearn_unlocknn._report.units import Quantity, clean, number
from sklearn_unlocknn._report.verdicts import interval_verdicts, sentences, summary


class Stated(DummyRegressor):
    """Predict 0 with a std of 1."""

    def predict(self, X, return_std=False):
        zeros = np.zeros(len(X))
        return (zeros, zeros + 1.0) if return_std else zeros


EV = Quantity("energy", "eV")


def judged(z):
    """Assess predictions whose standardised errors are given."""
    model = Stated().fit(np.zeros((2, 1)), [0.0, 1.0])
    result = assess(model, np.zeros((len(z), 1)), z)
    return result, interval_verdicts(result)


def normal(n, scale=1.0):
    """Return quantiles of a normal distribution."""
    return scale * ndtri((np.arange(n) + 0.5) / n)


@pytest.mark.parametrize(
    ("z", "words", "sentence"),
    [
        (normal(400), ["as stated, within chance"] * 3, "bars are as stated, within"),
        (normal(400, 2.0), ["far too narrow"] * 3, "are too narrow:"),
        (
            normal(40_000, 1.03),
            ["nearly as stated"] * 3,
            "The error bars are nearly as stated.",
        ),
        (
            normal(400, 1.12),
            ["as stated, within chance", *["slightly too narrow"] * 2],
            "bars are slightly too narrow: errors are larger",
        ),
        (normal(400, 0.4), ["far too wide", "too wide", "too wide"], "are too wide:"),
        (normal(12, 0.1), None, "12 samples are too few to judge error bars; what"),
        (normal(1), None, "1 sample is too few to judge error bars"),
        (
            np.concatenate([normal(300, 0.3), np.full(60, 5.0)]),
            None,
            "Some intervals are too narrow and others too wide",
        ),
    ],
    ids=["right", "narrow", "nearly", "slightly", "wide", "few", "one", "other shape"],
)
def test_verdict_of_known_errors(z, words, sentence):
    result, verdicts = judged(z)
    found = [one.verdict for one in verdicts]
    assert words is None or found == words
    text, well = summary(result, verdicts)
    assert sentence in text
    fine = {"as stated, within chance", "nearly as stated"}
    assert well == (len(z) >= 30 and set(found) <= fine)


def test_range_of_chance_is_wilsons():
    _, verdicts = judged(normal(100, 1.3))
    for one in verdicts:
        # the ends solve (share - p)^2 = 1.96^2 p (1 - p) / n
        ends = np.array([one.low, one.high])
        chance = ndtri(0.975) * np.sqrt(ends * (1 - ends) / 100)
        assert_allclose(np.abs(one.share - ends), chance, rtol=1e-6)


def test_sentences_state_bias_baseline_and_ranking():
    result, verdicts = judged(normal(100) + 1.0)
    text = " ".join(sentences(result, verdicts, EV))
    mae = np.abs(result.y).mean()
    plain = np.abs(result.y - result.y.mean()).mean()
    assert f"off by {number(mae)} eV on average" in text
    assert f"alone would be off by {number(plain)} eV" in text
    assert "Predictions are too low by 1 eV on average" in text
    assert "The domain is not known" in text
    equal, verdicts = judged(np.full(40, 0.1))
    assert "all targets are equal" in " ".join(sentences(equal, verdicts, EV))


def test_logarithms_are_stated_as_factors():
    quantity = Quantity("K", "GPa", log10=True)
    assert quantity.name == "log10(K / GPa)"
    assert Quantity("E", "eV/atom", True).name == "log10(E / (eV/atom))"
    assert Quantity(None, None, True).name == "log10(target)"
    result, verdicts = judged(np.full(40, np.log10(2.0)))
    assert "(MAE), a factor of 2;" in sentences(result, verdicts, quantity)[0]
    assert quantity.in_units(2.0) == 100.0
    assert quantity.in_units(1e4) == np.inf


def test_texts_and_numbers_are_clean():
    assert clean("a\x00\u202eb\n c\ud800") == "a\ufffd\ufffdb c\ufffd"
    assert len(clean("x" * 900)) == 200
    assert number(-0.00123) == "\u22120.00123"
    assert number(float("nan")) == "not defined"
    assert number(float("-inf")) == "\u2212infinite"
    assert number(12345.6) == "12346"
