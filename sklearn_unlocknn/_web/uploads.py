"""Structures in requests: files and texts of bounded size, none of them on disk."""

import dataclasses
import io
import json
import os
import re

from flask import Request

#: Name of a text that was pasted.
PASTED = "pasted text"
#: Endings of files that only the command line reads.
_COMPRESSED = (".gz", ".bz2", ".xz", ".lzma", ".z", ".zip", ".tar", ".7z", ".zst")
_OTHER = (".cssr", ".xsf", ".res", ".mol", ".sdf", ".pdb", ".gjf")


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of a request.

    Parameters
    ----------
    total_bytes, file_bytes : int
        Greatest size of a request, and of each file in it.
    files, structures : int
        Greatest number of files, and of structures in them.
    atoms : int
        Greatest number of atoms of a structure.
    seconds : float
        Time for the structures of a request; those who wait are not counted.
    waiting : int
        Requests that wait for a process. More are refused.
    """

    total_bytes: int = 8_000_000
    file_bytes: int = 2_000_000
    files: int = 50
    structures: int = 200
    atoms: int = 500
    seconds: float = 60.0
    waiting: int = 32

    def sentence(self):
        """Return the bounds in words."""
        return (
            f"Up to {self.files} files, {self.structures} structures and "
            f"{in_megabytes(self.total_bytes)} at once; a file up to "
            f"{in_megabytes(self.file_bytes)}, a structure up to {self.atoms} atoms."
        )


def in_megabytes(size):
    """Return a size in words."""
    return f"{size / 1e6:.3g} MB"


class RequestError(Exception):
    """A request that is refused as a whole: status, message, headers."""

    def __init__(self, status, message, **headers):
        super().__init__(message)
        self.status, self.headers = status, headers


class MemoryRequest(Request):
    """A request whose files stay in memory: by default large ones go to the disk."""

    def _get_file_stream(self, *args, **kwargs):
        return io.BytesIO()


def read_request(request, limits):
    """Return the uploads of a request, as a list of (name, content, error).

    The body is a form with files and texts, or JSON: ``{"structures": [{"name": ...,
    "text": ...}]}``. Content is None beside an error, which is "" otherwise.
    """
    size = request.content_length
    if size is not None and size > limits.total_bytes:
        raise RequestError(
            413,
            f"The request has {in_megabytes(size)}. {limits.sentence()} Send fewer "
            "or smaller files.",
        )
    if request.is_json:
        uploads = _from_json(request, limits)
    else:
        uploads = [
            (file.filename, file.read())
            for _, file in request.files.items(multi=True)
            if file.filename
        ]
        texts = request.form.getlist("text")
        uploads += [(PASTED, text.encode()) for text in texts if text.strip()]
    if not uploads:
        raise RequestError(
            400,
            "Got no structure. Choose files, drop them on the field, or paste a text.",
        )
    if len(uploads) > limits.files:
        raise RequestError(
            413, f"Got {len(uploads)} files. {limits.sentence()} Send fewer at once."
        )
    return [_checked(clean_name(name), content, limits) for name, content in uploads]


def _from_json(request, limits):
    expected = 'expected {"structures": [{"name": "a.cif", "text": "..."}]}'
    try:
        content = json.loads(request.get_data())
    except (ValueError, RecursionError) as error:
        text = f"The body is no valid JSON ({error}), {expected}."
        raise RequestError(400, text) from error
    items = content.get("structures") if isinstance(content, dict) else None
    if not isinstance(items, list):
        raise RequestError(400, f"The JSON has no list of structures, {expected}.")
    uploads = []
    for i, item in enumerate(items):
        item = {"text": item} if isinstance(item, str) else item
        name, text = PASTED, None
        if isinstance(item, dict):
            name, text = item.get("name", PASTED), item.get("text")
        if not isinstance(name, str) or not isinstance(text, str):
            raise RequestError(400, f"Structure {i} has no text, {expected}.")
        uploads.append((name, text.encode(errors="replace")))
    return uploads


def clean_name(name):
    """Return the name of a file without folders and characters that do not print."""
    name = re.split(r"[/\\]", name.strip())[-1] or "file"
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    return name if len(name) <= 100 else f"{name[:60]}...{name[-37:]}"


def _checked(name, content, limits):
    ending = os.path.splitext(name.lower())[1]
    error = ""
    if len(content) > limits.file_bytes:
        error = (
            f"the file has {in_megabytes(len(content))}, more than "
            f"{in_megabytes(limits.file_bytes)}"
        )
    elif not content.strip():
        error = "the file is empty"
    elif ending in _COMPRESSED or content[:2] in (b"\x1f\x8b", b"PK"):
        error = "the file is compressed. Unpack it"
    elif ending in _OTHER:
        error = (
            f"files {ending} are not read here. Convert it to CIF, POSCAR, extended "
            "XYZ or JSON, or use `unlocknn predict`"
        )
    return name, None if error else content, error
