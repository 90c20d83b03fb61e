"""What is done at once: requests as the doors make them, and the registry's own work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from chalicelib.registry.errors import BlobUnknown
from chalicelib.registry.events import NOBODY
from chalicelib.registry.manifests import Manifest
from chalicelib.registry.names import Digest, RepositoryName, Tag
from chalicelib.registry.ports import Piece
from chalicelib.registry.upload_records import Ticket
from tests.counts import Counts
from tests.interleavings.process import DROP, KEEP, PRESENT, REMOVE, STORE, UNLINK, UNTAG, Process
from tests.interleavings.worlds import APP, direct_object

Act: TypeAlias = Callable[[Process], None]


def after_each_other(*acts: Act) -> Act:
    """One client that does several things."""

    def act(process: Process) -> None:
        for each in acts:
            each(process)

    return act


# -------------------------------------------------------------------------------------------------------------- manifests


def push(manifest: Manifest, *tags: str, name: RepositoryName = APP, direct: bool = False) -> Act:
    """PUT of a manifest whose blobs are there; ``direct``: on AWS, where they may have come by the direct lane."""
    needs = tuple(str(blob.digest) for blob in manifest.blobs)

    def act(process: Process) -> None:
        pushes = process.pushes_after_the_direct_lane if direct else process.pushes
        with process.ledger.deed(STORE, (name, manifest.digest), tags, needs) as deed:
            deed.adopts = needs if direct else ()
            pushes.push(name, manifest, [Tag(tag) for tag in tags], NOBODY, lambda: process.repositories.make(name))

    return act


def head_manifest(manifest: Manifest, name: RepositoryName = APP) -> Act:
    """HEAD by a pusher."""

    def act(process: Process) -> None:
        with process.ledger.deed(KEEP, (name, manifest.digest)):
            process.pushes.keep(process.images.get(name, manifest.digest))

    return act


def delete(manifest: Manifest, name: RepositoryName = APP) -> Act:
    def act(process: Process) -> None:
        with process.ledger.deed(REMOVE, (name, manifest.digest)):
            process.removals.delete(name, manifest.digest, NOBODY)

    return act


def untag(tag: str, name: RepositoryName = APP) -> Act:
    def act(process: Process) -> None:
        with process.ledger.deed(UNTAG, (name, tag)):
            process.removals.untag(name, Tag(tag), NOBODY)

    return act


def restore(reference: Digest | Tag, manifest: Manifest, *tags: str, name: RepositoryName = APP) -> Act:
    """Bring back what was removed: a manifest, which had these tags."""

    def act(process: Process) -> None:
        with process.ledger.deed(STORE, (name, manifest.digest), tags if isinstance(reference, Tag) else ()):
            process.trash.restore(name, reference, NOBODY)

    return act


# ------------------------------------------------------------------------------------------------------------------ blobs


def head(content: bytes, name: RepositoryName = APP) -> Act:
    """HEAD by a pusher: what is there it will not send."""
    digest = Digest.of(content)

    def act(process: Process) -> None:
        with process.ledger.deed(PRESENT, (name, digest)):
            process.blobs.keep(process.blobs.look(name, digest))

    return act


def upload(content: bytes, ticket: Ticket) -> Act:
    """PUT of all bytes at once."""
    digest = Digest.of(content)

    def act(process: Process) -> None:
        with process.ledger.deed(PRESENT, (ticket.name, digest)):
            process.uploads.finish(ticket, digest, body=content)

    return act


def finish(content: bytes, ticket: Ticket, body: bytes = b"") -> Act:
    """PUT after chunks have come; ``body`` is the last one."""
    digest = Digest.of(content)

    def act(process: Process) -> None:
        with process.ledger.deed(PRESENT, (ticket.name, digest)):
            process.uploads.finish(ticket, digest, body=body)

    return act


def append(ticket: Ticket, content: bytes) -> Act:
    """PATCH."""

    def act(process: Process) -> None:
        with process.ledger.deed("append", (ticket.name, ticket.id)):
            process.uploads.append(ticket, content, None)

    return act


def cancel(ticket: Ticket) -> Act:
    def act(process: Process) -> None:
        with process.ledger.deed("cancel", (ticket.name, ticket.id)):
            process.uploads.cancel(ticket)

    return act


def mount(content: bytes, source: RepositoryName, name: RepositoryName = APP) -> Act:
    """POST with ``mount=`` and ``from=``; one that fails is no answer about the blob."""
    digest = Digest.of(content)

    def act(process: Process) -> None:
        with process.ledger.deed(PRESENT, (name, digest)):
            repository = process.repositories.ensure(name)
            if process.blobs.mount(repository, digest, source, lambda _repository, _blob: True) is None:
                raise BlobUnknown(str(digest))

    return act


def mount_from_any(content: bytes, name: RepositoryName = APP) -> Act:
    digest = Digest.of(content)

    def act(process: Process) -> None:
        with process.ledger.deed(PRESENT, (name, digest)):
            repository = process.repositories.ensure(name)
            if process.blobs.mount_from_any(repository, digest, lambda _repository, _blob: True) is None:
                raise BlobUnknown(str(digest))

    return act


def delete_blob(content: bytes, name: RepositoryName = APP) -> Act:
    digest = Digest.of(content)

    def act(process: Process) -> None:
        with process.ledger.deed(UNLINK, (name, digest)):
            process.blobs.delete(name, digest)

    return act


def adopt(content: bytes, ticket: Ticket) -> Act:
    """The store tells of an object of the direct lane."""
    digest = Digest.of(content)

    def act(process: Process) -> None:
        with process.ledger.deed("adopt", (ticket.name, digest)):
            process.adoption.adopt(direct_object(ticket, content))

    return act


def send_image(manifest: Manifest, contents: dict[bytes, Ticket], *tags: str, name: RepositoryName = APP) -> Act:
    """docker push: what is not there is sent, then the manifest."""

    def act(process: Process) -> None:
        for content, ticket in contents.items():
            head(content, name)(process)
            if not process.ledger.deeds[-1].is_done:
                upload(content, ticket)(process)
        push(manifest, *tags, name=name)(process)

    return act


# --------------------------------------------------------------------------------------------------- the registry's work


def drop(name: RepositoryName = APP) -> Act:
    """A repository goes, with all it holds."""

    def act(process: Process) -> None:
        with process.ledger.deed(DROP, (name, "")):
            process.repositories.delete(name)

    return act


def collect(process: Process) -> None:
    process.garbage.collect(Counts())


def sweep_store(process: Process) -> None:
    process.leftovers.sweep(Counts())


def sweep_uploads(process: Process) -> None:
    process.uploads.sweep(100)


def sweep_pushes(process: Process) -> None:
    process.pushes.sweep(100)


def ticket_of(ticket: Ticket, content: bytes, piece: str, sha256: str) -> Ticket:
    """The Location that a client has after it has sent a chunk."""
    identity = (ticket.id, ticket.repository, ticket.name, ticket.account, ticket.expires_at)
    return Ticket(*identity, len(content), Piece(piece, len(content)), sha256)
