"""Names and units of the target, and numbers as text."""

import math
import unicodedata
from dataclasses import dataclass


@dataclass
class Quantity:
    """The predicted quantity, which is the target or its decadic logarithm.

    Parameters
    ----------
    target, unit : str or None
        Name and unit of the target.
    log10 : bool
        Whether predictions are of its logarithm.
    """

    target: str | None
    unit: str | None
    log10: bool = False

    def __post_init__(self):
        self.target = None if self.target is None else clean(self.target)
        self.unit = None if self.unit is None else clean(self.unit)

    @property
    def name(self):
        """Name of the predicted quantity."""
        if not self.log10:
            return self.target or "target"
        unit = self.unit or ""
        unit = f"({unit})" if "/" in unit or " " in unit else unit
        return f"log10({self.target or 'target'}{unit and f' / {unit}'})"

    @property
    def units(self):
        """Units of errors and std; None where they are not stated."""
        return "log10" if self.log10 else self.unit

    def number(self, value):
        """Return an error or std with its units."""
        if self.log10:
            return f"{number(value)} in log10"
        return f"{number(value)} {self.unit}" if self.unit else number(value)

    def in_units(self, value):
        """Return a value of the predicted quantity in units of the target."""
        if not self.log10:
            return value
        return 10.0**value if value < 300 else math.inf


def number(value, digits=3):
    """Return a number as text of some digits, with a true minus sign."""
    if value is None or math.isnan(value):
        return "not defined"
    text = f"{value:.{digits}g}"
    if "e" in text and 1e3 <= abs(value) < 1e6:
        text = f"{value:.0f}"
    return text.replace("-", "\N{MINUS SIGN}").replace("inf", "infinite")


def percent(share, n):
    """Return a share as text, as precise as a share of n samples may be."""
    return f"{100 * share:.{1 if n >= 200 else 0}f} %"


def clean(text, most=200):
    """Return a text without characters that HTML and XML must not have, shortened."""
    text = "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(c) in ("Cc", "Cs", "Cn", "Co")
        or c in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068"
        else c
        for c in " ".join(str(text).split())
    )
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"
