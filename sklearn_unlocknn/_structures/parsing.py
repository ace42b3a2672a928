"""What the readers of all formats share: errors in words, warnings, symbols."""

import contextlib
import re
import threading
import warnings

_LOCK = threading.RLock()


@contextlib.contextmanager
def recorded_warnings():
    """Record the warnings of a parser in a list of texts, which is filled at the end.

    Filters of warnings belong to the process: threads take turns.
    """
    texts = []
    with _LOCK, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield texts
        finally:
            texts += [
                str(warning.message)
                for warning in caught
                if issubclass(warning.category, UserWarning)
            ]


@contextlib.contextmanager
def reading(what):
    """Name the input in a parser's error, which may be a bare key."""
    try:
        yield
    except Exception as error:
        text = str(error) if str(error) else repr(error)
        text = re.sub(r"^No structure parsed for section \d+ in CIF\.\s*", "", text)
        if isinstance(error, ArithmeticError | LookupError):  # of the parser itself
            what += ", as it is cut off or damaged"
        reason = " ".join(f"{type(error).__name__}: {text}".split())
        raise ValueError(f"{what} ({reason})") from error


def leading_symbol(label):
    """Return the chemical symbol at the start of a label, as "Na" of "Na1", or None."""
    from pymatgen.core import Element

    match = re.match(r"[A-Z][a-z]?", label)
    symbols = [] if match is None else [match.group(), match.group()[0]]
    return next(filter(Element.is_valid_symbol, symbols), None)


def check_labels(labels, species):
    """Raise ValueError for a label that names another element than its site has.

    Labels are free text. They are held against the sites only if at least half of
    them start with the symbol of their site.

    Parameters
    ----------
    labels : sequence of str or None
        Label of each site.
    species : sequence of set of str
        Symbols of the elements of each site.
    """
    right = [
        label in kinds or leading_symbol(label or "") in kinds
        for label, kinds in zip(labels, species, strict=True)
    ]
    if all(right) or 2 * sum(right) < len(right):
        return
    for i, label in enumerate(labels):
        if not right[i] and leading_symbol(label or "") is not None:
            raise ValueError(
                f"site {i} is {' and '.join(sorted(species[i]))} and its label is "
                f"{label!r}: one of the two is wrong"
            )
