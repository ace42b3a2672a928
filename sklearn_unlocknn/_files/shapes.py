"""Shapes of the arrays of a Gaussian process, which compiled code relies on."""

import numpy as np

from .archive import ModelFileError

#: Axes of the arrays of each type, by attribute; a letter is the same number in all
#: arrays of an object. Attributes that are not listed are not checked.
_AXES = {
    "Standardisation": {"x_mean": "d", "x_scale": "d"},
    "Head": {"y_mean": "k", "y_scale": "k", "curve": "i"},
    "ExactPosterior": {
        "theta": "t", "Z": "md", "alpha": "mk", "beta": "qk", "TT": "pp", "T": "mp",
        "weights": "m",
    },
    "SparsePosterior": {
        "theta": "t", "Z": "md", "alpha": "mk", "beta": "qk", "TT": "pp", "b": "mp",
        "Lb": "l",
    },
    "LocalPosterior": {
        "theta": "t", "beta": "qk", "X": "nd", "T": "np", "weights": "n",
    },
    "TrainingRecord": {
        "y": "rk", "t": "rk", "weights": "r", "low": "k", "high": "k",
    },
    "VaryingNoise": {"theta": "t", "Z": "md", "coefficients": "m"},
    "Level": {"coefficients": "m", "at_Z": "m"},
}  # fmt: skip


def check_shapes(name, state):
    """Raise unless the arrays of an object have the shapes that belong together."""
    sizes = {}
    for attribute, axes in _AXES.get(name, {}).items():
        array = state.get(attribute)
        if not (isinstance(array, np.ndarray) and array.dtype == np.float64):
            raise ModelFileError(f"{attribute!r} of a {name} in it is no array")
        if array.ndim != len(axes):
            raise ModelFileError(
                f"{attribute!r} of a {name} in it has the shape {array.shape}"
            )
        for axis, size in zip(axes, array.shape, strict=True):
            if sizes.setdefault(axis, size) != size:
                raise ModelFileError(
                    f"{attribute!r} of a {name} in it has the shape {array.shape}, "
                    f"which does not fit {sizes}"
                )
    # A triangle of the samples or inducing points, in LAPACK's packed form
    if "l" in sizes and sizes["l"] != sizes["m"] * (sizes["m"] + 1) // 2:
        raise ModelFileError(
            f"'Lb' of a {name} in it has {sizes['l']} values for {sizes['m']} points"
        )
    posterior, scaling = state.get("posterior"), state.get("scaling")
    if name == "Head" and posterior.Z.shape[1] != len(scaling.x_mean):
        raise ModelFileError(
            f"its Gaussian process has {posterior.Z.shape[1]} features, its "
            f"standardisation {len(scaling.x_mean)}"
        )
    scales = getattr(state.get("errors"), "output_scales", None)
    if name == "Head" and scales is not None and len(scales) != sizes["k"]:
        raise ModelFileError(f"its errors have {len(scales)} scales for {sizes}")
    if name == "LocalPosterior" and sizes["p"] != sizes["q"] + sizes["k"]:
        raise ModelFileError(f"'T' of a {name} in it does not fit {sizes}")
    if name.endswith("Posterior"):
        kernel = state.get("kernel")
        if kernel.n_features != sizes["d"] or len(kernel.theta) != sizes["t"]:
            raise ModelFileError(
                f"a kernel in it has {kernel.n_features} features and "
                f"{len(kernel.theta)} hyperparameters for arrays of {sizes}"
            )
