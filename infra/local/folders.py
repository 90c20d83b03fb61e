"""Making a folder its owner's alone: it holds keys and other people's images. Nobody else's folder is touched."""

from __future__ import annotations

import os
import re
from pathlib import Path

from chalicelib.local.disk_blobs import SEALED

_REGISTRY = "metadata.sqlite"
_OURS = frozenset({"lock", "root-key.pem", "link-secret", "upload-keys", "admin-password", "blobs", "lost+found"})
"""What may be there before the records are: a first start that was cut off, and a file system mounted for the blobs."""

_CUT_OFF = re.compile(r"\.(partial|[0-9a-f]{16})\Z", re.ASCII)
"""What ends the name of a file that was only begun: a backup's, and a secret's (chalicelib/local/secret_file.py)."""


class NotOurs(Exception):
    """A folder that holds something, but nothing of a registry's, or content without the records of it."""


def take(folder: Path) -> None:
    """Make the folder, or take one that is empty or a registry's; from then on only its owner enters it. Raises NotOurs,
    OSError.

    The mode of another folder is not ours to change: DATA=/tmp, said by root, would lock everybody out of it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = {entry.name for entry in folder.iterdir()}
    others = {name for name in names if _CUT_OFF.sub("", name) not in _OURS}
    if others and _REGISTRY not in names:
        raise NotOurs(f"{folder}, which holds other things: {', '.join(sorted(others)[:3])}; name a folder of its own")
    if _REGISTRY not in names and _has_content(folder / "blobs"):
        # Nothing in there would be anybody's: the registry that began here anew would delete it all, within a week.
        raise NotOurs(f"{folder}, which holds blobs but not {_REGISTRY}, the records of them; bring that back from a backup")
    folder.chmod(0o700)


def _has_content(blobs: Path) -> bool:
    return any(name.endswith(SEALED) for _, _, names in os.walk(blobs) for name in names)
