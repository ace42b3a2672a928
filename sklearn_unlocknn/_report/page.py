"""The page of a report."""

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path

from .. import __version__
from .._files.output import replacing
from ..plotting._display import import_pyplot, with_units
from . import tables, verdicts
from .assessment import assess
from .pictures import draw_all
from .units import Quantity, clean, number, percent

_FOLDER = Path(__file__).parent


def write_report(
    model,
    X,
    y,
    path,
    *,
    target=None,
    unit=None,
    log10=None,
    coverage=0.95,
    groups=None,
    names=None,
    structures=None,
    card=None,
):
    """Write a report on a fitted model and a data set as one HTML file.

    The file has all in it: figures, verdicts in words, pictures, the worst samples with
    their nearest training samples, the model card. It runs no script, sends no request
    and opens from disk.

    Parameters
    ----------
    model : estimator
        Fitted, with ``predict(X, return_std=True)`` for one target, bare, in a
        Pipeline, in a search or recalibrated. Of regressors of this package the report
        also has the domain of the training data.
    X : array-like of shape (n_samples, n_features), or what `model` takes
        Samples that were not used in the fit.
    y : array-like of shape (n_samples,) or None
        Observed targets, in target units; a sample with NaN is left out and listed.
        None: a report on the predictions and their domain, without errors.
    path : str or path-like
        File to write. A file that exists is replaced, and only once the new one is
        complete.
    target, unit : str, default=None
        Name and unit of the target; None takes those of `card`.
    log10 : bool, default=None
        Whether `model` and `y` are of the decadic logarithm of the target. `unit`
        remains that of the target. None is as in `card`, and False without one.
    coverage : float, default=0.95
        Nominal coverage of the intervals drawn and listed, in (0, 1). The report judges
        those of 50, 90 and 95 % as well.
    groups : array-like of shape (n_samples,) or list of set, default=None
        Labels for a table by group, as in
        :func:`~sklearn_unlocknn.metrics.uq_by_group`.
    names : array-like of shape (n_samples,), default=None
        Names of the samples. None: the names of files, or the positions from 0.
    structures : list of Structure, default=None
        Structures or formulas of the samples of a model that takes numbers, for the
        pictures by element.
    card : dict, default=None
        Model card, as :func:`~sklearn_unlocknn.read_model_card` returns it. None: what
        is known of `model`.

    Raises
    ------
    ImportError
        If matplotlib or Jinja2 is not installed (extra ``plot``).
    TypeError
        If `model` predicts no std.
    ValueError
        If arrays do not match, no sample has a prediction and a target, or the model
        has several targets.
    OSError
        If the file cannot be written.

    See Also
    --------
    sklearn_unlocknn.metrics.uq_report : The figures as text or dict.
    sklearn_unlocknn.plotting : The pictures one by one.

    Notes
    -----
    A verdict compares the observed coverage with Wilson's 95 % interval of a binomial
    proportion: what it contains may be chance. A deviation below .02 is "nearly as
    stated" in any case. A sample is outside the domain if its
    rank in ``domain_score`` is below .05. Pictures of many samples are drawn as cells
    or pixels: the file stays below some megabytes.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_unlocknn import VGPRegressor, write_report
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = VGPRegressor("rbf", random_state=0).fit(X[:300], y[:300])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "report.html")
    ...     write_report(model, X[300:], y[300:], path, target="progression")
    ...     text = path.read_text(encoding="utf-8")
    >>> "intervals hold" in text
    True
    """
    import_libraries()
    card = card or {}
    log10 = bool(card.get("log10")) if log10 is None else log10
    quantity = Quantity(target or card.get("target"), unit or card.get("unit"), log10)
    assessment = assess(
        model, X, y, coverage=coverage, groups=groups, names=names,
        structures=structures,
    )  # fmt: skip
    page = render(assessment, quantity, card=card or None)
    with replacing(path, encoding="utf-8", newline="\n") as file:
        file.write(page)


def render(assessment, quantity, *, card=None, made_from=()):
    """Return the page as text.

    Parameters
    ----------
    assessment : Assessment
        Predictions.
    quantity : Quantity
        Name and units of what they predict.
    card : dict or None
        Model card of a file; None: that of the model itself.
    made_from : sequence of (str, str)
        Labels and texts on where the model and data come from.
    """
    a, with_errors = assessment, assessment.y is not None
    style = (_FOLDER / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    intervals = verdicts.interval_verdicts(a) if with_errors else []
    left_out, n_not_listed = tables.failures(a)
    content = {
        "style": style,
        "policy": f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'",
        "title": f"Report on predictions of {quantity.name}",
        "target": quantity.target,
        "units": quantity.units,
        "quantity": quantity,
        "a": a,
        "intervals": [_interval_row(one, a.n, quantity) for one in intervals],
        "figures": tables.figures(a, quantity) if with_errors else [],
        "pictures": draw_all(a, quantity),
        "groups": tables.groups(a, quantity),
        "worst": tables.worst(a, quantity),
        "left_out": left_out,
        "n_not_listed": n_not_listed,
        "card": tables.card_rows(card or tables.card_of(a, quantity)),
        "made": [
            *((label, clean(text, 500)) for label, text in made_from),
            ("Date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
            ("Program", f"sklearn-unlocknn {__version__}"),
        ],
    }
    if with_errors:
        content["summary"], content["well"] = verdicts.summary(a, intervals)
        content["sentences"] = verdicts.sentences(a, intervals, quantity)
    else:
        content["summary"] = "Predictions without targets: their errors are not known."
        content["well"] = False
        content["sentences"] = [
            f"Predicted std are {quantity.number(a.std.mean())} on average, "
            f"{quantity.number(a.std.min())} to {quantity.number(a.std.max())}.",
            *verdicts.on_domain(a, quantity),
        ]
    content["tiles"] = _tiles(a, quantity, intervals)
    return _template().render(content)


def _tiles(a, quantity, intervals):
    """Return value and label of the main figures."""
    tiles = [(f"{a.n}", "samples")]
    if a.y is not None:
        point, proper = a.figures["point"], a.figures["proper"]
        tiles += [
            (number(point["mae"]), with_units("mean abs. error", quantity.units)),
            (number(proper["nll"]), "NLL (nats)"),
            (number(proper["crps"]), with_units("CRPS", quantity.units)),
        ]
        for one in intervals:
            label = f"in {100 * one.nominal:g} % intervals"
            tiles.append((percent(one.share, a.n), label))
    if a.outside is not None:
        tiles.append((f"{a.outside.sum()}", "outside the domain"))
    if a.failures:
        tiles.append((f"{len(a.failures)}", "left out"))
    return tiles


def _interval_row(one, n, quantity):
    chance = f"{percent(one.low, n)} to {percent(one.high, n)}"
    return (
        f"{100 * one.nominal:g} %", percent(one.share, n), chance,
        quantity.number(one.width), one.verdict,
    )  # fmt: skip


def import_libraries():
    """Import matplotlib and Jinja2, and return the latter.

    Raises
    ------
    ImportError
        If one is not installed, with how to install it.
    """
    import_pyplot("A report")
    try:
        import jinja2
    except ImportError as error:
        raise ImportError(
            "A report needs Jinja2, which is not installed: "
            'pip install "sklearn-unlocknn[plot]"'
        ) from error
    return jinja2


def _template():
    jinja2 = import_libraries()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")
