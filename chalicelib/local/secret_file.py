"""Secrets in files of their own: made once, durably, and by whoever is fastest; never readable by others."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def kept(path: Path, make: Callable[[], bytes]) -> bytes:
    """What the file holds; a file that is not there is made, with what ``make`` gives.

    Raises PermissionError if others may use the file.
    """
    found = _read(path)
    if found is None:
        _write(path, make())
        found = _read(path)
    if found is None:
        raise FileNotFoundError(f"{path} was removed while it was made")
    return found


def _read(path: Path) -> bytes | None:
    """None if there is no file. The file that is judged is the one that is read."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise PermissionError(f"{path} holds a secret and may be used by others: chmod 600")
        return file.read()


def _write(path: Path, content: bytes) -> None:
    """Put the content there, unless another process was faster."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # unlike a rename, a link never replaces what another process made in the meantime
        path.hardlink_to(beside)
    except FileExistsError:
        pass
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
