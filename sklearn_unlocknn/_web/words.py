"""Numbers and results in words."""

import math


def number(value, digits=4):
    """Return a number with some significant digits, "-" for None."""
    if value is None:
        return "-"
    return f"{value:.{digits}g}".replace("-", "\N{MINUS SIGN}")


def plus_minus(mean, std, *others):
    """Return a mean, a standard deviation and others with digits that std allows."""
    values = (mean, std, *others)
    if not std or not math.isfinite(std):
        return tuple(number(value) for value in values)
    digits = 1 - math.floor(math.log10(std))
    if digits > 6 or abs(mean) >= 1e6:
        return tuple(number(value, 7) for value in values)
    digits = max(digits, 0)
    texts = ("-" if value is None else f"{value:.{digits}f}" for value in values)
    return tuple(text.replace("-", "\N{MINUS SIGN}") for text in texts)


def plural(n, word):
    """Return a count with its noun."""
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def domain_words(result):
    """Return how a structure stands to the training data, in two texts."""
    score, rank = result["domain"], result["domain_rank"]
    if rank is None:
        return "not known", (
            "The model file is of an old format, which keeps no training structures. "
            "Fit the model again to judge its domain."
        )
    share = f"{100 * rank:.0f} %"
    if result["outside"]:
        return "outside the domain of the training data", (
            f"The score is {score:.2f}: the structure is harder to predict than 95 % "
            f"of the training structures ({share} of them have a lower score). Its "
            "error may be larger than the error bar."
        )
    return "inside the domain of the training data", (
        f"The score is {score:.2f}, higher than that of {share} of the training "
        "structures. Below 5 % a structure counts as outside."
    )
