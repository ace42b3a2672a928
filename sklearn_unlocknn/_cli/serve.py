"""The command serve: a model as a web page of this machine."""

import logging
import os
import signal
import socket
import webbrowser

import numpy as np

from .commands import find_target, warn_about_version
from .files import CommandError, load_model, print_message, structure_rows
from .tables import read_samples

_MISSING = (
    "The page needs the packages of the extra `web`, and {name} is not installed: "
    "pip install 'sklearn-unlocknn[web]'"
)
#: Greatest body that the server takes: a larger one than the page's limit gets its
#: message, and one larger than this is cut off.
_MOST_BYTES = 32_000_000
_THREADS = 48


def serve(args):
    """Serve the page of a model until it is interrupted."""
    try:
        import waitress

        from .._web.app import create_app, warm_up
    except ModuleNotFoundError as error:
        if error.name not in ("flask", "waitress", "jinja2", "werkzeug"):
            raise
        raise CommandError(_MISSING.format(name=error.name)) from error

    model = load_model(args.model, args.allow_pickle)
    warn_about_version(args, model)
    training = None if args.training is None else _training(args, model)
    app = create_app(
        model["estimator"], model["card"], coverage=args.coverage, training=training,
        n_workers=_count_workers(args.n_jobs), log=print_message, quiet=not args.debug,
    )  # fmt: skip
    stopped = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app.workers.ready(warm_up)
        server = _listen(waitress, app, args.port)
        address = f"http://127.0.0.1:{server.effective_port}"
        print(f"Serving {args.model} at {address} (stop with Ctrl-C)", flush=True)
        if args.open:
            webbrowser.open(address)
        server.run()  # until Ctrl-C
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, stopped)
        app.close()
    print_message("Stopped")
    return 0


def _listen(waitress, app, port):
    """Return the server. It keeps requests and answers in memory, not in files."""
    # It warns whenever a request waits for a thread
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    listener = socket.socket()
    try:
        # waitress leaves a socket open that it cannot bind
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        return waitress.create_server(
            app, sockets=[listener], threads=_THREADS, ident=None,
            max_request_body_size=_MOST_BYTES, inbuf_overflow=2 * _MOST_BYTES,
            outbuf_overflow=2**30, connection_limit=200, channel_timeout=60,
        )  # fmt: skip
    except OSError as error:
        listener.close()
        raise CommandError(
            f"Cannot listen at the port {port}: {error.strerror}. Name another one by "
            "--port; 0 takes one that is free."
        ) from error


def _count_workers(n_jobs):
    """Return the number of processes; None is 2, or 1 on a single processor."""
    n = os.cpu_count() or 1
    if n_jobs is None:
        return min(2, n)
    return n if n_jobs < 0 else max(n_jobs, 1)


def _training(args, model):
    """Return the training structures; raise unless they are those of the fit."""
    from .._web.training import Training

    estimator, path = model["estimator"], args.training
    record = estimator._head.record
    if record is None:
        raise CommandError(
            f"{args.model} is of an old format, which keeps no training structures. "
            "Fit the model again, or leave --training out."
        )
    if os.path.isdir(path):
        rows = [row for row in structure_rows([path]) if row[3] == ""]
        found = Training(
            [row[2] for row in rows], [os.path.basename(row[1]) for row in rows]
        )
    else:
        target = find_target(args, model)
        samples = read_samples(path, target, args.structures, log10=model["log10"])
        samples = samples[samples["error"] == ""]
        name = os.path.basename(path)
        names = [
            f"row {row} of {name}" + (f" ({file})" if file else "")
            for row, file in samples["file"].items()
        ]
        found = Training(samples["structure"].tolist(), names, samples["y"].to_numpy())
    reason = found.mismatch(record)
    if reason and len(found.items) > record.n_seen:
        print_message(
            f"Reading {len(found.items)} structures to find those that were left out"
        )
        estimator.set_params(on_error="nan", memory=None, n_jobs=args.n_jobs, verbose=1)
        done = estimator._encoder.extract(estimator, found.items)
        found = found.part(np.flatnonzero(done.n_atoms > 0))
        reason = found.mismatch(record)
    if reason:
        raise CommandError(
            f"{path} is not the data of the fit: {reason}. Give the table or folder "
            "that the model was fitted to, as it was."
        )
    print_message(f"Showing {len(found.items)} training structures of {path}")
    return found
