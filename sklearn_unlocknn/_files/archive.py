"""The zip file of JSON texts and arrays that a model file is.

Members are not compressed, so that a reader needs no more memory than the file has
bytes, and nothing is ever extracted to a folder.
"""

import io
import json
import math
import re
import zipfile
from contextlib import contextmanager

import numpy as np
from numpy.lib import format as npy

#: Kinds of arrays: bool, integers, floating point, complex, text, bytes and times.
_KINDS = "biufcUSmM"
_TEXTS = ("card.json", "model.json")
_ARRAY = re.compile(r"arrays/(0|[1-9]\d{0,6})\.npy")
#: Greatest size of a JSON text, in bytes: its objects take some twenty times as much.
MAX_TEXT = 2**24
#: Greatest length of an axis of an array without values.
MAX_AXIS = 10**7
#: Greatest header of an array: magic string, length and a dictionary of three entries.
_MAX_HEADER = 2048


class ModelFileError(ValueError):
    """Error of a model that cannot be written, or of a file that cannot be read.

    Parameters
    ----------
    message : str
        What is wrong, where, and what to do.

    See Also
    --------
    load_model : Raises it for a file that is damaged or not safe to read.

    Examples
    --------
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from sklearn_unlocknn import ModelFileError, save_model
    >>> try:
    ...     save_model(FunctionTransformer(lambda x: x), "model.unlocknn")
    ... except ModelFileError as error:
    ...     print(str(error)[:32])
    Cannot save model.func, a functi
    """

    def __init__(self, message):
        super().__init__(message)


class ArchiveWriter:
    """Write texts and arrays to a binary file.

    Parameters
    ----------
    file : binary file object
        Where to write.
    """

    def __init__(self, file):
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
        self._n_arrays = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._zip.close()

    def add_array(self, array):
        """Write an array; return its number."""
        number = self._n_arrays
        with self._open(f"arrays/{number}.npy") as member:
            npy.write_array(member, array, allow_pickle=False)
        self._n_arrays += 1
        return number

    def add_text(self, name, content):
        """Write an object as JSON."""
        text = json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
        if len(text) > MAX_TEXT:
            raise ModelFileError(
                f"Got {len(text)} bytes of {name}, expected at most {MAX_TEXT}. Keep "
                "numbers in arrays and not in lists, or use a pickle."
            )
        with self._open(name) as member:
            member.write(text)

    def _open(self, name):
        # A fixed date: equal models have equal files.
        info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        return self._zip.open(info, "w", force_zip64=True)


class ArchiveReader:
    """Read texts and arrays of a binary file, which nobody need trust.

    Parameters
    ----------
    file : binary file object
        What to read.

    Raises
    ------
    ModelFileError
        If a member has another name than those of a model file, is there twice, or is
        compressed or encrypted, or members are larger than the file.
    """

    def __init__(self, file):
        size = file.seek(0, 2)
        file.seek(0)
        if file.read(2) != b"PK":
            raise ModelFileError("it is another kind of file, or its start is lost")
        self._zip = zipfile.ZipFile(file)
        self._members, self._arrays = {}, {}
        total = 0
        for info in self._zip.infolist():
            name = info.filename
            if name not in _TEXTS and not _ARRAY.fullmatch(name):
                raise ModelFileError(f"it has the unknown part {name[:80]!r}")
            if name in self._members:
                raise ModelFileError(f"it has the part {name!r} twice")
            stored = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1
            if not stored or info.file_size != info.compress_size:
                raise ModelFileError(f"its part {name!r} is compressed or encrypted")
            total += info.file_size
            self._members[name] = info
        if total > size:
            raise ModelFileError(f"its parts have {total} bytes, the file {size}")

    def text(self, name):
        """Return the object of a JSON text."""
        if self._info(name).file_size > MAX_TEXT:
            raise ModelFileError(
                f"its part {name!r} has more than the {MAX_TEXT} bytes of a model file"
            )
        return json.loads(
            self._read(name).decode(),
            object_pairs_hook=_without_duplicates,
            parse_float=_finite,
            parse_constant=_finite,
        )

    def array(self, number):
        """Return an array by its number, the same object each time."""
        if type(number) is not int:
            raise ModelFileError(f"it has the array number {number!r:.40}")
        if number not in self._arrays:
            content = self._read(f"arrays/{number}.npy")
            self._arrays[number] = _parse_array(content, number)
        return self._arrays[number]

    def _info(self, name):
        if name not in self._members:
            raise ModelFileError(f"it has no part {name!r}")
        return self._members[name]

    def _read(self, name):
        """Return the bytes of a member, which can be modified."""
        info = self._info(name)
        content = bytearray(info.file_size)
        with self._zip.open(info) as member:
            view, done = memoryview(content), 0
            while n := member.readinto(view[done:]):
                done += n
            if done < len(content) or member.read(1):
                raise ModelFileError(f"its part {name!r} has another size than stated")
        return content


def _without_duplicates(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ModelFileError("a text in it has a name twice")
    return found


def _finite(text):
    value = float(text)
    if not math.isfinite(value):
        raise ModelFileError(f"a text in it has the number {text[:20]}")
    return value


def _parse_array(content, number):
    """Return the array of a .npy file; its numbers are not copied."""
    if content[:6] != npy.MAGIC_PREFIX or content[6] not in (1, 2):
        raise ModelFileError(f"its array {number} is no .npy file of version 1 or 2")
    n_length = 2 * content[6]
    start = 8 + n_length
    length = int.from_bytes(content[8:start], "little")
    if length > _MAX_HEADER or start + length > len(content):
        raise ModelFileError(f"its array {number} has no valid header")
    stream = io.BytesIO(content[8 : start + length])
    read = npy.read_array_header_1_0 if n_length == 2 else npy.read_array_header_2_0
    shape, fortran_order, dtype = read(stream, max_header_size=_MAX_HEADER)
    check_dtype(dtype, f"its array {number}")
    absurd = math.prod(shape) == 0 and max(shape) > MAX_AXIS
    if min(shape, default=1) < 0 or absurd:
        raise ModelFileError(f"its array {number} has the shape {shape}")
    if math.prod(shape) * dtype.itemsize != len(content) - start - length:
        raise ModelFileError(
            f"its array {number} has the shape {shape} of {dtype}, but another number "
            "of bytes"
        )
    values = np.frombuffer(content, dtype, math.prod(shape), start + length)
    if fortran_order:
        return values.reshape(shape[::-1]).T
    return values.reshape(shape)


def check_dtype(dtype, name):
    """Raise unless the values of a type are numbers, text, bytes or times."""
    if dtype.kind not in _KINDS or dtype.hasobject or dtype.itemsize == 0:
        raise ModelFileError(f"{name} has the type {dtype!s:.40}")


@contextmanager
def reading(path):
    """Turn every error of a damaged file into a `ModelFileError` with its path."""
    try:
        yield
    except Exception as error:  # of any class, from bytes of any kind
        reason = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, ModelFileError):
            reason = f"{type(error).__name__}: {reason}"
        raise ModelFileError(
            f"Cannot read {str(path)!r} as a model file: {reason[:500]}. Pass a file "
            "that save_model or the command unlocknn wrote, copied as a whole."
        ) from error
