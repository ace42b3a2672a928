"""Convert X to the arrays that a network takes."""

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import check_consistent_length, validate_data


def network_inputs(estimator, X, specs, reset):
    """Check X against a network's inputs and return one array for each of them.

    For several inputs X is a list or tuple with an array for each input in the
    network's order, a dict of arrays by input name, a frame whose columns are named
    after the inputs, or a 2-D array with the columns of all inputs side by side.
    ``specs`` is the list of `InputSpec`, None if unknown. Sets ``n_features_in_`` and
    ``feature_names_in_`` of the estimator, or compares with them. Raises ValueError
    when X does not fit the inputs, or holds NaN or infinity.
    """
    if isinstance(X, dict) and specs is not None:
        names = [spec.name for spec in specs]
        if sorted(X) != sorted(names):
            raise ValueError(
                f"Got a dict with the keys {list(X)}, expected an array for each input "
                f"of the network, {names}."
            )
        X = tuple(X[name] for name in names) if len(names) > 1 else X[names[0]]
    if specs is None:
        if _is_several(X, None):
            parts = [_checked(x, f"input {i}") for i, x in enumerate(X)]
            _record_width(estimator, parts, reset)
            return [p.astype(np.float32) if p.dtype.kind == "f" else p for p in parts]
        X = validate_data(estimator, X, reset=reset, dtype=np.float32, allow_nd=True)
        return [X]
    if len(specs) == 1:
        if np.ndim(X) > 2 and not hasattr(X, "columns"):
            # scikit-learn would hold later X to the second axis, which may be free
            X = _checked(X, specs[0].name, specs[0])
            if reset:
                _record_width(estimator, [X], reset)
            return [_cast(X, specs[0])]
        text = specs[0].dtype == "string"
        X = validate_data(
            estimator,
            X,
            reset=reset,
            dtype=None if text else "numeric",
            ensure_all_finite=not text,
        )
        return [_cast(X, specs[0])]
    names = [spec.name for spec in specs]
    if _is_several(X, len(specs)):
        parts = [
            _checked(x, name, s) for x, name, s in zip(X, names, specs, strict=True)
        ]
        _record_width(estimator, parts, reset)
        return [_cast(part, spec) for part, spec in zip(parts, specs, strict=True)]
    if hasattr(X, "iloc") or hasattr(X, "get_columns"):  # pandas or polars
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        columns = _split_columns(X.columns, specs)
        rows = getattr(X, "iloc", X)
        parts = [rows[:, columns[name]] for name in names]
    else:
        if isinstance(X, list | tuple) and any(np.ndim(x) > 1 for x in X):
            raise ValueError(
                f"Got {len(X)} arrays in X, but the network has {len(specs)} inputs: "
                f"{names}. Pass one array for each, in this order."
            )
        X = validate_data(estimator, X, reset=reset)
        sizes = [spec.size for spec in specs]
        if None in sizes or sum(sizes) != X.shape[1]:
            raise ValueError(
                f"Got an array of shape {X.shape} for the {len(specs)} inputs {names} "
                f"of sizes {sizes}. Pass a list with one array for each input, a "
                "DataFrame with columns named after the inputs, or an array with the "
                "columns of all inputs side by side."
            )
        parts = np.split(X, np.cumsum(sizes)[:-1], axis=1)
    return [
        _cast(_checked(part, spec.name, spec), spec)
        for part, spec in zip(parts, specs, strict=True)
    ]


def _is_several(X, n_inputs):
    """Return whether X is a list of one array per input, not a list of samples."""
    if not isinstance(X, list | tuple) or n_inputs not in (None, len(X)):
        return False
    if n_inputs is None:
        return isinstance(X, tuple) or (
            len(X) > 0 and all(np.ndim(x) > 1 and hasattr(x, "shape") for x in X)
        )
    return all(hasattr(x, "shape") or np.ndim(x) > 1 for x in X) or (
        len(X) != 0 and isinstance(X, tuple)
    )


def _checked(X, name, spec=None):
    text = spec is not None and spec.dtype == "string"
    return check_array(
        X,
        dtype=None if text else "numeric",
        ensure_all_finite=not text,
        ensure_2d=False,
        allow_nd=True,
        input_name=f"X[{name!r}]",
    )


def _record_width(estimator, parts, reset):
    """Keep or compare the number of values in a sample, over all inputs."""
    check_consistent_length(*parts)
    width = sum(int(np.prod(part.shape[1:], dtype=int)) for part in parts)
    if reset:
        estimator.n_features_in_ = width
        if hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
    elif width != estimator.n_features_in_:
        raise ValueError(
            f"X has {width} features in {len(parts)} arrays, but "
            f"{type(estimator).__name__} is expecting {estimator.n_features_in_} "
            "features as input."
        )


def _split_columns(columns, specs):
    """Assign the columns of a frame to inputs: {input name: positions}."""
    names = sorted((spec.name for spec in specs), key=len, reverse=True)
    split = {name: [] for name in names}
    strays = []
    for position, column in enumerate(columns):
        nested = isinstance(column, tuple)  # a MultiIndex: level 0 names the input
        label = str(column[0] if nested else column)
        for name in names:
            if label == name or (not nested and label.startswith(name + "_")):
                split[name].append(position)
                break
        else:
            strays.append(column)
    if strays or not all(split.values()):
        raise ValueError(
            f"The columns of X do not name the network's inputs {sorted(names)}: "
            f"inputs without columns {[n for n in names if not split[n]]}, columns of "
            f"no input {strays[:10]}. Name a column as its input or '<input>_...', or "
            "use a MultiIndex with the input as level 0."
        )
    return split


def _cast(X, spec):
    """Convert checked samples to an input's shape and type."""
    wanted = ("n_samples", *spec.shape)
    if X.ndim == 2 and spec.size == X.shape[1]:
        X = X.reshape(len(X), *spec.shape)  # flattened images, or columns
    matches = X.ndim == 1 + len(spec.shape) and all(
        want in (None, got) for want, got in zip(spec.shape, X.shape[1:], strict=True)
    )
    if not matches:
        got = int(np.prod(X.shape[1:], dtype=int))
        raise ValueError(
            f"X has {got} features (shape {X.shape}) for the network's input "
            f"{spec.name!r}, which takes {spec.size or 'another number of'} features "
            f"(shape {wanted}). Pass the columns the network was trained on, in the "
            "same order.".replace("'n_samples'", "n_samples")
        )
    if spec.dtype == "string":
        return X.astype(str).astype(object)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = X.astype(np.float32 if spec.dtype == "bfloat16" else spec.dtype)
    if cast.dtype.kind in "iu" and not np.array_equal(cast, X):
        raise ValueError(
            f"Got numbers that are not whole for the network's input {spec.name!r} or "
            f"exceed the range of its type, {spec.dtype}. Encode them as such integers "
            "and do not scale them."
        )
    if cast.dtype.kind == "f" and not np.isfinite(cast).all():
        raise ValueError(
            f"X has values too large for {spec.dtype}, which the network's input "
            f"{spec.name!r} takes. Scale them as in training."
        )
    return cast
