"""How much is stored, and how much of it would be missed: what the last whole audit counted.

A blob is counted once, however many repositories hold it. *Live*: a manifest needs it, or one that is under way; *restorable*:
only what was removed does; *garbage*: nothing does, and it goes unless somebody comes to need it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from chalicelib.registry.ports import Attributes, Key, Put, Table
from chalicelib.registry.records import number

KEY = Key("storage", "numbers")


class Use(Enum):
    """What a blob is good for."""

    LIVE = "live"
    RESTORABLE = "restorable"
    GARBAGE = "garbage"


@dataclass(frozen=True, slots=True)
class Total:
    """So many blobs, with so many bytes together."""

    bytes: int = 0
    blobs: int = 0


@dataclass(frozen=True, slots=True)
class Numbers:
    """Totals by use, and how many manifests there are; ``measured_at`` in seconds since the epoch, None before."""

    totals: Mapping[Use, Total] = field(default_factory=lambda: dict.fromkeys(Use, Total()))
    manifests: int = 0
    measured_at: int | None = None

    def with_blob(self, use: Use, size: int) -> Numbers:
        """The numbers with one blob more."""
        total = self.totals[use]
        return replace(self, totals={**self.totals, use: Total(total.bytes + size, total.blobs + 1)})

    def with_manifest(self) -> Numbers:
        """The numbers with one manifest more."""
        return replace(self, manifests=self.manifests + 1)

    def attributes(self) -> dict[str, int]:
        """As they are stored, but for the time."""
        counted = {"manifests": self.manifests}
        for use, total in self.totals.items():
            counted |= {f"{use.value}_bytes": total.bytes, f"{use.value}_blobs": total.blobs}
        return counted

    @classmethod
    def of(cls, attributes: Attributes) -> Numbers:
        """From what is stored. Raises Malformed."""
        totals = {use: Total(number(attributes, f"{use.value}_bytes"), number(attributes, f"{use.value}_blobs")) for use in Use}
        measured_at = number(attributes, "measured_at") if "measured_at" in attributes else None
        return cls(totals, number(attributes, "manifests"), measured_at)


class Storage:
    """Keeps the numbers."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def read(self) -> Numbers:
        """Those of the last whole audit; all of them 0 before there was one."""
        attributes = self._table.get(KEY)
        return Numbers() if attributes is None else Numbers.of(attributes)

    def write(self, numbers: Numbers, measured_at: int) -> None:
        """Keep them, in place of the earlier ones. Raises Conflict."""
        self._table.write(Put(KEY, {**numbers.attributes(), "measured_at": measured_at}))
