"""Fit and predict random data: finite predictions with a positive std, or an error."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from sklearn.gaussian_process import kernels as gpk

from sklearn_unlocknn import VGPRegressor

EXPONENTS = st.integers(-150, 150)
NAMES = [
    "rbf", "matern12", "matern32", "matern52", "rbf_ard", "matern12_ard",
    "matern32_ard", "matern52_ard", "rational_quadratic", "linear",
]  # fmt: skip
OBJECTS = [
    gpk.RBF(0.5) + gpk.WhiteKernel(1e-10),
    (gpk.DotProduct(0.5) + gpk.ConstantKernel(0.3)) ** 3 + gpk.WhiteKernel(0.1),
    gpk.ConstantKernel(2.0, "fixed") * gpk.Matern(1e-3, nu=1.5),
    gpk.RBF(1e5) * gpk.DotProduct(10.0) + gpk.WhiteKernel(1.0, "fixed"),
    gpk.RationalQuadratic(1.0, 0.01) + gpk.RBF(1.0) ** 2,
    gpk.WhiteKernel(0.5),
]
PERIODIC = gpk.ExpSineSquared(1.0, 2.0) + gpk.WhiteKernel(0.1)
# What a user can do about it:
ADVICE = ", expected", "Pass", "Check", "Choose"


@st.composite
def columns(draw, rng, n, exponents=EXPONENTS):
    """Return a column of any scale, with a mean, repeated values or an outlier."""
    kind = draw(st.sampled_from(["normal", "constant", "levels", "outlier", "zeros"]))
    values = rng.normal(size=n)
    if kind == "constant":
        values[:] = values[0]
    elif kind == "levels":
        values = np.round(values)
    elif kind == "outlier":
        values[-1] *= 10.0 ** draw(st.integers(0, 20))
    elif kind == "zeros":
        values[:] = 0.0
    shift = draw(st.sampled_from([0.0, 0.0, 1.0, 1e3, -1e12]))
    return (values + shift) * 10.0 ** draw(exponents)


@st.composite
def tables(draw, rng, n, d):
    """Return X of any type, in which samples may repeat."""
    dtype = draw(st.sampled_from([np.float64] * 4 + [np.float32, np.int64]))
    limits = {np.float32: (-37, 10), np.int64: (0, 3)}.get(dtype, (-150, 150))
    exponents = st.integers(*limits)
    if draw(st.booleans()):  # one for all columns
        exponents = st.just(draw(exponents))
    X = np.column_stack([draw(columns(rng, n, exponents)) for _ in range(d)])
    X = X.clip(-(2.0**62), 2.0**62) if dtype is np.int64 else X
    if draw(st.booleans()):
        X = X[rng.integers(0, max(1, n // 2), size=n)]
    return X.astype(dtype)


@st.composite
def kernels(draw, d):
    if draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from([*OBJECTS, PERIODIC][: 7 if d == 1 else 6]))
    if draw(st.integers(0, 3)) == 0:
        return None
    term = st.lists(st.sampled_from(NAMES), min_size=1, max_size=2).map(" * ".join)
    return " + ".join(draw(st.lists(term, min_size=1, max_size=3)))


@st.composite
def problems(draw):
    """Return an unfitted model, its data and new samples."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d = draw(st.integers(1, 30)), draw(st.integers(1, 4))
    X = draw(tables(rng, n, d))
    n_outputs = draw(st.sampled_from([None, None, 1, 2, 3]))
    y = np.column_stack([draw(columns(rng, n)) for _ in range(n_outputs or 1)])
    if draw(st.booleans()):  # a function of X
        with np.errstate(all="ignore"):
            share = np.tanh(X[:, :1] / (np.abs(X[:, :1]).max() or 1.0))
        y = share * np.abs(y).max(axis=0)
    y = y if n_outputs else y[:, 0]
    weights = draw(st.sampled_from([None, None, None, 1.0, 1e-6, 1e6]))
    if weights is not None:
        weights = weights * rng.integers(0, 4, size=n) * rng.uniform(size=n)
    model = VGPRegressor(
        kernel=draw(kernels(d)),
        n_inducing_points=draw(st.sampled_from([4000, 1, 2, 5, 15, 0.5])),
        inducing_init=draw(st.sampled_from(["kmeans", "greedy", "random"])),
        optimize_inducing_points=draw(st.integers(0, 3)) == 0,
        mean=draw(st.sampled_from(["zero", "constant", "linear"])),
        max_iter=draw(st.integers(0, 4)),
        hyper_subset_size=draw(st.sampled_from(["auto", "auto", 2, 10])),
        normalize_y=draw(st.integers(0, 5)) > 0,
        random_state=draw(st.integers(0, 3)),
    )
    far = 10.0 ** draw(st.integers(-5, 305)) * rng.normal(size=(2, d))
    most = 2.0**62 if X.dtype.kind == "i" else float(np.finfo(X.dtype).max) / 1e3
    times = 10.0 ** draw(st.integers(0, 300))
    with np.errstate(over="ignore"):  # of what is clipped
        new = [far, -3.0 * X[:1], times * X[:1].astype(float)]
    new = [np.clip(part, -most, most).astype(X.dtype) for part in new]
    return model, X, y, weights, new


def is_sound_or_refused(predict, X):
    """Check predictions, or the message of an error; return whether it predicts."""
    try:
        mean, std = predict(X)
    except ValueError as error:
        message = str(error)
    else:
        assert np.all(np.isfinite(mean)), mean
        assert np.all(np.isfinite(std)), std
        assert np.all(std > 0.0), std
        return True
    note(message)
    assert any(word in message for word in ADVICE)
    return False


def check(problem):
    """Fit, predict each new sample, then add new samples and predict again."""
    model, X, y, weights, new = problem
    note(f"{model}\nX={X!r}\ny={y!r}\nweights={weights!r}\nnew={new!r}")

    def after_fit(X_new):
        return model.fit(X, y, sample_weight=weights).predict(X_new, return_std=True)

    def predict(X_new):
        return model.predict(X_new, return_std=True)

    def after_update(X_new):
        return model.partial_fit(X_new, y[: len(X_new)]).predict(X_new, True)

    if is_sound_or_refused(after_fit, X):
        for sample in np.vstack(new):
            is_sound_or_refused(predict, sample[None])
        for part in new:
            is_sound_or_refused(after_update, part[: len(y)])


pytestmark = pytest.mark.filterwarnings(
    "ignore:The covariance of the:RuntimeWarning",
    "ignore:Number of distinct clusters:sklearn.exceptions.ConvergenceWarning",
)
# A busy machine is no fault of the data.
ANY = settings(
    deadline=None, database=None, derandomize=True, print_blob=False,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.mark.filterwarnings("ignore:The fit ended at")
@pytest.mark.filterwarnings("ignore:y is constant in the outputs")
@settings(ANY, max_examples=150)
@given(problems())
def test_predictions_are_finite_or_refused(problem):
    check(problem)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The fit ended at")
@pytest.mark.filterwarnings("ignore:y is constant in the outputs")
@settings(ANY, max_examples=10_000)
@given(problems())
def test_predictions_of_many_problems_are_finite_or_refused(problem):
    check(problem)
