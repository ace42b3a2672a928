"""Processes and threads: who a worker works for, what it may use, what it is sent."""

import contextlib
import itertools
import multiprocessing
import os
import pickle
import sys
import threading
from collections import OrderedDict


def root_name():
    """Name the run that this process belongs to, alike in its workers.

    Returns
    -------
    str
        The id of the process that started this one, for a worker of loky,
        multiprocessing or a Dask nanny, else of this process; or the job of Ray, for
        the driver and its workers.
    """
    ray = sys.modules.get("ray")
    if ray is not None and getattr(ray, "is_initialized", bool)():
        context = ray.get_runtime_context()
        return f"ray-{context.gcs_address}-{context.get_job_id()}"
    parent = multiprocessing.parent_process()
    return str(os.getpid() if parent is None else parent.pid)


def in_worker():
    """Tell whether this process was started to work for another."""
    if multiprocessing.parent_process() is not None:
        return True
    return "RAY_RAYLET_PID" in os.environ  # which Ray sets for its workers alone


def count_workers(n_jobs):
    """Return how many tasks run at once, by joblib's rules; 1 inside a Dask task.

    A task that waits for tasks of its own may hold what others wait for.
    """
    from joblib import effective_n_jobs

    if n_jobs == 1:
        return 1  # for which joblib's Dask backend does not ask
    distributed = sys.modules.get("distributed")
    if distributed is not None:
        with contextlib.suppress(ValueError):
            distributed.get_worker()  # ValueError outside a task
            return 1
    return effective_n_jobs(n_jobs)


class Recent:
    """The values used last, kept alive by their keys; safe with threads.

    Parameters
    ----------
    size : int
        How many are kept.
    """

    def __init__(self, size):
        self.size = size
        self._values = OrderedDict()
        self._lock = threading.RLock()

    def get(self, key):
        """Return the value of ``key``, now the newest, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key, value):
        """Keep a value, let go of the oldest if there are too many; return it."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self.size:
                self._values.popitem(last=False)
        return value


#: Tasks that are dispatched together, for each worker.
_WINDOW = 4
#: Networks of blocks that came to this process, by content.
_ARRIVED = Recent(4)


class Parcel:
    """A network on its way to workers: pickled once, unpickled once a process.

    It cannot be referred to weakly, on purpose: joblib's Dask backend would scatter
    it to one worker, and lose it with that worker.

    Parameters
    ----------
    network : object
        A handle with a ``fingerprint()``.
    """

    __slots__ = ("_content", "network")

    def __init__(self, network):
        self.network = network
        self._content = None

    def __reduce__(self):
        if self._content is None:
            import cloudpickle

            self._content = self.network.fingerprint(), cloudpickle.dumps(self.network)
        return _unpack, self._content


def _unpack(fingerprint, content):
    parcel = _ARRIVED.get(fingerprint)
    if parcel is None or parcel.network.fingerprint() != fingerprint:
        parcel = _ARRIVED.put(fingerprint, Parcel(pickle.loads(content)))
        parcel._content = fingerprint, content
    return parcel


def run_tasks(function, tasks, n_jobs):
    """Run a function on tasks, in workers if joblib grants several.

    Some tasks at a time: they and their results need not fit in memory together, and
    not every backend (Ray's) gives results one by one.

    Parameters
    ----------
    function : callable
        ``function(task)``, importable.
    tasks : iterable
        Consumed some at a time. Best tuples: joblib's Dask backend puts a lone array on
        one worker and loses it with the worker; what is part of a task is sent again.
    n_jobs : int or None
        joblib's meaning; None is what ``joblib.parallel_config`` says.

    Yields
    ------
    object
        Results in the order of the tasks.
    """
    from joblib import Parallel, delayed

    tasks = iter(tasks)
    n_workers = count_workers(n_jobs)
    size = 1 if n_workers == 1 else _WINDOW * n_workers
    window = list(itertools.islice(tasks, size))
    if len(window) < 2:
        yield from map(function, itertools.chain(window, tasks))
        return
    while window:
        yield from Parallel(n_jobs)(delayed(function)(task) for task in window)
        window = list(itertools.islice(tasks, size))


def run_blocks(function, network, blocks, n_jobs):
    """Run a network over blocks of rows, in workers if joblib grants several.

    Parameters
    ----------
    function : callable
        ``function(network, block)``, importable.
    network : object
        Handle of the network; workers get it by `Parcel`.
    blocks : iterable
        Blocks, consumed some at a time.
    n_jobs : int or None
        As in `run_tasks`.

    Returns
    -------
    iterator
        Results in the order of the blocks.
    """
    parcel = Parcel(network)
    return run_tasks(_call, ((function, parcel, block) for block in blocks), n_jobs)


def _call(task):
    function, parcel, block = task
    return function(parcel.network, block)
