"""A file of JSON that belongs to one user: read whole, replaced whole.

What is written is there under its name completely or not at all, readable by the user alone.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from infra.command.failures import NotLoggedIn

PRIVATE_FOLDER = 0o700


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file, {} where there is no file or an empty one. Raises NotLoggedIn for anything else."""
    try:
        content = path.read_bytes()
        found = json.loads(content) if content.strip() else {}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise NotLoggedIn(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise NotLoggedIn(f"cannot read {path}: it is not JSON") from error
    if not isinstance(found, dict):
        raise NotLoggedIn(f"cannot read {path}: it does not hold a JSON object")
    return found


def write_object(path: Path, content: dict[str, Any]) -> None:
    """Put an object in the file's place, mode 0600; a symbolic link stays, and what it points to is replaced.

    Raises NotLoggedIn, and then the file is as it was.
    """
    target = Path(os.path.realpath(path))
    try:
        text = json.dumps(content, indent="\t", ensure_ascii=False, allow_nan=False).encode() + b"\n"
        target.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        _replace(target, text)
    except ValueError as error:  # a number beyond a double's range, half a surrogate pair: Python read it, JSON cannot hold it
        raise NotLoggedIn(f"cannot write {path}: what it holds already cannot be written again unchanged") from error
    except OSError as error:
        raise NotLoggedIn(f"cannot write {path}: {error.strerror}") from error


def _replace(target: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as sink:
            sink.write(content)
            sink.flush()
            os.fsync(descriptor)
            with suppress(OSError):  # for root, who would take the file from its owner otherwise; others may not, and need not
                owner = target.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
