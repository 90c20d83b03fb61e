"""Making a folder its owner's alone: it holds keys and other people's images. Nobody else's folder is touched."""

from __future__ import annotations

from pathlib import Path

_REGISTRY = "metadata.sqlite"
_OURS = frozenset({"lock", "root-key.pem", "link-secret", "upload-keys", "admin-password", "blobs", "lost+found"})
"""What may be there before the records are: a first start that was cut off, and a file system mounted for the blobs."""


class NotOurs(Exception):
    """A folder that holds something, but nothing of a registry's."""


def take(folder: Path) -> None:
    """Make the folder, or take one that is empty or a registry's; from then on only its owner enters it. Raises NotOurs,
    OSError.

    The mode of another folder is not ours to change: DATA=/tmp, said by root, would lock everybody out of it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A backup that was interrupted at its beginning leaves no more than a part of a file.
    names = {entry.name.removesuffix(".partial") for entry in folder.iterdir()}
    others = {name for name in names if name not in _OURS and not name.startswith("root-key.pem.")}
    if others and _REGISTRY not in names:
        raise NotOurs(f"{folder}, which holds other things: {', '.join(sorted(others)[:3])}; name a folder of its own")
    folder.chmod(0o700)
