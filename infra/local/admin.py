"""The first account's password: given, or made up once and kept where only the operator reads it. There is no default one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from infra.local.settings import SettingInvalid


def ensure_admin(ensure: Callable[[str], bool], folder: Path, given: str) -> str:
    """Let ``ensure`` make the account ``admin`` unless it is there; what to tell the operator, "" for nothing.

    A generated password is written down before the account exists: a crash between the two leaves a file that the next start
    takes up, never an account that nobody can enter. Raises SettingInvalid for a given one that the registry does not take.
    """
    if given:
        try:
            ensure(given)
        except ValueError as error:
            raise SettingInvalid("SLIPWAY_ADMIN_PASSWORD", f"cannot be a password: {error}") from error
        return ""
    path = folder / "admin-password"
    password = _kept(path)
    written = not password
    if written:
        password = secrets.token_urlsafe(18)
        _keep(path, password)
    if ensure(password):
        return f"user admin, password {password} (kept in {path})"
    if written:
        path.unlink()  # the account was there before, with a password of its own
    return ""


def _kept(path: Path) -> str:
    with suppress(FileNotFoundError):
        return path.read_text("utf-8").strip()
    return ""


def _keep(path: Path, password: str) -> None:
    new = path.with_name(path.name + "~new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(password + "\n")
        file.flush()
        os.fsync(descriptor)
    new.replace(path)
