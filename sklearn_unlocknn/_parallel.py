"""Run tasks and networks in worker processes."""

import contextlib
import functools
import itertools
import multiprocessing
import os
import pickle
import sys


def in_worker():
    """Return whether this process is a worker of another one."""
    if multiprocessing.parent_process() is not None:
        return True
    return "RAY_RAYLET_PID" in os.environ  # which Ray sets for its workers alone


def count_workers(n_jobs):
    """Return the number of tasks run at once, by joblib's rules; 1 inside a Dask task.

    A Dask task that waits for tasks of its own may block the worker that they need.
    """
    from joblib import effective_n_jobs

    if n_jobs == 1:
        return 1  # which joblib's Dask backend disregards
    distributed = sys.modules.get("distributed")
    if distributed is not None:
        with contextlib.suppress(ValueError):
            distributed.get_worker()  # ValueError outside a task
            return 1
    return effective_n_jobs(n_jobs)


class Parcel:
    """A network for workers, pickled once and unpickled once in each process.

    It has no weak references, since joblib's Dask backend would scatter it to one
    worker, and lose it with that worker.

    Parameters
    ----------
    network : object
        Network to send, which can be pickled.
    """

    __slots__ = ("_content", "network")

    def __init__(self, network, content=None):
        self.network, self._content = network, content

    def __reduce__(self):
        if self._content is None:
            import cloudpickle

            self._content = cloudpickle.dumps(self.network)
        return _unpack, (self._content,)


@functools.lru_cache(maxsize=4)
def _unpack(content):
    """Return the parcel of a pickled network, the same one for the same content."""
    return Parcel(pickle.loads(content), content)


def run_tasks(function, tasks, n_jobs, window=4):
    """Run a function on tasks, in workers if joblib provides several.

    A window of tasks runs at a time, as all tasks and results may not fit in memory,
    and some backends (Ray's) do not return results one by one.

    Parameters
    ----------
    function : callable
        ``function(task)``, importable.
    tasks : iterable
        Tasks, preferably tuples: joblib's Dask backend puts a lone array on one worker
        and loses it with the worker, but sends a part of a task again.
    n_jobs : int or None
        Number of workers, with joblib's meaning: None means what
        ``joblib.parallel_config`` sets.
    window : int, default=4
        Tasks for each worker that are run, and whose results are held, at a time: 1
        where results are large.

    Yields
    ------
    object
        Results in the order of the tasks.
    """
    from joblib import Parallel, delayed

    tasks = iter(tasks)
    n_workers = count_workers(n_jobs)
    size = 1 if n_workers == 1 else window * n_workers
    some = list(itertools.islice(tasks, size))
    if len(some) < 2:
        yield from map(function, itertools.chain(some, tasks))
        return
    while some:
        yield from Parallel(n_jobs)(delayed(function)(task) for task in some)
        some = list(itertools.islice(tasks, size))


def run_blocks(function, network, blocks, n_jobs):
    """Run ``function(handle of the network, block)``, as `run_tasks` does.

    `Parcel` sends the handle to workers once. Returns an iterator over the results.
    """
    parcel = Parcel(network)
    return run_tasks(_call, ((function, parcel, block) for block in blocks), n_jobs)


def _call(task):
    function, parcel, block = task
    return function(parcel.network, block)
