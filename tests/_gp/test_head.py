"""Test the limits of float64 in predictions: samples and targets of any size."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from small_fits import fit, make_data

from sklearn_unlocknn._gp.encoded import Encoded


@pytest.fixture(scope="module")
def data():
    return make_data()


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
    encoded = Encoded(features, index=np.array([1, 4]), n_all=6)
    for predict in (head.mean_and_std, head.mean_and_covariance):
        with pytest.raises(ValueError, match="prediction of sample 4 exceeds"):
            predict(encoded)


@pytest.mark.parametrize("kernel", ["rbf", "matern12", "matern32", "matern52"])
def test_prior_is_predicted_as_far_as_samples_go(data, kernel):
    """Predict it without an effect on the other samples of the batch."""
    model = fit(data, kernel=kernel, mean="constant")
    far = 10.0 ** np.arange(5, 301, 5)[:, None] * [1.0, -1.0]
    mean, std = model.predict(far, return_std=True)
    assert_allclose(mean, mean[0], rtol=1e-12)
    variance = model.kernel_.k1.constant_value * data[1].var()
    assert_allclose(std, np.hypot(np.sqrt(variance), model.noise_std_))
    both = np.array(model.predict(np.vstack([data[0], far]), return_std=True))
    alone = np.array(model.predict(data[0], return_std=True))
    assert_allclose(both[:, :80], alone, rtol=1e-8)


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


@pytest.mark.parametrize("n_points", [10, 80])
def test_update_that_overflows_leaves_the_model_as_it_was(data, n_points):
    model = fit(data, kernel="linear", n_inducing_points=n_points)
    before = model.predict(data[0])
    for far, target in ((1e200, 0.0), (1e160, 0.0), (0.0, 1e200)):
        with pytest.raises(ValueError, match="added samples exceeds the range"):
            model.partial_fit(np.full((1, 2), far), [target])
    assert_array_equal(model.predict(data[0]), before)
