"""The solvers: from rows to hyperparameters, inducing points and a posterior."""

import contextlib
import copy
import dataclasses

import numpy as np
from scipy.optimize import minimize
from sklearn.gaussian_process.kernels import Kernel
from sklearn.neighbors import NearestNeighbors

from . import inducing, linalg, memo, minibatch
from . import posterior as vi
from .noise import (
    LEFT_OUT_ROWS,
    closed_form,
    highest_bound,
    left_out_score,
    refit_noise,
)
from .objectives import collapsed_bound, exact_bound
from .prior import log_prior
from .rows import blocks

# Of the variance of the standardised target.
NOISE_STARTS = (0.01, 0.1, 0.5)
# L-BFGS iterations on some rows where another stage follows. ``max_iter`` then counts
# that one's, so that it starts at the same hyperparameters whatever it is granted.
FIRST_ITERATIONS = 20


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
    hyper_subset_size: int
    n_jobs: int | None = 1
    warm_start: bool = False


@dataclasses.dataclass
class Progress:
    """Where a fit stopped, so that another can go on.

    Parameters
    ----------
    theta : ndarray of shape (n_theta,)
        Fitted log hyperparameters: where a fit to other rows starts.
    starts : list of ndarray of shape (n_theta,)
        Where this one may start; a single one where it has started.
    max_iter : int
        Iterations that the last stage was granted so far.
    form : str
        Of the kernel, to tell whether another means the same by its theta.
    evaluations : dict of str to dict
        What each objective, by the digest of all that it depends on, gave where it
        was asked. L-BFGS walks through known values at no cost, and so comes to where
        it stopped with the memory it had there.
    batches : dict of str to minibatch.State
        Likewise, where the minibatch solver stopped.
    """

    theta: np.ndarray
    starts: list
    max_iter: int
    form: str
    evaluations: dict = dataclasses.field(default_factory=dict)
    batches: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Fit:
    """What a solver returns: the posterior and the history of its objective."""

    posterior: vi.Posterior
    curve: np.ndarray
    n_iter: int
    progress: Progress


def fit(kernel, rows, settings, rng, report, before=None):
    """Fit hyperparameters, inducing points and posterior.

    Parameters
    ----------
    kernel : Covariance
        The kernel with its initial hyperparameters.
    rows : Rows or RawRows
        Training data.
    settings : Settings
        See there.
    rng : numpy.random.RandomState
        Source of randomness.
    report : callable
        ``report(stage, iteration, value)``, called after every iteration.
    before : Progress, default=None
        Where to go on; left as it is.

    Returns
    -------
    fit : Fit
        The result.
    """
    m, init = settings.n_inducing_points, settings.inducing_init
    given = not isinstance(init, str)
    stochastic = settings.solver == "minibatch"
    few = len(rows) <= 4 * m
    candidates = rows.grouped() if few else rows
    exact = few and m >= len(candidates.X) and not given and not stochastic
    followed = stochastic or (settings.optimize_inducing_points and not exact)

    theta, curve, n_iter, progress = _hyperparameters(
        kernel, rows, settings, followed, rng, report, before
    )
    refit = progress.max_iter > 0
    if exact:
        K = kernel.lower(theta, candidates.X)

        def posterior_at(theta):
            return vi.exact_posterior(kernel, theta, candidates, K)

        posterior = posterior_at(theta)
        if refit:
            posterior = refit_noise(
                posterior_at, kernel, posterior, report, lambda found: found.elbo
            )
        return Fit(posterior, curve, n_iter, progress)
    if given:
        Z = init
    else:
        m = min(m, len(candidates))
        Z = inducing.select(kernel, theta, candidates, m, init, rng)
    if followed:
        solve = _by_batches if stochastic else _moved
        theta, Z, curve, n_iter = solve(
            kernel, theta, Z, rows, settings, rng, report, before, progress
        )
        progress.theta = theta
    posterior_at = closed_form(kernel, theta, Z, rows, settings.n_jobs)
    posterior = posterior_at(theta)
    linalg.warn_about_jitter(posterior.jitter, kernel.diagonal(theta, Z))
    if refit:
        some = rows.take(np.sort(rng.permutation(len(rows))[:LEFT_OUT_ROWS]))
        score = left_out_score(kernel, posterior, some)
        posterior = refit_noise(posterior_at, kernel, posterior, report, score)
    return Fit(posterior, curve, n_iter, progress)


def _hyperparameters(kernel, rows, settings, followed, rng, report, before):
    """L-BFGS on the log marginal likelihood of some rows.

    ``followed`` is whether the iterations that are granted are those of a later stage.
    """
    some = hyperparameter_subset(rows, settings.hyper_subset_size, rng)
    groups = rows.take(np.sort(some)).grouped()
    key = memo.fingerprint("marginal likelihood", kernel.template, groups)
    starts, max_iter = _starts(kernel), settings.max_iter
    if before is not None and key in before.evaluations:
        starts, max_iter = before.starts, max_iter + before.max_iter
    elif before is not None and before.form == _form(kernel.template):
        starts = [np.clip(before.theta, *kernel.bounds.T)]
    progress = Progress(starts[0], starts, max_iter, _form(kernel.template))
    if max_iter and followed:
        max_iter = FIRST_ITERATIONS
    if len(groups.X) == 1 and groups.weights[0] <= 1.0:
        # One look at one point says nothing about scales: keep the initial ones.
        max_iter = 0

    def objective(theta):
        value, gradient = exact_bound(kernel, theta, groups)
        prior, prior_gradient = log_prior(kernel, theta)
        return value + prior, gradient + prior_gradient

    with _known(objective, key, before, progress) as objective:
        if len(starts) > 1 and max_iter:
            progress.starts = [max(starts, key=lambda theta: objective(theta)[0])]
        progress.theta, curve, n_iter = _ascend(
            objective, progress.starts[0], kernel.bounds, max_iter, settings.tol,
            report, "hyperparameters",
        )  # fmt: skip
    return progress.theta, curve, n_iter, progress


def _form(kernel):
    """Return what theta means: the parts of a kernel and their free numbers."""
    parts = [
        (name, type(value).__name__)
        for name, value in sorted(kernel.get_params().items())
        if isinstance(value, Kernel)
    ]
    free = [(h.name, h.n_elements) for h in kernel.hyperparameters if not h.fixed]
    return repr((type(kernel).__name__, parts, free))


def _starts(kernel):
    """Return where hyperparameters may start: at what the user gave, if anything.

    A noise level that nobody gave starts where the rows ask for it. From far below,
    the way up leads past optima that explain the noise by a short length scale
    (diabetes, "rbf": test NLL 5.71 from 0.01, 5.46 from 0.1).
    """
    if kernel.has_noise:
        return [kernel.theta]
    starts = []
    for level in NOISE_STARTS:
        theta = kernel.theta
        theta[kernel.noise_index] = np.log(level)
        starts.append(theta)
    return starts


@contextlib.contextmanager
def _known(objective, key, before, progress):
    """Look values of an objective up where they are known; remember new ones."""
    known = dict(memo.recall(key) or {})
    if before is not None:
        known |= before.evaluations.get(key, {})
    asked = progress.evaluations[key] = {}

    def look(vector):
        at = vector.tobytes()
        if at not in known:
            known[at] = objective(vector)
        asked[at] = known[at]
        return known[at]

    yield look
    memo.remember(key, known)


def hyperparameter_subset(rows, n_rows, rng):
    """Choose rows: half of them at random, half the nearest neighbours of those.

    Random rows alone lie far apart: where function ends and noise begins is then a
    guess (UCI protein: NLL 441). Choosing rows by X alone keeps the likelihood valid.

    Parameters
    ----------
    rows : Rows or RawRows
        All rows, read in blocks.
    n_rows : int
        How many are needed.
    rng : numpy.random.RandomState
        Source of randomness.

    Returns
    -------
    order : ndarray of shape (min(n, n_rows),)
        Distinct indices of rows.
    """
    shuffled = rng.permutation(len(rows))
    if len(rows) <= n_rows:
        return shuffled
    anchors = shuffled[: n_rows // 2]
    pairs = np.column_stack([anchors, _neighbours(rows, anchors)]).ravel()
    candidates = np.concatenate([pairs, shuffled])
    _, first = np.unique(candidates, return_index=True)
    return candidates[np.sort(first)][:n_rows]


def _neighbours(rows, anchors):
    """Return for each of some rows the nearest of all others."""
    X = rows.take(anchors).X
    parts = list(blocks(len(rows), X.shape[1]))
    key = None
    distances, found = [], []
    for part in parts:
        near = rows.take(part).X
        if len(parts) == 1:  # no pass over a file: the fits of a search share it
            key = memo.fingerprint("neighbours", near, anchors)
            if (known := memo.recall(key)) is not None:
                return known
        search = NearestNeighbors(n_neighbors=min(2, len(near)), algorithm="brute")
        distance, index = search.fit(near).kneighbors(X)
        distances.append(distance)
        found.append(index + part.start)
    distances, found = np.hstack(distances), np.hstack(found)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :2]
    found = np.take_along_axis(found, nearest, axis=1)
    # A row's nearest is itself, unless another row repeats it.
    neighbours = np.where(found[:, 0] == anchors, found[:, 1], found[:, 0])
    return neighbours if key is None else memo.remember(key, neighbours)


def _moved(kernel, theta, Z, rows, settings, rng, report, before, progress):
    """L-BFGS on the bound of all rows, moving inducing points too."""
    n_theta = len(theta)
    if progress.max_iter:
        theta = highest_bound(kernel, theta, Z, rows, report, settings.n_jobs).theta
    start = np.concatenate([theta, Z.ravel()])

    def objective(vector):
        value, theta_gradient, Z_gradient = collapsed_bound(
            kernel, vector[:n_theta], vector[n_theta:].reshape(Z.shape), rows
        )
        prior, prior_gradient = log_prior(kernel, vector[:n_theta])
        gradient = [theta_gradient + prior_gradient, Z_gradient.ravel()]
        return value + prior, np.concatenate(gradient)

    bounds = np.vstack([kernel.bounds, np.full((Z.size, 2), [-np.inf, np.inf])])
    key = memo.fingerprint("bound", kernel.template, rows, start)
    with _known(objective, key, before, progress) as objective:
        vector, curve, n_iter = _ascend(
            objective, start, bounds, progress.max_iter, settings.tol, report,
            "inducing points",
        )  # fmt: skip
    return vector[:n_theta], vector[n_theta:].reshape(Z.shape), curve, n_iter


def _by_batches(kernel, theta, Z, rows, settings, rng, report, before, progress):
    """Stochastic solver, from where it stopped if it did on these rows."""
    if not progress.max_iter:
        return theta, Z, np.array([]), 0
    state = None
    if settings.warm_start:
        moved, size = settings.optimize_inducing_points, settings.batch_size
        key = memo.fingerprint(kernel.template, rows, theta, Z, moved, size)
        if before is not None:
            state = copy.deepcopy(before.batches.get(key))
    if state is None:
        posterior = highest_bound(kernel, theta, Z, rows, report, settings.n_jobs)
        # A copy: what is drawn after the epochs must not depend on their number.
        state = minibatch.State.start(posterior, copy.deepcopy(rng))
    settings = dataclasses.replace(settings, max_iter=progress.max_iter)
    minibatch.solve(kernel, rows, settings, state, report)
    if settings.warm_start:
        progress.batches[key] = state
    return state.theta, state.Z, np.array(state.curve), len(state.curve)


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
