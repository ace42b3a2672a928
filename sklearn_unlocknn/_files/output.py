"""Files that are written whole or not at all."""

import os
import secrets
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path, mode="w", **options):
    """Open a file under a temporary name in its folder; rename it at the end.

    After an exception, Ctrl-C included, the temporary file is removed and an older file
    of this name is unchanged. ``options`` are those of `open`.
    """
    target = Path(os.path.realpath(path))  # a link remains a link
    if target.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder, expected a file to write.")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(target.parent)!r} for {target.name!r}. Make it "
            "first."
        )
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:  # starts before the file exists: Ctrl-C may come while it is created
        with open(part, mode.replace("w", "x"), **options) as file:
            yield file
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
