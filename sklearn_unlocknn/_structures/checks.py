"""Check lists of structures and their targets."""

import numpy as np
from sklearn.utils import check_array, check_consistent_length

from .._validation import check_targets
from .read import as_items, describe


def check_structure_targets(y, items, start=0):
    """Return y as float64; name the structure, counted from start, of y not finite."""
    if y is not None:
        y = check_array(
            y, ensure_2d=False, dtype=float, ensure_all_finite=False, input_name="y"
        )
        check_consistent_length(items, y)
        bad = ~np.isfinite(y.reshape(len(y), -1)).all(axis=1)
        if bad.any():
            i = int(np.argmax(bad))
            raise ValueError(
                f"The target of structure {start + i} ({describe(items[i])}) is {y[i]} "
                f"({bad.sum()} of {len(bad)} targets are not finite). Leave these "
                "structures out, or fill in their targets."
            )
    return check_targets(y)


def as_list(X):
    """Return structures as a list with at least one of them."""
    items = list(as_items(X))
    if not items:
        raise ValueError(
            "Got an empty list, expected at least one structure: pymatgen Structure "
            "or Molecule, ASE Atoms, MEGNet graph, or the path of a CIF or POSCAR file."
        )
    return items


def structure_tags(estimator, tags):
    """Return the tags of an estimator that takes structures."""
    tags.input_tags.two_d_array = False
    tags.input_tags.allow_nan = estimator.on_error == "nan"
    tags.no_validation = True
    return tags
