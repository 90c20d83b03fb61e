"""Keys of the BlobStore: where everything lies, and what a key may look like, which every adapter checks before it becomes a
path or an object's name.

::

    data/<upload id>/<piece>                        what came by the program or a relay: upload_records.py
    direct/<repository id>/<digest>/<upload id>     what a client put there by itself: adoption.py
    manifests/<repository id>/<digest>/<random>     a manifest too large for the table: pushes.py
    proofs/<random>                                 copies that a store made of objects to hash them, for as long as that takes
    registry/mark                                   whose store it is: upkeep/pairing.py

No key is used twice. The sweep of what is left over (leftovers.py) knows each of these places but the last.
"""

from __future__ import annotations

import re

DATA, DIRECT, MANIFESTS, PROOFS = "data/", "direct/", "manifests/", "proofs/"
MARK = "registry/mark"

MAX_KEY = 512
"""Characters of a key at most."""

MAX_SEGMENT = 200
"""Characters between two slashes at most: file names end at 255 bytes, and an adapter adds a few of its own."""

_CHARACTERS = re.compile(r"[a-z0-9._:/-]*", re.ASCII)


def checked_key(key: str) -> str:
    """The key, if it is one; ValueError else: no empty, ``.`` or ``..`` segment, no other characters, no other length."""
    segments = key.split("/")
    if len(key) > MAX_KEY or not _CHARACTERS.fullmatch(key) or not all(map(_is_segment, segments)):
        raise ValueError(f"not a key: {key[:100]!r}")
    return key


def checked_prefix(prefix: str) -> str:
    """What some key may begin with; ValueError else."""
    base, slash, begins = prefix.rpartition("/")
    if slash:
        checked_key(base)
    if not _CHARACTERS.fullmatch(begins):
        raise ValueError(f"not a prefix of keys: {prefix[:100]!r}")
    return prefix


def _is_segment(text: str) -> bool:
    return 0 < len(text) <= MAX_SEGMENT and text not in {".", ".."}
