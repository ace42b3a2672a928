"""Test the head: samples without features, its posteriors, the limits of float64."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process import kernels as gpk
from small_fits import KERNEL, fit, make_data

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._gp.encoded import Encoded
from sklearn_unlocknn._gp.head import Head
from sklearn_unlocknn._gp.posterior import ExactPosterior, SparsePosterior
from sklearn_unlocknn._gp.samples import Targets


@pytest.fixture(scope="module")
def data():
    return make_data()


@pytest.mark.parametrize(
    ("params", "exact"),
    [
        ({"n_inducing_points": 80}, True),
        ({"n_inducing_points": 1.0}, True),
        ({"n_inducing_points": 79}, False),
        ({"inducing_init": np.zeros((1, 2))}, False),
        ({"n_inducing_points": 80, "optimize_inducing_points": True}, True),
    ],
    ids=str,
)
def test_as_many_points_as_distinct_samples_are_exact(data, params, exact):
    X, y = np.vstack(2 * [data[0]]), np.hstack([data[1], data[1] + 1.0])
    if params.get("n_inducing_points") == 1.0:
        params = {**params, "n_inducing_points": 0.5}
    model = fit((X, y), max_iter=0, **params)
    kind = ExactPosterior if exact else SparsePosterior
    assert type(model._head.posterior) is kind


@pytest.mark.parametrize(("ratio", "first"), [(990.0, 0), (1010.0, 1)])
def test_a_thousand_times_the_median_noise_is_too_much_for_scales(data, ratio, first):
    (X, y), std = data, np.full(80, 3.0)
    std[0] *= ratio
    scaling = VGPRegressor(KERNEL, max_iter=0).fit(X, y, y_std=std)._head.scaling
    assert_allclose(scaling.x_mean, X[first:].mean(axis=0))
    assert_allclose(scaling.x_scale, X[first:].std(axis=0))


def test_samples_of_little_noise_beside_many_of_none_count_for_scales(data):
    (X, y), std = data, np.zeros(80)
    std[50:] = 1e-3
    scaling = VGPRegressor(KERNEL, max_iter=0).fit(X, y, y_std=std)._head.scaling
    assert_allclose(scaling.x_scale, X.std(axis=0))


@pytest.mark.parametrize("n_points", [8, 40])
@pytest.mark.parametrize("two", [False, True])
def test_samples_without_features_or_weight_are_as_if_absent(n_points, two):
    """Fit, update and leave out a batch of which some samples are not valid."""
    X, y = make_data()
    y = np.column_stack([y, X[:, 0]]) if two else y
    weights = np.arange(80) % 3 + 0.5
    weights[[5, 60]] = 0.0
    index = np.setdiff1d(np.arange(80), [0, 7, 41, 79])
    spoiled = y.copy()
    spoiled[[0, 5, 7, 41, 60, 79]] = 1e9
    first = np.arange(80) < 50
    params = VGPRegressor(KERNEL, n_points, max_iter=0, random_state=0)

    def encoded(chosen):
        some = index[chosen[index]]
        place = np.flatnonzero(chosen)
        return Encoded(X[some], None, None, np.searchsorted(place, some), chosen.sum())

    def mute(*_):
        pass

    def targets(chosen):
        return Targets(spoiled[chosen], weights[chosen])

    head = Head.fit(encoded(first), targets(first), params, mute)
    kept = index[weights[index] > 0]
    plain = VGPRegressor(KERNEL, n_points, max_iter=0, random_state=0)
    some = kept[first[kept]]
    plain.fit(X[some], y[some], weights[some])
    got = head.mean_and_std(encoded(first))
    assert_array_equal(
        np.isnan(got[0]).reshape(50, -1)[:, 0], np.isin(np.arange(50), [0, 7, 41])
    )
    want = plain.predict(X[some], return_std=True)
    assert_allclose(np.array(got)[:, some], want)

    folds = np.array_split(np.arange(50), 4)[:3]  # others are in no fold
    got = head.leave_out(encoded(first), targets(first), folds)
    place = np.full(80, -1)
    place[some] = np.arange(len(some))
    parts = [place[fold][place[fold] >= 0] for fold in folds]
    batch = Encoded(X[some])
    want = plain._head.leave_out(batch, Targets(y[some], weights[some]), parts)
    assert_allclose(np.array(got)[:, some], want)
    assert np.all(np.isnan(got[0][38:]))

    head = head.update(encoded(~first), targets(~first), params)
    some = kept[~first[kept]]
    plain.partial_fit(X[some], y[some], weights[some])
    got = head.mean_and_std(Encoded(X))
    assert_allclose(got, plain.predict(X, return_std=True))
    assert_allclose(head.posterior.elbo - head.log_det, plain.elbo_)


def test_nothing_to_fit_is_named(data):
    X, y = data
    weights = (np.arange(80) < 3).astype(float)
    encoded = Encoded(X[3:], index=np.arange(3, 80), n=80)
    with pytest.raises(ValueError, match="both features and a positive weight"):
        Head.fit(encoded, Targets(y, weights), VGPRegressor(), None)


PREDICTIONS = [
    lambda model, X: model.predict(X),
    lambda model, X: model.predict(X, return_std=True)[1],
    lambda model, X: model.predict(X, return_cov=True)[1],
    lambda model, X: model.predict_quantiles(X, [0.5]),
    lambda model, X: model.predict_components(X)[1],
    lambda model, X: model.sample_y(X),
]


@pytest.mark.parametrize("predict", PREDICTIONS)
def test_sample_whose_prediction_overflows_is_named(data, predict):
    X, y = data
    model = fit((X, np.column_stack([y, 1e150 * y])), kernel="linear", mean="linear")
    new = X[:5].copy()
    new[3] = [1e200, 0.0]
    times = 1e200 / X[:, 0].std()
    message = rf"prediction of sample 3 exceeds .* {times:.0e} standard deviations"
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        predict(model, new)
    assert np.all(np.isfinite(predict(model, X[:5])))


def test_sample_is_named_by_its_place_in_the_batch(data):
    model = fit(data, kernel="linear")
    head = model._head
    features = np.array([[0.0, 5.0], [1e300, 5.0]])
    encoded = Encoded(features, index=np.array([1, 4]), n=6)
    for predict in (head.mean_and_std, head.mean_and_covariance):
        with pytest.raises(ValueError, match="prediction of sample 4 exceeds"):
            predict(encoded)


def test_batch_without_features_has_no_predictions(data):
    head = fit(data)._head
    encoded = Encoded(np.empty((0, 2)), index=np.arange(0), n=3)
    for values in (*head.components(encoded), head.mean(encoded)):
        assert_array_equal(values, np.full(3, np.nan))
    assert head.sample(encoded, 2, np.random.RandomState(0)).shape == (3, 2)


@pytest.mark.parametrize("kernel", ["rbf", "matern12", "matern32", "matern52"])
def test_prior_is_predicted_as_far_as_samples_go(data, kernel):
    """Predict it without an effect on the other samples of the batch."""
    model = fit(
        data, kernel=kernel, mean="constant", likelihood="gaussian", noise="constant"
    )
    far = 10.0 ** np.arange(5, 301, 5)[:, None] * [1.0, -1.0]
    mean, std = model.predict(far, return_std=True)
    assert_allclose(mean, mean[0], rtol=1e-12)
    variance = model.kernel_.k1.constant_value * data[1].var()
    assert_allclose(std, np.hypot(np.sqrt(variance), model.noise_std_))
    both = np.array(model.predict(np.vstack([data[0], far]), return_std=True))
    alone = np.array(model.predict(data[0], return_std=True))
    assert_allclose(both[:, :80], alone, rtol=1e-8)


@pytest.mark.parametrize("kernel", ["rbf", "matern12", "matern32", "matern52"])
@pytest.mark.parametrize("n_points", [10, 80])
def test_far_sample_does_not_change_the_covariance_of_others(data, kernel, n_points):
    model = fit(data, kernel=kernel, n_inducing_points=n_points, max_iter=5)
    near = data[0][:4] + 0.1
    want = model.predict(near, return_cov=True)[1]
    for far in (1e4, 1e8, 1e160):
        new = np.vstack([near, np.full((1, 2), far)])
        got = model.predict(new, return_cov=True)[1]
        assert_allclose(got[:4, :4], want, rtol=1e-6, atol=1e-8 * want.max())
        std = model.predict(new, return_std=True)[1]
        assert_allclose(np.diag(got), std**2, rtol=1e-8)


@pytest.mark.parametrize("n_points", [10, 80])
def test_std_of_a_linear_kernel_grows_with_the_distance(data, n_points):
    model = fit(data, kernel="linear", n_inducing_points=n_points)
    centre = data[0].mean(axis=0)
    for times in (1e20, 1e80, 1e140):
        near, far = model.predict_components(centre + np.array([[1e3], [times]]))[1]
        assert_allclose(far / near, times / 1e3, rtol=1e-3)


@pytest.mark.parametrize("unit", [1e-150, 1e-100, 1e100, 1e150])
@pytest.mark.parametrize("n_points", [10, 80])
def test_units_of_features_and_targets_cancel(data, unit, n_points):
    X, y = data
    params = {"n_inducing_points": n_points, "max_iter": 0}
    want = np.array(fit(data, **params).predict(X, return_std=True))
    model = fit((X * unit, y / unit), **params)
    got = np.array(model.predict(X * unit, return_std=True))
    assert_allclose(got * unit, want, rtol=1e-6)


def test_values_whose_squares_overflow_are_refused(data):
    X, y = data
    with pytest.raises(ValueError, match=r"squares exceed .* none beyond 1e150"):
        fit((1e160 * X, y))
    with pytest.raises(ValueError, match=r"squares exceed .* none beyond 1e150"):
        fit((X, 1e160 * y))
    with pytest.raises(ValueError, match=r"up to 1e\+160 with normalize_y=False"):
        fit((X, np.full(80, -1e160)), normalize_y=False)
    large = 9e149 * (-1.0) ** np.arange(80)
    quiet = gpk.RBF() + gpk.WhiteKernel(1e-10)
    for n_points in (10, 80):
        with pytest.raises(ValueError, match=r"posterior exceeds .* normalize_y=True"):
            fit(
                (X, large), kernel=quiet, normalize_y=False, max_iter=0,
                n_inducing_points=n_points,
            )  # fmt: skip


@pytest.mark.parametrize("n_points", [10, 80])
def test_update_that_overflows_leaves_the_model_as_it_was(data, n_points):
    model = fit(data, kernel="linear", n_inducing_points=n_points)
    before = model.predict(data[0])
    for far, target in ((1e200, 0.0), (1e160, 0.0), (0.0, 1e200)):
        with pytest.raises(ValueError, match="added samples exceeds the range"):
            model.partial_fit(np.full((1, 2), far), [target])
    assert_array_equal(model.predict(data[0]), before)
