"""The solvers: their objectives, their optimum, inducing points."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.cluster import MiniBatchKMeans
from sklearn.datasets import load_diabetes
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as gpk
from sklearn.metrics import pairwise_distances_argmin_min

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._backend import inducing, minibatch, noise, training
from sklearn_unlocknn._backend import variational as vi
from sklearn_unlocknn._backend.bounds import collapsed_bound, exact_bound
from sklearn_unlocknn._backend.covariance import Covariance
from sklearn_unlocknn._backend.rows import Rows
from sklearn_unlocknn.kernels import make_kernel
from sklearn_unlocknn.metrics import gaussian_nll

KERNEL = gpk.ConstantKernel(1.2) * gpk.RBF(1.0) + gpk.WhiteKernel(0.1)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2)) * [1.0, 3.0] + [0.0, 5.0]
    y = 10.0 * np.sin(X[:, 0]) + X[:, 1] + rng.normal(size=80)
    return X, y


def fit(data, **params):
    settings = {"kernel": KERNEL, "mean": "zero", "random_state": 0, "max_iter": 200}
    return VGPRegressor(**{**settings, "tol": 1e-10, **params}).fit(*data)


# --- collapsed ------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The optimal value found:UserWarning")  # theirs
@pytest.mark.parametrize(
    "kernel",
    [
        KERNEL,
        gpk.ConstantKernel(1.0) * gpk.Matern(1.0, nu=1.5) + gpk.WhiteKernel(0.1),
        gpk.RBF(1.0, (0.1, 0.9)) + gpk.WhiteKernel(0.05, "fixed"),
    ],
    ids=["rbf", "matern", "bounded and fixed"],
)
def test_optimum_is_scikit_learns(data, kernel):
    X, y = data
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    model = fit(data, kernel=kernel)
    theirs = GaussianProcessRegressor(kernel, normalize_y=True, alpha=0).fit(scaled, y)
    # Theirs is of the standardised target: y's density has another 1 / scale a row.
    lml = theirs.log_marginal_likelihood_value_ - len(y) * np.log(y.std())
    # Both L-BFGS runs end where the gradient is small: second order in the value.
    assert_allclose(model.elbo_, lml, atol=1e-4)
    assert_allclose(model.kernel_.theta, theirs.kernel_.theta, atol=5e-3)
    mean, std = model.predict(X[:10] + 0.1, return_std=True)
    at = (X[:10] + 0.1 - X.mean(axis=0)) / X.std(axis=0)
    want_mean, want_std = theirs.predict(at, return_std=True)
    assert_allclose(mean, want_mean, rtol=1e-3, atol=1e-3 * y.std())
    assert_allclose(std, want_std, rtol=5e-3)


def test_no_iterations_keep_the_kernel(data):
    model = fit(data, max_iter=0)
    assert_array_equal(model.kernel_.theta, KERNEL.theta)
    assert model.n_iter_ == 0
    assert len(model.elbo_curve_) == 1
    scaled = (data[0] - data[0].mean(axis=0)) / data[0].std(axis=0)
    target = ((data[1] - data[1].mean()) / data[1].std())[:, None]
    lml = reference.exact(KERNEL, scaled, target, np.empty((80, 0)))[0]
    assert_allclose(model.elbo_curve_, [lml], rtol=1e-9)
    assert_allclose(model.elbo_, lml - 80 * np.log(data[1].std()), rtol=1e-9)


def test_bounds_and_fixed_values_are_honoured(data):
    kernel = gpk.ConstantKernel(1.0, "fixed") * gpk.RBF(1.0, (0.99, 1.01))
    kernel = kernel + gpk.WhiteKernel(0.3, (0.25, 0.3))
    fitted = fit(data, kernel=kernel).kernel_
    assert fitted.k1.k1.constant_value == 1.0
    assert 0.99 <= fitted.k1.k2.length_scale <= 1.01
    assert_allclose(fitted.k2.noise_level, 0.25)  # the truth lies beyond


@pytest.mark.parametrize("moved", [False, True])
def test_curve_rises_and_tol_ends_it(data, moved):
    params = {"optimize_inducing_points": moved, "n_inducing_points": 6}
    patient = fit(data, max_iter=40, **params)
    assert len(patient.elbo_curve_) == patient.n_iter_ + 1
    assert np.all(np.diff(patient.elbo_curve_) >= 0)
    hasty = fit(data, max_iter=40, **{**params, "tol": 0.05})
    assert 1 <= hasty.n_iter_ < patient.n_iter_
    gains = np.diff(hasty.elbo_curve_) / np.abs(hasty.elbo_curve_[:-1])
    assert np.all(gains[:-1] > 0.04)  # relative to the larger of two, or to 1


def test_moving_inducing_points_raises_the_bound(data):
    fixed = fit(data, n_inducing_points=6)
    moved = fit(data, n_inducing_points=6, optimize_inducing_points=True)
    exact = fit(data)
    assert fixed.elbo_ + 1.0 < moved.elbo_ < exact.elbo_
    assert np.abs(moved.inducing_points_ - fixed.inducing_points_).max() > 0.01
    # The curve is the bound of the standardised target, and ends at the fitted one,
    # unless all rows then ask for another noise.
    shift = len(data[1]) * np.log(data[1].std())
    assert moved.elbo_ <= moved.elbo_curve_[-1] - shift
    quiet = gpk.RBF(1.0) + gpk.WhiteKernel(0.1, "fixed")
    moved = fit(data, kernel=quiet, n_inducing_points=6, optimize_inducing_points=True)
    assert_allclose(moved.elbo_curve_[-1] - shift, moved.elbo_, rtol=1e-9)


@pytest.mark.parametrize("solver", ["collapsed", "minibatch"])
def test_moved_points_start_at_the_noise_of_all_rows(solver):
    """Some rows as an exact process show no noise, of which 30 points need much.

    L-BFGS from there ended at a constant.
    """
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 4))
    y = np.sin(2.0 * X).sum(axis=1) + 0.01 * rng.normal(size=1500)
    model = VGPRegressor(
        "rbf", 30, solver=solver, optimize_inducing_points=True, n_hyper_samples=300,
        batch_size=250, random_state=0,
    ).fit(X[:1000], y[:1000])  # fmt: skip
    # Who calls all of it noise has a bound of -1000 log(2 pi e) / 2.
    assert model.elbo_curve_[0] > -500.0 * np.log(2.0 * np.pi * np.e)
    error = model.predict(X[1000:]) - y[1000:]
    assert np.std(error) < 0.5 * np.std(y[1000:])


def test_batches_end_at_the_noise_that_other_rows_ask_for():
    """A few points explain little, which the bound takes for noise."""
    X = np.random.default_rng(0).normal(size=(3000, 4))
    y = np.sin(2.0 * X).sum(axis=1) + 0.1 * np.random.default_rng(1).normal(size=3000)
    model = VGPRegressor(
        "matern52", 100, solver="minibatch", max_iter=5, random_state=0
    ).fit(X[:2000], y[:2000])
    mean, std = model.predict(X[2000:], return_std=True)
    nll = gaussian_nll(y[2000:], mean, std)
    assert nll < gaussian_nll(y[2000:], mean, 1.3 * std)
    assert nll < gaussian_nll(y[2000:], mean, std / 1.3)


def test_more_points_raise_the_bound_up_to_the_marginal_likelihood(data):
    fixed = {"kernel": KERNEL, "max_iter": 0}
    bounds = [fit(data, n_inducing_points=m, **fixed).elbo_ for m in (2, 5, 20, 80)]
    assert np.all(np.diff(bounds) > 0)
    assert fit(data, **fixed).elbo_ == bounds[-1]


def test_a_subset_fits_the_hyperparameters_and_all_rows_the_posterior(
    data, monkeypatch
):
    X, y = data
    seen = []

    def spy(kernel, theta, rows):
        seen.append(rows)
        return exact_bound(kernel, theta, rows)

    monkeypatch.setattr(training, "exact_bound", spy)
    model = fit(data, n_hyper_samples=20)
    assert {len(rows.X) for rows in seen} == {20}
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    target = ((y - y.mean()) / y.std())[:, None]
    lml = reference.exact(model.kernel_, scaled, target, np.empty((80, 0)))[0]
    assert_allclose(model.elbo_, lml - 80 * np.log(y.std()), rtol=1e-8)


def test_rows_for_the_hyperparameters_come_with_their_neighbours():
    rng = np.random.RandomState(0)
    X = 100.0 * rng.normal(size=(30, 2))
    X = np.vstack([X, X + 0.01])  # row i + 30 is the nearest of row i
    rows = Rows(X, X[:, :1], np.ones(60), 1)
    order = training.informative_rows(rows, 24, rng)
    assert len(order) == len(set(order.tolist())) == 24
    for stop in (4, 10, 24):
        assert np.all(np.bincount(order[:stop] % 30) != 1)


def test_rows_for_the_hyperparameters_are_all_where_few(data):
    rng = np.random.RandomState(0)
    for n, wanted in ((5, 300), (80, 300), (80, 81), (80, 30)):
        X = np.tile(data[0][:1], (n, 1)) if n == 5 else data[0][:n]
        rows = Rows(X, X[:, :1], np.ones(n), 1)
        order = training.informative_rows(rows, wanted, rng)
        assert len(order) == len(set(order.tolist()))
        assert len(order) == min(n, wanted) or len(order) == n


@pytest.mark.parametrize("solver", ["collapsed", "minibatch"])
def test_verbose_prints_progress(data, capsys, solver):
    fit(data, solver=solver, max_iter=12, tol=0)
    assert capsys.readouterr().out == ""
    model = fit(data, solver=solver, max_iter=12, tol=0, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= model.n_iter_
    assert all(line.startswith("[VGPRegressor] ") for line in lines)
    last = f"iteration {model.n_iter_}: {model.elbo_curve_[-1]:.4f} nats"
    assert any(line.endswith(last) for line in lines)
    fit(data, solver=solver, max_iter=12, tol=0, verbose=1)
    fewer = capsys.readouterr().out.splitlines()
    assert fewer == [line for line in lines if "iteration 10:" in line]


# --- noise on all rows ----------------------------------------------------------


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_left_out_score_is_what_leaving_each_row_out_gives(n_outputs):
    rng = np.random.default_rng(4)
    X, T = rng.normal(size=(25, 2)), rng.normal(size=(25, n_outputs))
    rows = Rows(X, T, rng.uniform(0.5, 2.0, size=25), n_outputs)
    kernel = Covariance(gpk.RBF(0.8) + gpk.WhiteKernel(0.2), 2)
    theta, Z = kernel.theta, X[:6] + 0.1
    posterior = noise.closed_form(kernel, theta, Z, rows)(theta)
    score = noise.left_out_score(kernel, posterior, rows)(posterior)

    want = 0.0
    for i in range(25):
        others = rows.take(np.delete(np.arange(25), i))
        left = noise.closed_form(kernel, theta, Z, others)(theta)
        mean, variance = left.mean_and_variance(kernel, X[i : i + 1], np.empty((1, 0)))
        density = norm.logpdf(T[i], mean[0], np.sqrt(variance[0] + 0.2)).sum()
        want += rows.weights[i] * density
    # jitter 1e-10 under a condition near 1e2
    assert_allclose(score, want, rtol=1e-7)


def test_noise_of_all_rows_is_the_likeliest(data):
    model = fit(data, n_hyper_samples=20)
    theta = model._posterior.theta
    kernel, index = model._translated(), model._translated().noise_index
    X, y = data
    rows = model._scaling.rows(X, y[:, None], np.ones(80)).grouped()
    for step in (-0.3, 0.3):
        moved = theta.copy()
        moved[index] += step
        assert vi.exact_posterior(kernel, moved, rows).elbo < model._posterior.elbo


@pytest.mark.parametrize("m", [10, 20, 60])
def test_few_points_on_noiseless_data_do_not_overclaim(m):
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (1200, 2))
    y = np.sin(3 * X[:, 0]) * np.cos(2 * X[:, 1])
    model = VGPRegressor(n_inducing_points=m, random_state=0).fit(X[:400], y[:400])
    mean, std = model.predict(X[400:], return_std=True)
    assert np.std((y[400:] - mean) / std) < 1.5


# --- minibatch ------------------------------------------------------------------


class Batches:
    """Standardised rows, a q(u) that is not optimal and mean coefficients."""

    def __init__(self, n_outputs, q):
        rng = np.random.default_rng(2)
        kernel = gpk.ConstantKernel(1.2) * gpk.Matern([0.8, 1.4], nu=1.5)
        self.kernel = kernel + gpk.DotProduct(0.5) + gpk.WhiteKernel(0.2)
        self.translated = Covariance(self.kernel, 2)
        self.theta, self.k = self.translated.theta, n_outputs
        X = rng.normal(size=(12, 2))
        T = rng.normal(size=(12, n_outputs + q))
        weights = rng.uniform(0.5, 2.0, size=12)
        self.rows = Rows(X, T, weights, n_outputs)
        self.Z = rng.normal(size=(4, 2))
        self.beta = rng.normal(size=(q, n_outputs))
        root = rng.normal(size=(4, 4))
        self.precision = np.eye(4) + root @ root.T
        self.shift = rng.normal(size=(4, n_outputs))

    def fast(self, rows, scale, rate=0.0):
        state = minibatch.Variational(self.precision.copy(), self.shift.copy())
        value, gradients = minibatch.batch_bound(
            self.translated, self.theta, self.Z, self.beta, rows, state, scale, rate
        )
        return value, gradients, state

    def reference(self, theta, Z, beta, rows, scale):
        """The bound at the same *whitened* q: mean and covariance move with Kuu."""
        kernel = self.kernel.clone_with_theta(theta)
        Lz = np.linalg.cholesky(reference.latent(kernel, Z))
        S = np.linalg.inv(self.precision)
        return reference.stochastic_bound(
            kernel, rows.X, rows.T[:, : self.k], rows.T[:, self.k :], Z, beta,
            Lz @ S @ self.shift, Lz @ S @ Lz.T, rows.weights, scale,
        )  # fmt: skip


@pytest.mark.parametrize(("n_outputs", "q"), [(1, 0), (1, 1), (2, 3)])
def test_batch_bound_and_gradients(n_outputs, q):
    problem = Batches(n_outputs, q)
    batch = problem.rows.take(np.arange(5))
    value, (by_theta, by_beta, by_Z), _ = problem.fast(batch, scale=2.4)
    # jitter 1e-10 under a condition near 1e2
    at = problem.theta, problem.Z, problem.beta
    assert_allclose(value, problem.reference(*at, batch, 2.4), rtol=1e-7)

    def differences(which):
        def bound(x):
            arguments = [x if i == which else a for i, a in enumerate(at)]
            return problem.reference(*arguments, batch, 2.4)

        return reference.finite_differences(bound, at[which])

    near = {"rtol": 1e-5, "atol": 1e-5}
    assert_allclose(by_theta, differences(0), **near)
    assert_allclose(by_Z, differences(1), **near)
    assert_allclose(by_beta, differences(2), **near)


def test_batch_bound_is_unbiased():
    problem = Batches(2, 1)
    problem.rows.weights[:] = 1.0
    order = np.random.default_rng(0).permutation(12)
    parts = [problem.rows.take(index) for index in order.reshape(4, 3)]
    values = [problem.fast(part, scale=4.0)[0] for part in parts]
    gradients = [problem.fast(part, scale=4.0)[1] for part in parts]
    value, gradient, _ = problem.fast(problem.rows, scale=1.0)
    assert np.std(values) > 1.0
    assert_allclose(np.mean(values), value, rtol=1e-10)
    for which in range(3):
        mean = np.mean([part[which] for part in gradients], axis=0)
        assert_allclose(mean, gradient[which], rtol=1e-8, atol=1e-10)


def test_full_natural_step_is_the_collapsed_optimum():
    problem = Batches(2, 0)
    value, gradients, _ = problem.fast(problem.rows, scale=1.0, rate=1.0)
    bound, by_theta, by_Z = collapsed_bound(
        problem.translated, problem.theta, problem.Z, problem.rows
    )
    assert_allclose(value, bound, rtol=1e-9)
    # At the best q(u) the partial gradient is the total one (the envelope theorem).
    assert_allclose(gradients[0], by_theta, rtol=1e-6, atol=1e-7)
    assert_allclose(gradients[2], by_Z, rtol=1e-6, atol=1e-7)


def test_natural_steps_raise_the_bound():
    problem = Batches(1, 1)
    values = [problem.fast(problem.rows, 1.0, rate)[0] for rate in (0, 0.1, 0.5, 1)]
    assert np.all(np.diff(values) > 0)


@pytest.mark.parametrize("moved", [False, True])
def test_minibatch_solver_comes_near_the_collapsed_one(moved):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = np.sin(2 * X[:, 0]) + 0.5 * X[:, 1] + 0.2 * rng.normal(size=300)
    params = {"n_inducing_points": 12 if moved else 40, "mean": "constant"}
    moving = {**params, "optimize_inducing_points": moved}
    collapsed = fit((X, y), **moving)
    few = {"n_hyper_samples": 60}
    start = fit((X, y), **params, **few)
    stochastic = fit(
        (X, y), **moving, **few, solver="minibatch", batch_size=50, max_iter=60
    )
    # Better than the hyperparameters of 60 rows, that it starts from; Adam's steps
    # leave them a few per cent about the optimum.
    assert stochastic.elbo_ > start.elbo_
    assert stochastic.elbo_ / 300 > collapsed.elbo_ / 300 - 0.05
    difference = stochastic.predict(X) - collapsed.predict(X)
    assert np.sqrt(np.mean(difference**2)) < 0.5 * collapsed.noise_std_
    assert len(stochastic.elbo_curve_) == stochastic.n_iter_
    assert stochastic.n_iter_ > 5


def test_minibatch_solver_stops_by_tol(data):
    model = fit(data, solver="minibatch", batch_size=20, max_iter=100, tol=0.2)
    assert model.n_iter_ < 100


def test_auto_moves_points_of_many_rows_by_batches():
    model = VGPRegressor(optimize_inducing_points=True)
    assert model._choose_solver(1000) == "collapsed"
    assert model._choose_solver(10**6) == "minibatch"
    assert VGPRegressor()._choose_solver(10**6) == "collapsed"
    assert VGPRegressor(solver="minibatch")._choose_solver(10) == "minibatch"


# --- inducing points ------------------------------------------------------------

GREEDY_KERNEL = gpk.RBF(0.6) + gpk.ConstantKernel(0.1) * gpk.DotProduct(1.0)


def greedy_rows(block, n_points=20, kernel=GREEDY_KERNEL, n=120, **kwargs):
    X = np.random.default_rng(3).normal(size=(n, 2))
    translated = Covariance(kernel, 2)
    order = inducing.greedy_order(
        translated, translated.theta, X, n_points, block=block, **kwargs
    )
    return X, order


def test_greedy_is_the_naive_loop():
    X, order = greedy_rows(block=1)
    assert_array_equal(order, reference.greedy(GREEDY_KERNEL, X, 20))


@pytest.mark.parametrize("block", [4, 7, 128])
def test_blocks_leave_nearly_as_little_variance(block):
    X, order = greedy_rows(block, n_points=30)
    assert len(set(order.tolist())) == 30
    left = reference.conditional_variance(GREEDY_KERNEL, X, list(order)).sum()
    naive = reference.greedy(GREEDY_KERNEL, X, 30)
    least = reference.conditional_variance(GREEDY_KERNEL, X, naive).sum()
    random = reference.conditional_variance(GREEDY_KERNEL, X, list(range(30))).sum()
    assert left < 1.25 * least
    assert left < 0.6 * random


@pytest.mark.parametrize("block", [1, 5, 128])
def test_greedy_takes_all_rows_once_and_stops_where_nothing_is_left(block):
    _, order = greedy_rows(block, n_points=40, n=40, kernel=gpk.RBF(0.1))
    assert_array_equal(np.sort(order), np.arange(40))
    # A linear kernel has rank 3 in two features.
    _, order = greedy_rows(block, n_points=40, kernel=gpk.DotProduct(1.0))
    assert len(order) == 3


@pytest.mark.parametrize("init", ["greedy", "kmeans", "random"])
def test_named_inits_cover_the_rows(data, init):
    X, _ = data
    model = fit(data, inducing_init=init, n_inducing_points=15, max_iter=5)
    points = model.inducing_points_
    assert points.shape == (model.n_inducing_points_, 2) == (15, 2)
    assert len(np.unique(points, axis=0)) == 15
    assert np.all(points >= X.min(axis=0) - 1e-9)
    assert np.all(points <= X.max(axis=0) + 1e-9)
    if init != "kmeans":
        distance = np.abs(points[:, None] - X[None]).max(axis=2).min(axis=1)
        assert_allclose(distance, 0.0, atol=1e-12)


@pytest.mark.parametrize("n_features", [1, 3, 60, 500])
def test_cluster_centres_are_means_of_all_features(n_features):
    """Clusters are found in fewer dimensions, and yet no feature is lost."""
    rng = np.random.default_rng(0)
    corners = 50.0 * np.arange(4)[:, None] + rng.normal(size=(4, n_features))
    label = np.arange(120) % 4
    X = corners[label] + 0.5 * rng.normal(size=(120, n_features))
    centres = inducing.cluster_centres(X, 4, seed=0)
    means = np.array([X[label == k].mean(axis=0) for k in range(4)])
    assert_allclose(centres[np.argsort(centres[:, 0])], means, rtol=1e-10)


def test_cluster_centres_lie_as_near_as_without_projection():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 8)) @ rng.normal(size=(8, 200))
    X += 0.3 * rng.normal(size=X.shape)

    def spread(centres):
        return np.mean(pairwise_distances_argmin_min(X, centres)[1] ** 2)

    plain = MiniBatchKMeans(100, batch_size=1024, n_init=1, max_iter=20, random_state=0)
    projected = inducing.cluster_centres(X, 100, seed=0)
    assert projected.shape == (100, 200)
    assert spread(projected) < 1.02 * spread(plain.fit(X).cluster_centers_)


def test_cluster_centres_spread_across_a_narrow_direction():
    """All but 1 % of the variance is along the diagonal, and yet the rest counts."""
    rng = np.random.default_rng(0)
    along, across = rng.normal(size=(2, 3000)) * [[1.0], [0.1]]
    X = np.column_stack([along + across, along - across])
    centres = inducing.cluster_centres(X, 300, seed=0)
    assert np.std(centres[:, 0] - centres[:, 1]) > 0.9 * np.std(X[:, 0] - X[:, 1])


def test_cluster_centres_of_rows_that_are_all_the_same():
    X = np.full((30, 4), 2.5)
    assert_allclose(inducing.cluster_centres(X, 3, seed=0), X[:1])


def test_given_points_are_in_feature_units_and_count(data):
    X, _ = data
    points = X[[3, 8, 20, 33]] + 0.25
    twice = np.vstack([points, points[:1]])
    model = fit(data, inducing_init=twice, n_inducing_points=2, max_iter=5)
    assert model.n_inducing_points_ == 4
    assert_allclose(np.sort(model.inducing_points_, axis=0), np.sort(points, axis=0))
    moved = fit(data, inducing_init=points, max_iter=5, optimize_inducing_points=True)
    assert moved.inducing_points_.shape == (4, 2)
    assert moved.elbo_ > model.elbo_


@pytest.mark.parametrize(("count", "expected"), [(0.1, 8), (0.101, 9), (1.0, 80)])
def test_share_of_rows(data, count, expected):
    model = fit(data, n_inducing_points=count, max_iter=2, kernel=gpk.RBF(0.3))
    assert model.n_inducing_points_ == expected


def test_points_cover_an_outlier():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    X[17] = [9.0, -9.0]
    model = fit((X, X[:, 0]), n_inducing_points=5, max_iter=0, inducing_init="greedy")
    assert np.abs(model.inducing_points_ - X[17]).max(axis=1).min() < 1e-9


@pytest.mark.parametrize("moved", [False, True])
def test_large_jitter_is_told_once(data, monkeypatch, moved):
    cholesky = vi.cholesky

    def of_points(K, jitters=(1e-6,), **diagonal):
        return cholesky(K, jitters, **diagonal)

    monkeypatch.setattr(vi, "cholesky", of_points)
    with pytest.warns(RuntimeWarning, match="fewer inducing points") as told:
        model = fit(
            data, n_inducing_points=5, optimize_inducing_points=moved, max_iter=3
        )
    assert len(told) == 1
    variance = model.kernel_.k1.k1.constant_value
    assert_allclose(model._posterior.jitter, 1e-6 * variance)


@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
def test_noisy_rows_are_not_explained_by_a_short_length_scale(kernel):
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:200], y[:200]
    model = VGPRegressor(kernel, random_state=0).fit(X, y)
    given = make_kernel(kernel, 10) + gpk.WhiteKernel(0.5)
    by_hand = VGPRegressor(given, random_state=0).fit(X, y)
    assert model.elbo_ > by_hand.elbo_ - 0.01
    assert model.noise_std_ > 0.5 * y.std()


def test_a_given_noise_level_is_where_the_fit_starts(data):
    kernel = gpk.RBF(1.0, "fixed") + gpk.WhiteKernel(0.3)
    assert_allclose(fit(data, kernel=kernel, max_iter=0).kernel_.k2.noise_level, 0.3)
    scaled = Covariance(kernel, 2)
    assert_allclose(training._starts(scaled), [scaled.theta])
    assert len(training._starts(Covariance(gpk.RBF(1.0), 2))) == 3
