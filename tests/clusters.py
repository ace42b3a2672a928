"""A real Dask cluster of two processes, and what kills one of them on the way."""

import os
import signal
import threading
import time
from contextlib import contextmanager

import pytest


@contextmanager
def dask_client():
    """Give a client of a local cluster of two worker processes."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",  # any port: others may run clusters, too
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


class Killer:
    """Kills a worker, as no program can catch it, once both of them compute."""

    def __init__(self, client):
        self.client = client
        self.pids = client.run(os.getpid)
        self.killed = []
        self.done = False
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while not self.done:
            busy = [worker for worker, keys in self.client.processing().items() if keys]
            if len(busy) == 2:
                os.kill(self.pids[busy[0]], signal.SIGKILL)
                self.killed.append(self.pids[busy[0]])
                return
            time.sleep(0.005)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done = True
        self.thread.join()
