"""Check the targets of structures."""

import numpy as np
from sklearn.utils import check_array, check_consistent_length

from .._validation import check_targets
from .read import describe


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
