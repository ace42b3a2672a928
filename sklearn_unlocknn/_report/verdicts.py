"""Figures of an assessment in plain words."""

import math
from typing import NamedTuple

import numpy as np

from .units import percent

#: With fewer samples only gross faults show.
FEW = 30
#: Deviations of a coverage that do not matter though no chance, that are slight, far.
_NEARLY, _SLIGHT, _FAR = 0.02, 0.05, 0.15
#: A rank correlation below this does not help, however many samples show it.
_WEAK = 0.1
#: A share outside the domain above which the data are of another kind.
_MANY_OUTSIDE = 0.15


class IntervalVerdict(NamedTuple):
    """How the intervals of one nominal coverage do."""

    nominal: float
    share: float
    low: float
    high: float
    width: float
    verdict: str


def interval_verdicts(assessment):
    """Judge the intervals of each coverage against chance alone.

    The range of chance is Wilson's 95 % interval of the binomial proportion.
    """
    from scipy.stats import binomtest

    n, verdicts = assessment.n, []
    for nominal, row in assessment.figures["intervals"].items():
        inside = round(row["coverage"] * n)
        chance = binomtest(inside, n).proportion_ci(0.95, method="wilson")
        share = inside / n
        if chance.low <= nominal <= chance.high:
            verdict = "as stated, within chance"
        elif (gap := abs(share - nominal)) < _NEARLY:
            verdict = "nearly as stated"
        else:
            degree = "slightly " if gap < _SLIGHT else "far " if gap > _FAR else ""
            side = "too narrow" if share < nominal else "too wide"
            verdict = f"{degree}{side}"
        width = row["mean_interval_width"]
        verdicts.append(
            IntervalVerdict(nominal, share, chance.low, chance.high, width, verdict)
        )
    return verdicts


def summary(assessment, verdicts):
    """Return one sentence on the error bars, and whether all is well."""
    n = assessment.n
    found = [one.verdict for one in verdicts]
    narrow = any("narrow" in text for text in found)
    wide = any("wide" in text for text in found)
    well = not (narrow or wide)
    if n < FEW:
        text = f"{n} sample{'s are' if n > 1 else ' is'} too few to judge error bars"
        return text + ("." if well else "; what shows is a gross fault."), False
    if well:
        nearly = "nearly as stated" in found
        text = "nearly as stated" if nearly else "as stated, within chance"
        return f"The error bars are {text}.", True
    if narrow and wide:
        text = (
            "Some intervals are too narrow and others too wide: the distribution has "
            "another shape."
        )
    else:
        faults = [text for text in found if "too" in text]
        slight = "slightly " if all("slightly" in text for text in faults) else ""
        side, than = ("narrow", "larger") if narrow else ("wide", "smaller")
        text = f"The error bars are {slight}too {side}: errors are {than} than stated."
    return text, False


def sentences(assessment, verdicts, quantity):
    """Describe the figures, in a sentence or two each."""
    a, found = assessment, []
    mae = a.figures["point"]["mae"]
    text = f"Predictions are off by {quantity.number(mae)} on average (MAE)"
    if quantity.log10:
        text += f", a factor of {quantity.in_units(mae):.3g}"
    if a.n > 1 and np.ptp(a.y) > 0:
        plain = np.abs(a.y - a.y.mean()).mean()
        text += (
            "; the mean of these targets alone would be off by "
            f"{quantity.number(plain)}"
        )
    elif a.n > 1:
        text += "; all targets are equal, so that there is nothing to predict"
    found.append(_sentence(text))
    for one in verdicts:
        found.append(
            f"{100 * one.nominal:g} % intervals hold {percent(one.share, a.n)} of the "
            f"targets (95 % range by chance: {percent(one.low, a.n)} to "
            f"{percent(one.high, a.n)}): {one.verdict}."
        )
    found += _on_bias(a, quantity)
    found += _on_ranking(a)
    found += on_domain(a, quantity)
    return found


def _sentence(text):
    return text if text.endswith(".") else f"{text}."  # a unit may end in one


def _on_bias(a, quantity):
    if a.n < 3:
        return []
    mean, se = a.error.mean(), a.error.std(ddof=1) / math.sqrt(a.n)
    if se == 0 or abs(mean) <= 2 * se:
        return []
    side = "high" if mean > 0 else "low"
    text = f"Predictions are too {side} by {quantity.number(abs(mean))} on average"
    return [f"{text} (standard error {quantity.number(se)})."]


def _on_ranking(a):
    rho = a.figures["ranking"]["error_uncertainty_correlation"]
    if a.n < FEW or math.isnan(rho):
        return []
    text = f"rank correlation {rho:.2f}"
    if rho > max(2 / math.sqrt(a.n), _WEAK):
        return [f"Predictions of larger std have larger errors ({text})."]
    return [f"The std does not separate large errors from small ones here ({text})."]


def on_domain(a, quantity):
    """Describe domain scores and neighbours in sentences."""
    if a.outside is None:
        return ["The domain is not known: this model keeps no training samples."]
    k, n, found = int(a.outside.sum()), a.n, []
    text = (
        f"{k} of {n} samples {'is' if k == 1 else 'are'} outside the domain of the "
        "training data (harder to predict than 95 % of it)"
    )
    if a.y is not None and 0 < k < n:
        error = np.abs(a.error)
        text += (
            f": their MAE is {quantity.number(error[a.outside].mean())}, that of the "
            f"others {quantity.number(error[~a.outside].mean())}"
        )
    found.append(_sentence(text))
    if n >= FEW and k > _MANY_OUTSIDE * n:
        found.append(
            "That many are no chance: these samples are of another kind than the "
            "training data."
        )
    if a.n_repeated:
        found.append(
            f"{a.n_repeated} of {n} samples are the same as a training sample, up to "
            "rounding. If they were in the fit, these figures are better than those of "
            "new samples."
        )
    return found
