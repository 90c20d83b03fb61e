"""What it costs to collect the same garbage in a small registry and in a large one: calls of table and store, counted.

    python -m tests.bench.collection [--garbage 1000] [--small 1000] [--large 1000000]

Garbage is blobs whose manifest never came, in repositories that hold live ones; collecting it takes two runs, a grace apart:
first the links, then the blobs with their objects. The live ones lie there as pushes and earlier runs of the collector left
them, written past the adapter. It ends with an error if the large registry takes a fifth more than the small one.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, cast

from chalicelib.local.sqlite_table import SqliteTable
from chalicelib.registry.condemned import RENEWED_AFTER
from chalicelib.registry.keys import DATA
from chalicelib.registry.manifests import OCI_MANIFEST
from chalicelib.registry.names import Digest, RepositoryName, Tag
from chalicelib.registry.ports import Attributes, BlobStore, Key, Table
from chalicelib.registry.records import (
    blob_key,
    catalog_key,
    content_key,
    holder_key,
    identity_key,
    link_key,
    manifest_key,
    needed_blob_key,
    repository_key,
    tag_key,
    tagged_key,
)
from tests.counts import Counts
from tests.frozen_clock import FrozenClock
from tests.memory_blobs import MemoryBlobs
from tests.surface import Surface

Port = TypeVar("Port")
Row = tuple[Key, Attributes]

BLOBS_OF_MANIFEST = 10
MANIFESTS_OF_REPOSITORY = 10
MOST = 1.2
"""What the large registry may take of what the small one takes."""
GRACE = 24 * 3600 + RENEWED_AFTER + 1
"""Seconds, with the settings as they are by default."""
CONTENT = b"x"
_encode = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode
_INSERT = "INSERT INTO items (partition, sort, attributes) VALUES (?, ?, ?)"


class Counting:
    """Stands in front of a port: counts its calls by name, and the items that they bring."""

    def __init__(self, port: object, name: str, calls: Counter[str]) -> None:
        self._port = port
        self._name = name
        self._calls = calls

    def __getattr__(self, attribute: str) -> Any:  # noqa: ANN401  # whatever the port has
        found = getattr(self._port, attribute)
        return self._counted(found, f"{self._name}.{attribute}") if callable(found) else found

    def _counted(self, method: Callable[..., object], name: str) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            self._calls[name] += 1
            found = method(*arguments, **named)
            if isinstance(found, Iterator):
                found = list(found)
            if isinstance(found, Sized) and not isinstance(found, str):
                self._calls[f"{self._name}: items"] += len(found)
            return iter(found) if isinstance(found, list) and name.endswith(".list") else found

        return call


def counting(port: Port, name: str, calls: Counter[str]) -> Port:
    """The port with its calls counted."""
    return cast("Port", Counting(port, name, calls))


@dataclass(frozen=True, slots=True)
class Cost:
    """What collecting so much garbage took in a registry of ``live`` blobs: calls by kind, and ``seconds``."""

    garbage: int
    live: int
    calls: Mapping[str, int]
    seconds: float

    @property
    def total(self) -> int:
        """All calls."""
        return sum(number for kind, number in self.calls.items() if not kind.endswith("items"))


# ------------------------------------------------------------------------------------------------------------- live content


@lru_cache(maxsize=4 * BLOBS_OF_MANIFEST * MANIFESTS_OF_REPOSITORY)
def digest(kind: int, number: int) -> Digest:
    """Digests that grow with the number, so that filling is quick."""
    return Digest.parse(f"sha256:{kind:02x}{number:062x}")


def key_of(blob: Digest) -> str:
    """Where its object lies."""
    return f"{DATA}{blob.hex[:32]}/{blob.hex[32:]}"


def repository(number: int) -> str:
    """The id of a repository."""
    return f"r{number:09d}"


def name(number: int) -> RepositoryName:
    return RepositoryName(f"admin/app-{number:09d}")


def repositories(live: int) -> int:
    """How many there are with so many live blobs."""
    return max(1, live // (BLOBS_OF_MANIFEST * MANIFESTS_OF_REPOSITORY))


def rows(live: int) -> Iterator[Row]:
    """A registry of so many live blobs."""
    shared = BLOBS_OF_MANIFEST * MANIFESTS_OF_REPOSITORY
    blobs = ((number, digest(0, number), repository(number // shared)) for number in range(live))
    yield from chain.from_iterable(_blob(blob, owner, name(number // shared)) for number, blob, owner in blobs)
    for number in range(repositories(live)):
        yield catalog_key(name(number)), {}
    for number in range(repositories(live)):
        first = number * shared
        yield repository_key(name(number)), {"id": repository(number), "visibility": "private", "created_at": 0, "version": 1}
        yield from sorted(_contents(number, range(first, min(live, first + shared))), key=lambda row: row[0])


def _blob(blob: Digest, owner: str, held_by: RepositoryName) -> Iterator[Row]:
    yield blob_key(blob), {"key": key_of(blob), "size": 1, "revision": 1}
    yield holder_key(blob, owner), {"name": str(held_by)}


def _contents(number: int, blobs: Sequence[int]) -> Iterator[Row]:
    owner = repository(number)
    yield identity_key(owner), {"name": str(name(number))}
    for blob in blobs:
        needed, manifest = digest(0, blob), digest(1, blob // BLOBS_OF_MANIFEST)
        yield link_key(owner, needed), {"key": key_of(needed), "size": 1, "revision": 2, "referenced": True}
        yield needed_blob_key(owner, needed, manifest), {}
        if blob % BLOBS_OF_MANIFEST == 0:
            tag = Tag(f"v{blob}")
            told: Attributes = {"media_type": OCI_MANIFEST, "size": 2}
            yield manifest_key(owner, manifest), {**told, "revision": 1}
            yield content_key(owner, manifest), {"content": "{}"}
            yield tag_key(owner, tag), {**told, "digest": str(manifest), "pushed_at": 0}
            yield tagged_key(owner, manifest, tag), {}


def fill(path: Path, live: int) -> None:
    """Write it into the file of a SqliteTable, which nobody has open."""
    SqliteTable(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -200000"):  # whoever opens it puts that right
            connection.execute(f"PRAGMA {setting}")
        connection.execute("BEGIN")
        connection.execute("DROP INDEX expiring")  # of what drops records by their time, which nothing here has
        connection.executemany(_INSERT, ((*key, _encode(attributes)) for key, attributes in rows(live)))
        connection.execute("COMMIT")


# --------------------------------------------------------------------------------------------------------------- collecting


class Collection:
    """A collector on a table of ``live`` blobs, its calls counted."""

    def __init__(self, table: Table, live: int) -> None:
        self.calls: Counter[str] = Counter()
        self.live = live
        self._store = MemoryBlobs(FrozenClock())
        for number in range(live):
            self._store.put(key_of(digest(0, number)), CONTENT)
        store: BlobStore = counting(self._store, "store", self.calls)
        self._surface = Surface(table=counting(table, "table", self.calls), blobs=store)
        self.calls.clear()  # of the first account's making

    def litter(self, garbage: int) -> None:
        """Upload blobs that no manifest names, into all repositories in turn."""
        for number in range(garbage):
            blob, owner = digest(2, number), number % repositories(self.live)
            self._store.put(key_of(blob), CONTENT)
            self._surface.registry.blobs.adopt(repository(owner), name(owner), blob, key_of(blob), 1)

    def collect(self) -> Mapping[str, int]:
        """A grace later: what was taken."""
        self._surface.clock.advance(GRACE)
        counts = Counts()
        self._surface.garbage.collect(counts)
        return counts.counted

    def cost(self, garbage: int) -> Cost:
        """Of collecting so many blobs."""
        self.litter(garbage)
        self.calls.clear()
        begun = time.monotonic()
        taken = [self.collect(), self.collect()]
        seconds = time.monotonic() - begun
        assert taken == [{"links": garbage}, {"objects": garbage}], taken
        return Cost(garbage, self.live, dict(self.calls), seconds)


def measured(garbage: int, small: int, large: int, folder: Path | None = None) -> Sequence[Cost]:
    """Collecting ``garbage`` blobs among few and among many. The files, a gigabyte for a million, lie below ``folder``."""
    return [_cost(garbage, live, folder) for live in (small, large)]


def _cost(garbage: int, live: int, folder: Path | None) -> Cost:
    with tempfile.TemporaryDirectory(prefix="collection-", dir=folder) as made:
        path = Path(made) / "large.sqlite"
        fill(path, live)
        with closing(SqliteTable(path)) as table:
            return Collection(table, live).cost(garbage)


def ratio(costs: Sequence[Cost]) -> float:
    """Calls in the large registry by those in the small one."""
    return costs[1].total / costs[0].total


def report(costs: Sequence[Cost]) -> str:
    """The figures as lines of a table."""
    kinds = sorted({kind for cost in costs for kind in cost.calls})
    lines = [f"{f'collection of {costs[0].garbage} blobs among':<38}" + "".join(f"{cost.live:>12}" for cost in costs)]
    lines += [f"{kind:38}" + "".join(f"{cost.calls.get(kind, 0):>12}" for cost in costs) for kind in kinds]
    lines.append(f"{'calls in all':38}" + "".join(f"{cost.total:>12}" for cost in costs) + f"{ratio(costs):>8.2f}")
    lines.append(f"{'seconds':38}" + "".join(f"{cost.seconds:>12.2f}" for cost in costs))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 if the size of the registry counts."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.collection", description=__doc__)
    add_options(parser)
    options = parser.parse_args(arguments)
    costs = measured(options.garbage, options.small, options.large)
    print(report(costs))
    return 0 if ratio(costs) <= MOST else 1


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--garbage", type=int, default=1_000, help="blobs to collect")
    parser.add_argument("--small", type=int, default=1_000, help="live blobs that they are collected among")
    parser.add_argument("--large", type=int, default=1_000_000, help="the same, and then")


if __name__ == "__main__":
    sys.exit(main())
