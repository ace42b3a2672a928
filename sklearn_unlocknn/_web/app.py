"""The web application of a model: a page, and the same as JSON."""

import importlib.util
import logging
import traceback
from pathlib import Path
from urllib.parse import quote

from flask import Flask, jsonify, render_template, request, send_file
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from .guard import add_headers, check_source
from .results import Served, draw_training, predict_uploads, start, warm_up
from .uploads import Limits, MemoryRequest, RequestError, read_request
from .words import domain_words, number, plural, plus_minus
from .workers import Workers

#: The viewer of crystals inside the chemiscope package.
_VIEWER = "sphinx/static/chemiscope.min.js"
#: Parts of a result that only the page has.
_PICTURES = ("drawing", "legend", "viewer", "chart")


def find_viewer():
    """Return the path of chemiscope's script, or None; nothing is imported."""
    spec = importlib.util.find_spec("chemiscope")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / _VIEWER
    return path if path.is_file() else None


class ModelApp(Flask):
    """A Flask application with the processes that predict; ``close`` stops them."""

    request_class = MemoryRequest
    workers: Workers

    def close(self):
        """Stop the processes."""
        self.workers.close()


def create_app(
    estimator, card=None, *, coverage=0.95, training=None, limits=None, n_workers=1,
    log=lambda text: None, quiet=True,
):  # fmt: skip
    """Make the WSGI application of a model of structures.

    Parameters
    ----------
    estimator : MEGNetProbRegressor
        Fitted, with one target.
    card : dict, default=None
        Its model card, of which "target", "unit" and "log10" are used.
    coverage : float, default=0.95
        Probability of the intervals.
    training : Training, default=None
        The training structures, which are then shown.
    limits : Limits, default=None
        Bounds of requests; None: the default ones.
    n_workers : int, default=1
        Processes that read and predict.
    log : callable, default=lambda text: None
        Called with a line on each prediction, which has counts alone.
    quiet : bool, default=True
        Whether the processes write nothing on standard error.

    Returns
    -------
    app : ModelApp
    """
    card, limits = card or {}, limits or Limits()
    described = _described(estimator, card, coverage, training, limits)
    log10, unit = described["log10"], described["unit"]
    label = described["target"] + (f" ({unit})" if unit else "")
    items = None if training is None else training.items
    served = Served(estimator, log10, label, unit, coverage, limits, items)
    app = ModelApp(__name__)
    app.config.update(
        MAX_CONTENT_LENGTH=limits.total_bytes, MAX_FORM_MEMORY_SIZE=limits.total_bytes,
        MAX_FORM_PARTS=2 * limits.files + 10,
    )  # fmt: skip
    app.workers = Workers(n_workers, start, (served, quiet), limits)
    app.logger.handlers, app.logger.propagate = [logging.NullHandler()], False
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals |= {
        "number": number, "plural": plural, "plus_minus": plus_minus,
        "domain_words": domain_words, "model": described, "limits": limits,
        "has_viewer": find_viewer() is not None, "training": training,
        "percent": f"{100 * coverage:g} %", "unit": unit, "label": label,
    }  # fmt: skip
    app.before_request(lambda: check_source(request))
    app.after_request(add_headers)
    _add_errors(app, log, quiet)
    _add_routes(app, described, training, limits, log)
    return app


def _described(estimator, card, coverage, training, limits):
    """Return what the page and ``/api/model`` state of the model."""
    record = estimator._head.record
    n_samples = card.get("n_samples")
    if n_samples is None and record is not None:
        n_samples = record.n_seen
    return {
        "target": card.get("target") or "target",
        "unit": card.get("unit") or "",
        "log10": bool(card.get("log10")),
        "coverage": coverage,
        "n_samples": n_samples,
        "has_training_structures": training is not None,
        "limits": {
            name: getattr(limits, name)
            for name in ("total_bytes", "file_bytes", "files", "structures", "atoms",
                         "seconds")
        },
        "card": card,
    }  # fmt: skip


def _add_routes(app, described, training, limits, log):
    def predict(pictures):
        uploads = read_request(request, limits)
        results, csv = app.workers.run(predict_uploads, uploads, pictures)
        n_failed = sum(result["error"] != "" for result in results)
        log(f"{plural(len(results), 'structure')}, {n_failed} failed")
        return results, csv

    @app.get("/")
    def page():
        return render_template("page.html")

    @app.post("/")
    def page_of_results():
        results, csv = predict(pictures=True)
        csv = f"data:text/csv;charset=utf-8,{quote(csv)}"
        return render_template("page.html", results=results, csv=csv)

    @app.get("/api/model")
    def model():
        return jsonify(described)

    @app.post("/api/predict")
    def api():
        results, _ = predict(pictures=False)
        names = ("target", "unit", "log10", "coverage")
        return jsonify({**{k: described[k] for k in names}, "results": results})

    @app.get("/training/<int:index>")
    def training_structure(index):
        if training is None or index >= len(training.items):
            raise RequestError(
                404, "There is no such training structure. `unlocknn serve "
                "--training DATA` shows those of the data of the fit.",
            )  # fmt: skip
        found = app.workers.run(draw_training, index)
        y = None
        if training.y is not None:
            y = float(training.y[index])
            y = 10**y if described["log10"] else y
        name = training.names[index]
        return render_template("training.html", one=found, name=name, y=y, index=index)

    @app.get("/viewer.js")
    def viewer():
        path = find_viewer()
        if path is None:
            raise RequestError(404, "The package chemiscope is not installed.")
        return send_file(path, mimetype="text/javascript", max_age=3600)


def _add_errors(app, log, quiet):
    def answer(status, message, headers=None):
        if request.path.startswith("/api/"):
            response = jsonify({"error": message})
        elif status == 403:  # the page names the target
            response = app.response_class(f"{message}\n", mimetype="text/plain")
        else:
            response = app.make_response(
                render_template("page.html", message=message, status=status)
            )
        response.status_code = status
        for name, value in (headers or {}).items():
            response.headers[name.replace("_", "-")] = value
        return response

    @app.errorhandler(RequestError)
    def refused(error):
        return answer(error.status, str(error), error.headers)

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(error):
        limits = app.jinja_env.globals["limits"]
        return answer(413, f"The request is too large. {limits.sentence()}")

    @app.errorhandler(HTTPException)
    def of_http(error):
        texts = {
            404: "There is no such page.",
            405: f"{request.method} is not for this page.",
        }
        text = texts.get(error.code, f"The request is not valid: {error.description}")
        allow = getattr(error, "valid_methods", None)
        return answer(error.code, text, {"Allow": ", ".join(allow)} if allow else None)

    @app.errorhandler(Exception)
    def failed(error):  # its text may have a part of a file
        log(f"a request failed by an error of the type {type(error).__name__}")
        if not quiet:
            log("".join(traceback.format_exception(error)))
        return answer(
            500, f"The server failed ({type(error).__name__}). This is an error of "
            "sklearn_unlocknn; please report it with the file that causes it.",
        )  # fmt: skip


__all__ = ["create_app", "warm_up"]
