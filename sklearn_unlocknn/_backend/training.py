"""The solvers: from rows to hyperparameters, inducing points and a posterior."""

import dataclasses

import numpy as np
from scipy.optimize import minimize
from sklearn.neighbors import NearestNeighbors

from . import inducing, minibatch
from . import variational as vi
from .bounds import collapsed_bound, exact_bound
from .noise import LEFT_OUT_ROWS, closed_form, left_out_score, refit_noise
from .prior import log_prior


@dataclasses.dataclass
class Rows:
    """Standardised training rows.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Features.
    T : ndarray of shape (n, k + q)
        Targets, then the basis functions of the prior mean.
    weights : ndarray of shape (n,)
        Positive.
    n_outputs : int
        k.
    """

    X: np.ndarray
    T: np.ndarray
    weights: np.ndarray
    n_outputs: int

    def take(self, index):
        """Return some of the rows."""
        return Rows(self.X[index], self.T[index], self.weights[index], self.n_outputs)

    def grouped(self):
        """Return the distinct rows."""
        return vi.GroupedRows.of(self.X, self.T, self.weights, self.n_outputs)


@dataclasses.dataclass
class Settings:
    """What the solvers are asked for; as the regressors' parameters.

    ``inducing_init`` is a name or an array of standardised points.
    """

    n_inducing_points: int
    inducing_init: str | np.ndarray
    optimize_inducing_points: bool
    solver: str
    max_iter: int
    tol: float
    batch_size: int
    n_hyper_samples: int


@dataclasses.dataclass
class Fit:
    """What a solver returns: the posterior and the history of its objective."""

    posterior: vi.Posterior
    curve: np.ndarray
    n_iter: int


def fit(kernel, rows, settings, rng, report):
    """Fit hyperparameters, inducing points and posterior.

    Parameters
    ----------
    kernel : Covariance
        The kernel with its initial hyperparameters.
    rows : Rows
        Training data.
    settings : Settings
        See there.
    rng : numpy.random.RandomState
        Source of randomness.
    report : callable
        ``report(stage, iteration, value)``, called after every iteration.

    Returns
    -------
    fit : Fit
        The result.
    """
    m, init = settings.n_inducing_points, settings.inducing_init
    given = not isinstance(init, str)
    stochastic, max_iter = settings.solver == "minibatch", settings.max_iter

    theta, curve, n_iter = _hyperparameters(kernel, rows, settings, rng, report)
    candidates = rows.X
    if len(rows.X) <= 4 * m:
        groups = rows.grouped()
        if m >= len(groups.X) and not given and not stochastic:
            K = kernel.lower(theta, groups.X)

            def posterior_at(theta):
                return vi.exact_posterior(kernel, theta, groups, K)

            posterior = posterior_at(theta)
            if max_iter:
                posterior = refit_noise(
                    posterior_at, kernel, posterior, report, lambda found: found.elbo
                )
            return Fit(posterior, curve, n_iter)
        candidates = groups.X
    if given:
        Z = init
    else:
        m = min(m, len(candidates))
        Z = inducing.select(kernel, theta, candidates, m, init, rng)
    if stochastic or settings.optimize_inducing_points:
        solve = minibatch.solve if stochastic else _moved
        theta, Z, curve, n_iter = solve(kernel, theta, Z, rows, settings, rng, report)
        max_iter = 0  # the noise is at its optimum, too
    posterior_at = closed_form(kernel, theta, Z, rows)
    posterior = posterior_at(theta)
    if max_iter:
        some = rows.take(np.sort(rng.permutation(len(rows.X))[:LEFT_OUT_ROWS]))
        score = left_out_score(kernel, posterior, some)
        posterior = refit_noise(posterior_at, kernel, posterior, report, score)
    return Fit(posterior, curve, n_iter)


def _hyperparameters(kernel, rows, settings, rng, report):
    """L-BFGS on the log marginal likelihood of some rows."""
    some = informative_rows(rows.X, settings.n_hyper_samples, rng)
    groups = rows.take(np.sort(some)).grouped()
    max_iter = settings.max_iter
    if len(groups.X) == 1 and groups.weights[0] <= 1.0:
        # One look at one point says nothing about scales: keep the initial ones.
        max_iter = 0

    def objective(theta):
        value, gradient = exact_bound(kernel, theta, groups)
        prior, prior_gradient = log_prior(kernel, theta)
        return value + prior, gradient + prior_gradient

    return _ascend(
        objective, kernel.theta, kernel.bounds, max_iter, settings.tol, report,
        "hyperparameters",
    )  # fmt: skip


def informative_rows(X, n_rows, rng):
    """Choose rows: half of them at random, half the nearest neighbours of those.

    Random rows alone lie far apart: where function ends and noise begins is then a
    guess (UCI protein: NLL 441). Choosing rows by X alone keeps the likelihood valid.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Standardised rows.
    n_rows : int
        How many are needed.
    rng : numpy.random.RandomState
        Source of randomness.

    Returns
    -------
    order : ndarray of shape (min(n, n_rows),)
        Distinct indices of rows.
    """
    shuffled = rng.permutation(len(X))
    if len(X) <= n_rows:
        return shuffled
    anchors = shuffled[: n_rows // 2]
    search = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(X)
    found = search.kneighbors(X[anchors], return_distance=False)
    # A row's nearest is itself, unless another row repeats it.
    neighbours = np.where(found[:, 0] == anchors, found[:, 1], found[:, 0])
    pairs = np.column_stack([anchors, neighbours]).ravel()
    candidates = np.concatenate([pairs, shuffled])
    _, first = np.unique(candidates, return_index=True)
    return candidates[np.sort(first)][:n_rows]


def _moved(kernel, theta, Z, rows, settings, rng, report):
    """L-BFGS on the bound of all rows, moving inducing points too."""
    n_theta = len(theta)

    def objective(vector):
        value, theta_gradient, Z_gradient = collapsed_bound(
            kernel, vector[:n_theta], vector[n_theta:].reshape(Z.shape),
            rows.X, rows.T, rows.weights, rows.n_outputs,
        )  # fmt: skip
        prior, prior_gradient = log_prior(kernel, vector[:n_theta])
        gradient = [theta_gradient + prior_gradient, Z_gradient.ravel()]
        return value + prior, np.concatenate(gradient)

    bounds = np.vstack([kernel.bounds, np.full((Z.size, 2), [-np.inf, np.inf])])
    start = np.concatenate([theta, Z.ravel()])
    vector, curve, n_iter = _ascend(
        objective, start, bounds, settings.max_iter, settings.tol, report,
        "inducing points",
    )  # fmt: skip
    return vector[:n_theta], vector[n_theta:].reshape(Z.shape), curve, n_iter


def _ascend(objective, start, bounds, max_iter, tol, report, stage):
    """Maximise by L-BFGS-B; return the argument, the values and the count."""
    if not start.size or max_iter == 0:
        return start, np.array([objective(start)[0]]), 0
    curve = []

    def negated(vector):
        try:
            value, gradient = objective(vector)
            usable = np.isfinite(value) and np.all(np.isfinite(gradient))
        except np.linalg.LinAlgError:
            usable = False
            if not curve:
                raise
        if not usable:
            # A step too far: a finite wall makes the line search turn back.
            wall = abs(curve[0]) + 1e3 * (1.0 + abs(curve[-1]))
            return wall, np.zeros_like(vector)
        if not curve:
            curve.append(value)
        return -value, -gradient

    def after(intermediate_result):
        curve.append(-float(intermediate_result.fun))
        report(stage, len(curve) - 1, curve[-1])

    result = minimize(
        negated,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        callback=after,
        options={"maxiter": max_iter, "ftol": tol, "maxcor": 20},
    )
    return result.x, np.array(curve), int(result.nit)
