"""The solvers: from rows to hyperparameters, inducing points and a posterior."""

import dataclasses

import numpy as np
from scipy.linalg import lapack
from scipy.linalg.blas import dtrsm
from scipy.optimize import minimize
from sklearn.neighbors import NearestNeighbors

from . import inducing
from . import variational as vi
from .bounds import collapsed_bound, exact_bound

LEARNING_RATE = 0.02  # Adam, on log hyperparameters
INDUCING_LEARNING_RATE = 0.01  # Adam, on standardised features
# Rows whose leave-one-out density decides on the noise of a sparse model.
LEFT_OUT_ROWS = 2000
# One length scale per feature: ln(length scale) is Gaussian about the mean of its
# kernel with this standard deviation. Without, a hundred of them overfit a thousand
# rows (bulk modulus: NLL 1.5 against -0.27).
ARD_SPREAD = 0.5


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
    minibatch, max_iter = settings.solver == "minibatch", settings.max_iter

    theta, curve, n_iter = _hyperparameters(kernel, rows, settings, rng, report)
    candidates = rows.X
    if len(rows.X) <= 4 * m:
        groups = rows.grouped()
        if m >= len(groups.X) and not given and not minibatch:
            K = kernel.lower(theta, groups.X)

            def posterior_at(theta):
                return vi.exact_posterior(kernel, theta, groups, K)

            posterior = refit_noise(
                posterior_at, kernel, theta, max_iter, report, lambda found: found.elbo
            )
            return Fit(posterior, curve, n_iter)
        candidates = groups.X
    if given:
        Z = init
    else:
        m = min(m, len(candidates))
        Z = inducing.select(kernel, theta, candidates, m, init, rng)
    if minibatch or settings.optimize_inducing_points:
        solve = _minibatch if minibatch else _moved
        theta, Z, curve, n_iter = solve(kernel, theta, Z, rows, settings, rng, report)
        max_iter = 0  # the noise is at its optimum, too
    posterior_at = closed_form(kernel, theta, Z, rows)
    some = rows.take(np.sort(rng.permutation(len(rows.X))[:LEFT_OUT_ROWS]))
    score = left_out_score(kernel, posterior_at(theta), some)
    posterior = refit_noise(posterior_at, kernel, theta, max_iter, report, score)
    return Fit(posterior, curve, n_iter)


def closed_form(kernel, theta, Z, rows):
    """Pass over all rows at given inducing points.

    Returns
    -------
    posterior_at : callable
        The optimal posterior as a function of theta, of which only the noise may
        differ from ``theta``.
    """
    K = kernel.matrix(theta, Z, Z)
    Lz, jitter = vi.cholesky(K)
    vi.warn_about_jitter(jitter, K)
    statistics = vi.collect_statistics(
        kernel, theta, Z, Lz, rows.X, rows.T, rows.weights
    )

    def posterior_at(theta):
        return vi.sparse_posterior(
            theta, kernel.noise(theta), Z, Lz, statistics, rows.n_outputs, jitter
        )

    return posterior_at


def left_out_score(kernel, posterior, rows):
    """Return the leave-one-out log density of rows as a function of the posterior.

    Neither the bound nor the likelihood of the sparse model tells the noise that
    predictions need: they blame it for the variance that the points do not explain,
    which predictions have beside the noise (kin8nm with 2000 points: noise 0.36 for
    0.16). Leaving a row out is closed form (Rasmussen and Williams 2006, section
    5.4.2): with h = w a' B^-1 a / s2 the residual grows by 1 / (1 - h), and so does
    the variance.

    Parameters
    ----------
    kernel : Covariance
        The kernel.
    posterior : Posterior
        Gives what does not depend on the noise.
    rows : Rows
        Some of the training rows.

    Returns
    -------
    score : callable
        ``score(posterior)``, in nats.
    """
    k = rows.n_outputs
    K = kernel.matrix(posterior.theta, rows.X, posterior.Z)
    A = dtrsm(1.0, posterior.Lz, K.T, lower=1)
    missing = kernel.diagonal(posterior.theta, rows.X) - np.einsum("ij,ij->j", A, A)
    missing = np.maximum(missing, 0.0)

    def score(posterior):
        C = dtrsm(1.0, posterior.Lb, A, lower=1)
        variance = np.einsum("ij,ij->j", C, C)
        kept = np.maximum(1.0 - rows.weights * variance / posterior.noise, 1e-9)
        residual = rows.T[:, :k] - rows.T[:, k:] @ posterior.beta - K @ posterior.alpha
        total = variance / kept + posterior.noise + missing
        square = np.einsum("nk,nk->n", residual, residual) / kept**2
        density = -0.5 * (k * (vi.LOG_2PI + np.log(total)) + square / total)
        return float(rows.weights @ density)

    return score


def refit_noise(posterior_at, kernel, theta, max_iter, report, score):
    """Return the posterior at the noise level that all rows ask for.

    The hyperparameters saw some rows as an exact process: all rows, and the inducing
    points' own error, can ask for another noise (bulk modulus: NLL -0.69 from
    -0.11). One factorisation a step: the optimum of ``score(posterior)`` is bracketed
    in steps that double, then parabolas are fitted through its logarithmic noise.
    """
    best = posterior_at(theta)
    index = kernel.noise_index
    if not index or max_iter == 0:
        return best

    lower, upper = (kernel.bounds[index] - theta[index, None]).T
    values = {0.0: score(best)}

    def look(shift):
        nonlocal best
        shift = float(np.clip(shift, lower.max(), upper.min()))
        if shift not in values:
            moved = theta.copy()
            moved[index] += shift
            posterior = posterior_at(moved)
            values[shift] = score(posterior)
            if values[shift] == max(values.values()):
                best = posterior
            report("noise on all rows", len(values) - 1, max(values.values()))
        return shift

    for step in (0.5, -0.5):
        while True:
            before = max(values, key=values.get)
            look(before + step)
            if max(values, key=values.get) == before:
                break
            step *= 2.0
    for _ in range(2):
        shifts = sorted(values)
        top = shifts.index(max(values, key=values.get))
        if top in (0, len(shifts) - 1):
            break
        around = shifts[top - 1 : top + 2]
        curve, slope, _ = np.polyfit(around, [values[shift] for shift in around], 2)
        vertex = -slope / (2.0 * curve)
        if min(abs(vertex - shift) for shift in shifts) < 0.05:
            break
        look(vertex)
    return best


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


def log_prior(kernel, theta):
    """Log density (less a constant) of vector length scales, and its gradient.

    A Gaussian on each ln(length scale) about their mean: features are as relevant
    as each other until the data says otherwise.
    """
    value, gradient = 0.0, np.zeros_like(theta)
    for part in kernel.vectors:
        spread = (theta[part] - theta[part].mean()) / ARD_SPREAD
        value -= 0.5 * spread @ spread
        gradient[part] -= spread / ARD_SPREAD
    return value, gradient


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


def _minibatch(kernel, theta, Z, rows, settings, rng, report):
    """Stochastic variational inference (Hensman et al. 2013).

    Natural gradient steps for q(u), Adam for hyperparameters (and inducing points)
    on the bound of a batch scaled by N / |batch|. Stops where the mean bound of an
    epoch no longer grows by ``tol`` relative to it.
    """
    n, batch_size = len(rows.X), min(settings.batch_size, len(rows.X))
    k = rows.n_outputs
    m = len(Z)
    Z = Z.copy()
    state = _Variational(np.eye(m), np.zeros((m, k)))
    beta = np.zeros((rows.T.shape[1] - k, k))
    adam = {
        "theta": _Adam(theta.shape, LEARNING_RATE),
        "beta": _Adam(beta.shape, LEARNING_RATE),
        "Z": _Adam(Z.shape, INDUCING_LEARNING_RATE),
    }
    lower, upper = kernel.bounds.T
    total = rows.weights.sum()
    curve, best, stalled = [], -np.inf, 0
    n_batches = -(-n // batch_size)
    least_rate = min(0.1, 1 / n_batches)
    for epoch in range(settings.max_iter):
        values = []
        for step, index in enumerate(np.array_split(rng.permutation(n), n_batches)):
            batch = rows.take(index)
            scale = total / batch.weights.sum()
            # Average the first batches, then forget at a constant rate.
            rate = max(1.0 / (epoch * n_batches + step + 1), least_rate)
            value, grads = batch_bound(
                kernel, theta, Z, beta, batch, state, scale, rate
            )
            prior, prior_gradient = log_prior(kernel, theta)
            values.append(value + prior)
            step = adam["theta"].step(grads[0] + prior_gradient)
            theta = np.clip(theta + step, lower, upper)
            beta = beta + adam["beta"].step(grads[1])
            if settings.optimize_inducing_points:
                Z += adam["Z"].step(grads[2])
        curve.append(float(np.mean(values)))
        report("minibatch epoch", epoch + 1, curve[-1])
        if epoch * n_batches * least_rate < 1.0:
            continue  # q(u) still follows each batch, which flatters the bound
        gain = curve[-1] - best
        stalled = 0 if gain > settings.tol * max(abs(curve[-1]), 1.0) else stalled + 1
        best = max(best, curve[-1])
        if stalled == 3:
            break
    return theta, Z, np.array(curve), len(curve)


@dataclasses.dataclass
class _Variational:
    """q(u) in whitened natural parameters: precision and precision times mean."""

    precision: np.ndarray
    shift: np.ndarray


def batch_bound(kernel, theta, Z, beta, batch, state, scale, rate):
    """Step q(u) along its natural gradient; return the bound and its gradients.

    Parameters
    ----------
    kernel : Covariance
        The kernel.
    theta, Z, beta : ndarray
        Log hyperparameters, inducing points (m, d), mean coefficients (q, k).
    batch : Rows
        Some of the rows.
    state : _Variational
        q(u), updated in place.
    scale : float
        N / |batch|.
    rate : float
        Natural gradient step in (0, 1]: 1 is the batch's own optimum.

    Returns
    -------
    value : float
        The bound at the updated q(u), unbiased over batches.
    gradients : tuple of ndarray
        By ``theta``, ``beta`` and ``Z``.
    """
    k, m, noise = batch.n_outputs, len(Z), kernel.noise(theta)
    H = batch.T[:, k:]
    residual = batch.T[:, :k] - H @ beta
    Lz, _ = vi.cholesky(kernel.matrix(theta, Z, Z))
    A = vi.whiten(kernel, theta, batch.X, Z, Lz)
    weight = scale * batch.weights

    state.precision *= 1.0 - rate
    state.precision += rate * (np.eye(m) + (A * (weight / noise)) @ A.T)
    state.shift *= 1.0 - rate
    state.shift += rate * (A @ (weight[:, None] * residual)) / noise
    L = np.linalg.cholesky(state.precision)
    S = lapack.dpotri(np.asfortranarray(L), lower=1)[0]
    S = np.tril(S) + np.tril(S, -1).T
    mean = S @ state.shift

    error = residual - A.T @ mean
    SA = S @ A
    variance = kernel.diagonal(theta, batch.X)
    variance += np.einsum("mn,mn->n", A, SA - A)
    square = np.einsum("nk,nk->n", error, error) + k * variance
    value = -0.5 * k * weight.sum() * (vi.LOG_2PI + np.log(noise))
    value -= 0.5 * weight @ square / noise
    # KL(q || N(0, I)), k outputs share the covariance
    kl = 0.5 * k * (np.trace(S) - m + 2.0 * np.log(np.diag(L)).sum())
    kl += 0.5 * np.einsum("mk,mk->", mean, mean)
    value -= kl

    by_error = weight[:, None] * error / noise
    by_variance = -0.5 * k * weight / noise
    by_A = mean @ by_error.T + 2.0 * (SA - A) * by_variance
    by_Kuf = dtrsm(1.0, Lz, by_A, lower=1, trans_a=1)
    # Adjoint of the Cholesky factor (Murray 2016, arXiv:1602.07527)
    inner = np.tril(Lz.T @ np.tril(-by_Kuf @ A.T))
    inner[np.diag_indices(m)] *= 0.5
    by_Kuu = dtrsm(1.0, Lz, np.asfortranarray(inner), lower=1, trans_a=1)
    by_Kuu = dtrsm(1.0, Lz, by_Kuu, lower=1, side=1)
    by_Kuu = 0.5 * (by_Kuu + by_Kuu.T)
    by_noise = -0.5 * k * weight.sum() / noise + 0.5 * weight @ square / noise**2

    theta_uu, left, right = kernel.vjp(theta, Z, Z, by_Kuu, wrt_inputs=True)
    theta_uf, _, Z_uf = kernel.vjp(
        theta, batch.X, Z, by_Kuf.T, by_variance, wrt_inputs=True
    )
    theta_gradient = theta_uu + theta_uf + by_noise * kernel.noise_gradient(theta)
    return float(value), (theta_gradient, H.T @ by_error, left + right + Z_uf)


class _Adam:
    """Adam's ascent direction (Kingma and Ba 2015, arXiv:1412.6980)."""

    def __init__(self, shape, rate):
        self.rate, self.count = rate, 0
        self.first, self.second = np.zeros(shape), np.zeros(shape)

    def step(self, gradient):
        """Return the next increment."""
        self.count += 1
        self.first += 0.1 * (gradient - self.first)
        self.second += 0.001 * (gradient**2 - self.second)
        first = self.first / (1.0 - 0.9**self.count)
        second = self.second / (1.0 - 0.999**self.count)
        return self.rate * first / (np.sqrt(second) + 1e-8)
