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
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from chalicelib.local.disk_blobs import SEALED
from chalicelib.local.sqlite_table import SqliteTable
from infra.local.settings import CannotStart, ServerSettings, read_settings

_SECRETS = ("root-key.pem", "link-secret", "admin-password")


def backup(data: Path, target: Path) -> int:
    """Copy a data folder that may be in use; how many blobs were copied, those of an earlier backup not counted again.

    The records are copied first, as they are at one moment, and then the blobs: every blob that a record names was sealed
    before the record was written, so it is among them. Staged bytes are left out; their uploads have to begin anew.
    Raises CannotStart if there is nothing to copy.
    """
    metadata = _metadata(data)
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in _SECRETS:
        with suppress(FileNotFoundError):
            _copy(data / name, target / name)
    with closing(SqliteTable(metadata)) as table:
        table.backup(target / metadata.name)
    return sum(_copy_blob(data, target, blob) for blob in _sealed(data))


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
    except FileNotFoundError:  # deleted meanwhile; the records copied before do not need it
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    """A durable copy that appears whole or not at all."""
    partial = target.with_name(target.name + ".partial")
    try:
        with source.open("rb") as original, partial.open("wb") as copy:
            partial.chmod(0o600)
            shutil.copyfileobj(original, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def change_password(settings: ServerSettings, environment: Mapping[str, str]) -> str:
    """Give ``admin`` another password, which takes effect at once, also in a running server; what to tell the operator.

    Raises CannotStart.
    """
    from chalicelib import wiring

    _metadata(settings.data)
    given = environment.get("SLIPWAY_ADMIN_PASSWORD", "")
    password = given or secrets.token_urlsafe(18)
    try:
        if not wiring.accounts().set_password("admin", password):
            raise CannotStart(f"DATA names {settings.data}, where there is no account admin yet")
    except ValueError as error:
        raise CannotStart(f"SLIPWAY_ADMIN_PASSWORD cannot be a password: {error}") from error
    (settings.data / "admin-password").unlink(missing_ok=True)  # it holds the earlier one
    return "the password of admin is changed" if given else f"the password of admin is now {password}"


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.maintenance", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("backup", help="copy the data folder while it is in use").add_argument("folder", type=Path)
    commands.add_parser("password", help="give admin another password")
    options = parser.parse_args(arguments)
    try:
        settings = read_settings(environment)
        if options.command == "backup":
            copied = backup(settings.data, options.folder)
            print(f"slipway: {settings.data} is backed up in {options.folder}, {copied} blobs copied now")
        else:
            os.environ.update(SLIPWAY_DATA=str(settings.data), SLIPWAY_PUBLIC_URL=settings.public_url)
            print(f"slipway: {change_password(settings, environment)}")
    except CannotStart as error:
        print(f"slipway: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
