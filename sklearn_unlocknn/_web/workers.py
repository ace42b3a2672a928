"""Processes that read and predict: bounded in number and time, replaced if they fail.

A parser or a network that takes too long cannot be stopped inside a thread.
"""

import queue
import threading

from joblib.externals import loky

from .uploads import RequestError


class Workers:
    """Processes with the same state, each with one task at a time.

    Parameters
    ----------
    n : int
        Number of processes.
    start : callable
        Called with ``state`` in each new process. A function of a module.
    state : tuple
        Its arguments.
    limits : Limits
        Bounds of time and of the number of tasks that wait.
    """

    def __init__(self, n, start, state, limits):
        self._new = lambda: loky.ProcessPoolExecutor(
            1, initializer=start, initargs=state, env={"OMP_NUM_THREADS": "1"}
        )
        self._limits, self.n, self._closed = limits, n, False
        self._places = threading.BoundedSemaphore(n + limits.waiting)
        self._free = queue.Queue()
        self._executors = set()
        for _ in range(n):
            self._add()

    def _add(self):
        executor = self._new()
        self._executors.add(executor)
        self._free.put(executor)

    def ready(self, task):
        """Start all processes with a task; raise if one cannot be started."""
        executors = [self._free.get() for _ in range(self.n)]
        futures = [executor.submit(task) for executor in executors]
        for executor, future in zip(executors, futures, strict=True):
            future.result()
            self._free.put(executor)

    def run(self, task, *arguments):
        """Return the result of a task in a process that is free.

        Raises `RequestError` 503 if too many wait or the process ends, 504 if the task
        takes too long: the process is killed then.
        """
        seconds = self._limits.seconds
        if not self._places.acquire(blocking=False):
            raise RequestError(
                503, f"{self._limits.waiting} requests wait already. Send it again in "
                "some seconds.", Retry_After="5",
            )  # fmt: skip
        try:
            try:
                executor = self._free.get(timeout=seconds)
            except queue.Empty:
                raise RequestError(
                    503, f"No process was free for {seconds:g} s. Send it again later.",
                    Retry_After="30",
                ) from None  # fmt: skip
            return self._finish(executor, task, arguments)
        finally:
            self._places.release()

    def _finish(self, executor, task, arguments):
        try:
            result = executor.submit(task, *arguments).result(self._limits.seconds)
        except TimeoutError:
            self._replace(executor)
            raise RequestError(
                504, f"The structures took more than {self._limits.seconds:g} s and "
                "were given up. Send fewer or smaller ones.",
            ) from None  # fmt: skip
        except loky.process_executor.BrokenProcessPool:
            self._replace(executor)
            raise RequestError(
                503, "The process that predicts has ended, perhaps for lack of memory. "
                "Send fewer or smaller structures.", Retry_After="5",
            ) from None  # fmt: skip
        except BaseException:
            self._free.put(executor)
            raise
        self._free.put(executor)
        return result

    def _replace(self, executor):
        executor.shutdown(wait=False, kill_workers=True)
        self._executors.discard(executor)
        if not self._closed:
            self._add()

    def close(self):
        """Stop all processes."""
        self._closed = True
        for executor in list(self._executors):
            executor.shutdown(wait=True, kill_workers=True)
        self._executors.clear()
