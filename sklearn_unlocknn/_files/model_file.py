"""Save and load models, and read their cards."""

import os

from .archive import ArchiveReader, ArchiveWriter, ModelFileError, reading
from .card import make_card
from .output import replacing
from .read import Reader
from .registry import PACKAGE
from .write import Writer

FORMAT = "sklearn_unlocknn model"
#: Number of the format of the files that are written; those of lower numbers are read.
#: A change of what a kind of value, or the name of a type, means in a file needs a new
#: number, a reader of the old meaning in `read`, and files of the new number in the
#: tests. A new type, or a new field of a dataclass that has a default, needs none.
PROTOCOL = 3


def save_model(model, path, *, X=None, target=None, unit=None, log10=False,
               held_out=None):  # fmt: skip
    """Write a model to a file that runs no code when it is read.

    The file has the numbers and the parameters of the model, its network included, and
    a model card. `load_model` reads it, and so does the command ``unlocknn``.

    Parameters
    ----------
    model : estimator
        A fitted estimator of this package, alone, as a step of a Pipeline, inside a
        search, or wrapped by other estimators of this package or of scikit-learn whose
        state is plain (no trees, neighbours or support vectors).
    path : str, path-like or binary file object
        Where to write; by convention the name ends in ".unlocknn". A file that exists
        is replaced, and only once the new one is complete.
    X : list or array-like of length n_samples, default=None
        Training samples. They are not written; their number is, and of structures the
        reduced formulas. None: the number is the sum of the weights of the fit.
    target : str, default=None
        Name of the target, for the model card.
    unit : str, default=None
        Unit of the target.
    log10 : bool, default=False
        Whether the model predicts the decadic logarithm of ``target``: the command
        ``unlocknn`` then predicts in units of the target.
    held_out : dict, default=None
        Figures of samples that were not used in the fit, such as a result of
        ``uq_report(..., output_dict=True)``.

    Raises
    ------
    ModelFileError
        If the model has a part that is code (a function or class of your own, a Lambda
        layer) or another part that cannot be saved, which the message names. Nothing
        is written then.
    OSError
        If the file cannot be written.

    See Also
    --------
    load_model : Read the model.
    read_model_card : Read what the file states of the model.

    Notes
    -----
    The file is a zip file of JSON and of NumPy's .npy files, without compression and
    without pickle. The parameters ``memory`` and ``n_jobs`` of estimators are of a
    machine and not of a model: they are not written.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_unlocknn import VGPRegressor, load_model, save_model
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = VGPRegressor("rbf", random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(model, f"{folder}/model.unlocknn", target="progression")
    ...     loaded = load_model(f"{folder}/model.unlocknn")
    >>> bool((loaded.predict(X[:5]) == model.predict(X[:5])).all())
    True
    """
    described = {"X": X, "target": target, "unit": unit, "log10": log10}
    described["held_out"] = held_out
    if hasattr(path, "write"):
        _write(model, path, described)
        return
    with replacing(path, "wb") as file:
        _write(model, file, described)


def load_model(path, *, max_bytes=2**32):
    """Read a model that `save_model` wrote.

    Nothing in the file is run: it names types that are known and has their numbers. A
    network is built when the model first predicts.

    Parameters
    ----------
    path : str or path-like
        The file.
    max_bytes : int, default=4294967296
        Greatest size of the file. The model takes about as much memory.

    Returns
    -------
    model : estimator
        A live network that was a parameter is its handle now, which `fit` takes too;
        ``memory`` and ``n_jobs`` are None.

    Raises
    ------
    ModelFileError
        If the file is damaged, too large, of a later version, not a model file, or has
        anything that a model file must not have.
    OSError
        If there is no such file, or it cannot be opened.

    See Also
    --------
    save_model : Write a model.
    read_model_card : Read what the file states of the model, without the model.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_unlocknn import VGPRegressor, load_model, save_model
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = VGPRegressor("linear", max_iter=2, random_state=0).fit(X, y)
    >>> with tempfile.NamedTemporaryFile(suffix=".unlocknn") as file:
    ...     save_model(model, file.name)
    ...     loaded = load_model(file.name)
    >>> loaded.noise_std_ == model.noise_std_
    True
    """
    return read_model_file(path, max_bytes)[1]


def read_model_card(path):
    """Read what a model file states of its model, without reading the model.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    card : dict
        "model", its type; "estimators", the types of all estimators in it;
        "parameters", as text; "target", "unit" and "log10"; "n_samples", the number of
        training samples; "formulas", those of the training structures; "held_out",
        figures of samples that were not used in the fit; "versions" of the libraries,
        where these state one;
        "format" and "protocol", of the file. None where it was not stated.

    Raises
    ------
    ModelFileError
        If it is no model file, or damaged.
    OSError
        If there is no such file, or it cannot be opened.

    See Also
    --------
    save_model : Write a model and its card.

    Notes
    -----
    The card is what the writer of the file states; nothing in it is checked.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_unlocknn import VGPRegressor, read_model_card, save_model
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = VGPRegressor("linear", max_iter=2, random_state=0).fit(X, y)
    >>> with tempfile.NamedTemporaryFile(suffix=".unlocknn") as file:
    ...     save_model(model, file.name, target="progression", held_out={"mae": 44.0})
    ...     card = read_model_card(file.name)
    >>> card["model"], card["n_samples"], card["target"], card["held_out"]
    ('VGPRegressor', 442, 'progression', {'mae': 44.0})
    """
    with _opened(path) as file, reading(path):
        return _read_card(ArchiveReader(file))


def read_model_file(path, max_bytes=2**32):
    """Return the card and the model of a file."""
    with _opened(path) as file, reading(path):
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise ModelFileError(
                f"it has {size} bytes, more than max_bytes={max_bytes}; pass more if "
                "you expect a model of this size"
            )
        archive = ArchiveReader(file)
        card = _read_card(archive)
        return card, Reader(archive, card["protocol"]).build(archive.text("model.json"))


def _opened(path):
    """Open a model file by its path; the number of an open file is refused."""
    path = os.fspath(path)
    if os.path.isdir(path):
        raise IsADirectoryError(f"Got the folder {path!r}, expected a model file.")
    return open(path, "rb")


def _write(model, file, described):
    with ArchiveWriter(file) as archive:
        writer = Writer(archive)
        archive.add_text("model.json", writer.node(model, "model"))
        card = make_card(model, writer.objects, **described)
        archive.add_text("card.json", {"format": FORMAT, "protocol": PROTOCOL, **card})


def _read_card(archive):
    """Return the card; raise unless it is of a format that this version reads."""
    card = archive.text("card.json")
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ModelFileError("it is another kind of file")
    protocol = card.get("protocol")
    if type(protocol) is not int or protocol < 1:
        raise ModelFileError(f"it has the format number {protocol!r:.40}")
    if protocol > PROTOCOL:
        versions = card.get("versions")
        version = versions.get(PACKAGE) if isinstance(versions, dict) else None
        raise ModelFileError(
            f"it has the format number {protocol}, and this version of "
            f"sklearn_unlocknn reads numbers up to {PROTOCOL}; it was written by "
            f"version {version!s:.20}, install that or a later one"
        )
    return card
