"""That a table and a store belong together: the same random word lies in both.

To a table that is new, or another registry's, every object in the store is nobody's, and who takes away what is nobody's would
take it all. So those who go by what lies in the store look here first.
"""

from __future__ import annotations

import secrets
from contextlib import suppress

from chalicelib.registry.attempts import settled
from chalicelib.registry.keys import MARK
from chalicelib.registry.ports import Absent, BlobMissing, BlobStore, ConditionFailed, Key, Put, Table
from chalicelib.registry.records import text

_KEY = Key("store", "mark")


class Unpaired(Exception):
    """The store is another table's."""

    def __init__(self) -> None:
        super().__init__(
            "the store is marked as another registry's, and to this table all that is in it is nobody's: nothing was touched; "
            f"if they do belong together, delete the object {MARK}"
        )


class Pairing:
    """Marks them, and compares."""

    def __init__(self, table: Table, store: BlobStore) -> None:
        self._table = table
        self._store = store

    def check(self) -> None:
        """Returns if they belong together, or neither is known to belong to another one: then they do from now on. Raises
        Unpaired, Busy, StoreFull."""
        found = self._found()
        word = self._word()
        if word is None and found is None:
            with suppress(ConditionFailed):  # somebody else was faster
                settled(lambda: self._table.write(Put(_KEY, {"word": secrets.token_hex(16)}, Absent())))
            word = self._word()
        if word is not None and found is None:  # a new store, or one that was brought back by what its records name
            self._store.put(MARK, word.encode())
        elif word != found:
            raise Unpaired

    def _word(self) -> str | None:
        record = self._table.get(_KEY)
        return None if record is None else text(record, "word")

    def _found(self) -> str | None:
        try:
            with self._store.open(MARK) as stream:
                return stream.read().decode(errors="replace")
        except BlobMissing:
            return None
