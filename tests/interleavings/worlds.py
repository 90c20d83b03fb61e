"""How things stand at the start: built once by the real program, then copied for each order."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, cast

from chalicelib.registry.events import NOBODY
from chalicelib.registry.keys import DIRECT
from chalicelib.registry.manifests import OCI_INDEX, OCI_MANIFEST, Manifest, read_manifest
from chalicelib.registry.names import Digest, RepositoryName, Tag
from chalicelib.registry.ports import Attributes, Key, Value
from chalicelib.registry.upload_records import LIFETIME, Ticket
from tests.frozen_clock import FrozenClock
from tests.interleavings.ports import Kept, LeanBlobs, LeanTable
from tests.interleavings.process import STORE, Deed, Ledger, Process

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
"""When the callers act."""

LONG_AGO = timedelta(days=3)
"""How long before that the world was made, unless said otherwise: beyond every grace, and within what may be restored."""

APP, OTHER = RepositoryName.parse("acme/app"), RepositoryName.parse("acme/other")
ACCOUNT = "acme"

Building: TypeAlias = Callable[[Process], None]


# ---------------------------------------------------------------------------------------------------------------- content

BASE, LAYER, CONFIG = b"the base layer", b"a layer", b'{"os":"linux"}'


def descriptor(content: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}


def image(config: bytes = BASE, *layers: bytes, subject: Manifest | None = None, note: str = "", fill: int = 0) -> Manifest:
    """An image; the smallest needs one blob. ``note`` tells it from others, ``fill`` makes it large."""
    body: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor(layer, "application/vnd.oci.image.layer.v1.tar") for layer in layers],
        "annotations": {"note": note, "fill": "x" * fill},
    }
    if subject is not None:
        body["subject"] = descriptor(subject.content, subject.media_type)
    content = json.dumps(body).encode()
    return read_manifest(content, OCI_MANIFEST, Digest.of(content))


def index(*children: Manifest, note: str = "") -> Manifest:
    entries = [descriptor(child.content, child.media_type) for child in children]
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, "annotations": {"note": note}}
    content = json.dumps(body).encode()
    return read_manifest(content, OCI_INDEX, Digest.of(content))


IMAGE = image()
SECOND = image(note="second")
WIDE = image(CONFIG, BASE)


# ----------------------------------------------------------------------------------------------------------------- worlds


@dataclass(frozen=True, eq=False)
class World:
    """A table and a store; ``deeds`` are what was told when they came to be so."""

    items: Mapping[Key, Attributes]
    objects: Mapping[str, Kept]
    deeds: tuple[Deed, ...]


def world(*buildings: Building, age: timedelta = LONG_AGO) -> World:
    """What these do one after the other, so long ago. The ids are given anew, the same each time."""
    clock = FrozenClock(NOW - age)
    table, store, ledger = LeanTable({}), LeanBlobs({}, clock), Ledger(now=-1)
    process = Process(table, store, clock, ledger)
    for name in (APP, OTHER):
        process.repositories.make(name)
    for build in buildings:
        build(process)
    ids = {process.repository_id(name): identity(name) for name in (APP, OTHER) if process.repositories.find(name)}
    items = {
        Key(_renamed(key.partition, ids), _renamed(key.sort, ids)): _all_renamed(attributes, ids)
        for key, attributes in table.items.items()
    }
    objects = {_renamed(key, ids): kept for key, kept in store.objects.items()}
    for deed in ledger.deeds:
        assert deed.is_done, f"the world cannot be made: {deed}"
        deed.ended = -1
    collects_untagged = process.configuration.read().untagged_days > 0
    return World(items, objects, tuple(deed for deed in ledger.deeds if deed.tags or not collects_untagged))


def identity(name: RepositoryName) -> str:
    """The id of a repository of the world."""
    return f"{(APP, OTHER).index(name) + 1:024x}"


def _renamed(text: str, ids: Mapping[str, str]) -> str:
    for old, new in ids.items():
        text = text.replace(old, new)
    return text


def _all_renamed(attributes: Attributes, ids: Mapping[str, str]) -> Attributes:
    def renamed(value: Value) -> Value:
        if isinstance(value, str):
            return _renamed(value, ids)
        if isinstance(value, Mapping):
            return {name: renamed(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [renamed(each) for each in cast("list[Value]", value)]
        return value

    return {name: renamed(value) for name, value in attributes.items()}


# -------------------------------------------------------------------------------------------------------------- buildings


def ticket(number: int, name: RepositoryName = APP, *, begun: timedelta = timedelta(0)) -> Ticket:
    """An upload that was begun so long ago; ``number`` tells it from others."""
    at = int((NOW - begun).timestamp())
    return Ticket(f"{at:08x}{number:024x}", identity(name), name, ACCOUNT, at + LIFETIME)


def direct_object(told: Ticket, content: bytes, digest: Digest | None = None) -> str:
    """Where a client of the direct lane puts its bytes."""
    return f"{DIRECT}{told.repository}/{digest or Digest.of(content)}/{told.id}"


def blob(content: bytes, name: RepositoryName = APP, number: int = 0) -> Building:
    """Bytes that were uploaded; ``number`` tells one upload of them from another."""
    digest = Digest.of(content)

    def build(process: Process) -> None:
        at = process.seconds()
        told = f"{at:08x}{Digest.of(f'{name} {digest} {number}'.encode()).hex[:24]}"
        upload = Ticket(told, process.repository_id(name), name, ACCOUNT, at + LIFETIME)
        process.uploads.finish(upload, digest, body=content)

    return build


def stored(manifest: Manifest, *tags: str, name: RepositoryName = APP) -> Building:
    """A manifest that was pushed, its blobs too."""

    def build(process: Process) -> None:
        for content in (BASE, LAYER, CONFIG, *MANY):
            if Digest.of(content) in {entry.digest for entry in manifest.blobs}:
                blob(content, name)(process)
        with process.ledger.deed(STORE, (name, manifest.digest), tags):
            process.pushes.push(name, manifest, [Tag(tag) for tag in tags], NOBODY, lambda: process.repositories.make(name))

    return build


def removed(manifest: Manifest, *, name: RepositoryName = APP) -> Building:
    """It is in the trash."""

    def build(process: Process) -> None:
        process.removals.delete(name, manifest.digest, NOBODY)
        process.ledger.deeds[:] = [deed for deed in process.ledger.deeds if deed.subject != (str(name), str(manifest.digest))]

    return build


def untagged(tag: str, *, name: RepositoryName = APP) -> Building:
    def build(process: Process) -> None:
        process.removals.untag(name, Tag(tag), NOBODY)
        for deed in process.ledger.deeds:
            deed.tags = tuple(each for each in deed.tags if each != tag)

    return build


def adopted(content: bytes, told: Ticket) -> Building:
    """Bytes that came by the direct lane are a blob."""

    def build(process: Process) -> None:
        name = process.repository_id(told.name)
        process.adoption.adopt(direct_object(told, content).replace(told.repository, name))

    return build


def unlinked(content: bytes, name: RepositoryName = APP) -> Building:
    return lambda process: process.blobs.delete(name, Digest.of(content))


def arrived(content: bytes, told: Ticket, claimed: bytes | None = None) -> Building:
    """Bytes that came by the direct lane, whatever they were said to be."""

    def build(process: Process) -> None:
        key = direct_object(told, content, Digest.of(claimed or content))
        process.store.put(key.replace(told.repository, process.repository_id(told.name)), content)

    return build


def chunk(told: Ticket, content: bytes) -> Building:
    """A chunk of an upload under way."""

    def build(process: Process) -> None:
        process.uploads.append(told, content, None)

    return build


def later(time: timedelta) -> Building:
    """Time passes."""
    return lambda process: process.clock.advance(time.total_seconds())


def choosing(**chosen: int) -> Building:
    """The settings are these."""

    def build(process: Process) -> None:
        process.configuration.change(**chosen)

    return build


def collected(process: Process) -> None:
    """What was due then is done."""
    process.maintain()


MANY = tuple(f"layer {number}".encode() for number in range(60))
"""More than one transaction holds."""

HUGE = image(BASE, *MANY)

RANDOM_NAME = re.compile(r"(?<![0-9a-f:])[0-9a-f]{16,32}(?![0-9a-f])")
"""What the domain draws at random in a text; a digest's hash is longer."""
