"""Add samples to a posterior, which stays exact while that is allowed."""

import dataclasses

import numpy as np

from .posterior import PART_ROWS, ExactPosterior, exact_posterior
from .samples import GroupedSamples, Samples, distinct_rows


def add_samples(posterior, samples, n_jobs, most):
    """Return the posterior with samples added, and the same hyperparameters.

    Parameters
    ----------
    posterior : ExactPosterior or SparsePosterior
        The posterior.
    samples : RawSamples
        With positive weights.
    n_jobs : int or None
        As in `collect_statistics`.
    most : int or float
        Most distinct samples of an exact posterior. Further ones make it sparse, with
        those as inducing points.

    Returns
    -------
    posterior : ExactPosterior or SparsePosterior
    """
    start, n = 0, len(samples.weights)
    while isinstance(posterior, ExactPosterior) and start < n:
        m = len(posterior.Z)
        room = max(most - m, 0)
        some = samples.take(slice(start, int(min(n, start + room + PART_ROWS))))
        _, group = distinct_rows(np.vstack([posterior.Z, some.X]))
        _, first = np.unique(group, return_index=True)
        new = np.sort(first[first >= m]) - m
        n_exact = len(some.weights) if len(new) <= room else int(new[room])
        if not n_exact:
            break
        posterior = _extended(posterior, some.take(slice(n_exact)))
        start += n_exact
    if start == n:
        return posterior
    return posterior.update(samples.part(slice(start, None)), n_jobs)


def _extended(posterior, samples):
    """Return the exact posterior with samples in memory added, exact as well."""
    count, log_ratio = samples.tally()
    groups = GroupedSamples.of(
        Samples(
            np.vstack([posterior.Z, samples.X]), np.vstack([posterior.T, samples.T]),
            np.concatenate([posterior.weights, samples.weights]), samples.n_outputs,
        )
    )  # fmt: skip
    # Sums over the observations of a group, of which the posterior has the mean.
    within = posterior.TT - posterior.T.T @ (posterior.weights[:, None] * posterior.T)
    share = (posterior.count + count) / groups.counts.sum()
    groups = dataclasses.replace(
        groups, counts=share * groups.counts, within=groups.within + within,
        log_ratio=posterior.log_ratio + log_ratio,
    )  # fmt: skip
    return exact_posterior(posterior.kernel, posterior.theta, groups)
