"""What an operator does to a data folder beside serving it: a backup while it is in use, another password for ``admin``.

    python -m infra.local.maintenance backup <folder>      # complete, or continued where an earlier one left off
    python -m infra.local.maintenance password             # reads the new one from SLIPWAY_ADMIN_PASSWORD or makes one up

The folder that ``backup`` makes is a data folder: restoring it is starting the registry on it.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from chalicelib.local.disk_blobs import SEALED
from chalicelib.local.sqlite_table import NewerSchema, SqliteTable
from chalicelib.registry.ports import Item
from infra.local.folders import NotOurs, take
from infra.local.settings import CannotStart, ServerSettings, read_settings

_SECRETS = ("root-key.pem", "link-secret", "admin-password")

_ATTEMPTS = 5
"""Times the records are copied before a blob that is not there counts as lost."""

_AT_ONCE = 1_000


def backup(data: Path, target: Path) -> int:
    """Copy a data folder that may be in use; how many blobs were copied, those of an earlier backup not counted again.

    The records are copied first, as they are at one moment, and then the blobs: every blob that a record names was sealed
    before the record was written, so it is among them, unless it was deleted in between. Then the records are copied again.
    Staged bytes are left out; their uploads have to begin anew. Raises CannotStart if there is nothing to copy, the target is
    somebody else's folder, or the data folder lacks bytes that its records name.
    """
    metadata = _metadata(data)
    _refuse_served(data.resolve(), target.resolve())
    try:
        take(target)
    except NotOurs as error:
        raise CannotStart(f"cannot back up into {error}") from error
    except OSError as error:
        raise CannotStart(f"cannot back up into {target}: {error.strerror}") from error
    for name in _SECRETS:
        with suppress(FileNotFoundError):
            _copy(data / name, target / name)
    copied = 0
    for _ in range(_ATTEMPTS):
        with closing(SqliteTable(metadata)) as table:
            table.backup(target / metadata.name)
        (target / metadata.name).chmod(0o600)
        copied += sum(_copy_blob(data, target, blob) for blob in _sealed(data))
        missing = _missing(target)
        if not missing:
            return copied
    raise CannotStart(
        f"the backup in {target} is not complete: its records name bytes that {data} does not have, {missing} among them"
    )


def _refuse_served(data: Path, target: Path) -> None:
    """A folder that a registry was served from holds more than an earlier backup of this one: what was pushed there, and
    perhaps a server that runs on it now. It is told by its lock, which a backup never has. Raises CannotStart."""
    if target == data or data in target.parents or target in data.parents:
        raise CannotStart(f"cannot back up {data} into {target}: the one is within the other")
    if (target / "lock").exists():
        raise CannotStart(f"cannot back up into {target}: a registry was served from it; name another folder")
    earlier = target / "root-key.pem"
    if earlier.is_file() and (data / earlier.name).is_file() and earlier.read_bytes() != (data / earlier.name).read_bytes():
        raise CannotStart(f"cannot back up into {target}: it is the backup of another registry")


def _missing(target: Path) -> str:
    """The key of bytes that the copied records name and the copy lacks, "" if it has all."""
    with closing(SqliteTable(target / "metadata.sqlite")) as table:
        cursor: str | None = None
        while True:
            walked = table.walk(cursor, _AT_ONCE)
            for key in filter(None, map(_named, walked.items)):
                if not (target / "blobs" / (key + SEALED)).exists():
                    return key
            if (cursor := walked.cursor) is None:
                return ""


def _named(item: Item) -> str:
    """The store's key that a record needs: a proven blob's, a repository's link's, a large manifest's, be it in the trash; ""
    for others."""
    partition, sort = item.key
    proven = partition.startswith("blob/") and sort == "blob"
    held = partition.startswith("repository/") and sort.startswith(("blob/", "content/", "removed/manifest/"))
    return str(item.attributes.get("key", "")) if proven or held else ""


def _metadata(data: Path) -> Path:
    metadata = data / "metadata.sqlite"
    if not metadata.is_file():
        raise CannotStart(f"DATA names {data}, where no registry has its data")
    return metadata


def _sealed(data: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(data / "blobs"):
        yield from (Path(folder, name).relative_to(data) for name in names if name.endswith(SEALED))


def _copy_blob(data: Path, target: Path, blob: Path) -> bool:
    copy = target / blob
    if copy.exists():  # keys are never used twice, so what is there is the same
        return False
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        _copy(data / blob, copy)
    except FileNotFoundError:  # deleted meanwhile
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    """A durable copy that appears whole or not at all."""
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)  # a crash left it
    try:
        with source.open("rb") as original, os.fdopen(_create(partial), "wb") as copy:
            shutil.copyfileobj(original, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def change_password(settings: ServerSettings, environment: Mapping[str, str]) -> str:
    """Give ``admin`` another password, which takes effect at once, also in a running server; what to tell the operator.

    Raises CannotStart.
    """
    from chalicelib import wiring

    _metadata(settings.data)
    wiring.sqlite_table()  # tells what is wrong with the data before anything else is asked
    given = environment.get("SLIPWAY_ADMIN_PASSWORD", "")
    password = given or secrets.token_urlsafe(18)
    try:
        if not wiring.accounts().set_password("admin", password):
            raise CannotStart(f"DATA names {settings.data}, where there is no account admin yet")
    except ValueError as error:
        raise CannotStart(f"SLIPWAY_ADMIN_PASSWORD cannot be a password: {error}") from error
    finally:
        wiring.sqlite_table().close()
    (settings.data / "admin-password").unlink(missing_ok=True)  # it holds the earlier one
    return "the password of admin is changed" if given else f"the password of admin is now {password}"


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.maintenance", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("backup", help="copy the data folder while it is in use").add_argument("folder", type=Path)
    commands.add_parser("password", help="give admin another password")
    options = parser.parse_args(arguments)
    os.umask(0o077)  # whatever makes a file, SQLite included
    try:
        settings = read_settings(environment)
        if options.command == "backup":
            copied = backup(settings.data, options.folder)
            print(f"slipway: {settings.data} is backed up in {options.folder}, {copied} blobs copied now")
        else:
            os.environ.update(SLIPWAY_DATA=str(settings.data), SLIPWAY_PUBLIC_URL=settings.public_url)
            print(f"slipway: {change_password(settings, environment)}")
    except (CannotStart, NewerSchema, sqlite3.DatabaseError, OSError) as error:
        print(f"slipway: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
