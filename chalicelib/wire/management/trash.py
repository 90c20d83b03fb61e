"""What was removed from a repository, and how it comes back: ``.../{repo}/removed`` and ``.../{repo}/restore``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from chalicelib.registry import trash as domain
from chalicelib.registry.names import Digest, Tag, parse_reference
from chalicelib.wire.management.bodies import Input
from chalicelib.wire.management.call import Answer, Call
from chalicelib.wire.management.words import moment

_TAG = "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"
_DIGEST = "(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})"

# For those who read the description: the domain parses it, and its refusal has a code of its own.
Reference = Annotated[str, Meta(extra_json_schema={"pattern": f"^({_TAG}|{_DIGEST}|{_TAG}@{_DIGEST})$"})]
"""What to restore by: a tag as it was last, a digest, or a tag as it was on that digest."""


class RemovedItem(Struct, frozen=True, rename="camel"):
    """A manifest with the ``tags`` that went with it, or a ``tag`` that was taken away (else ""). It may be restored until then
    at least, by ``reference``."""

    kind: Literal["manifest", "tag"]
    digest: str
    tag: str
    tags: list[str]
    media_type: str
    size: int
    removed_at: datetime
    removed_by: str
    restorable_until: datetime
    reference: str


class RemovedItems(Struct, frozen=True, rename="camel"):
    """A page of what was removed: manifests by digest, then tags by name."""

    removed: list[RemovedItem]


class Restoration(Input, frozen=True):
    """What to restore."""

    reference: Reference


class RestoredManifest(Struct, frozen=True, rename="camel"):
    """What is there again: the manifest, and the tags that it has now."""

    digest: str
    tags: list[str]


def list_removed(call: Call) -> Answer:
    """Raises NameUnknown, PaginationInvalid."""
    read = call.services.trash.page(call.repository, call.page.after, call.page.one_more)
    found, more = call.page.cut(read, lambda removed: removed.id)
    return Answer(RemovedItems([_shown(removed) for removed in found]), next=more)


def restore(call: Call) -> Answer:
    """Raises NameUnknown, TagInvalid, DigestInvalid, NotRestorable, TagExists, ContentGone, ManifestInvalid, Unproven,
    StoreFull, Busy."""
    named, at, of = call.given(Restoration).reference.partition("@")
    reference, digest = (Tag.parse(named), Digest.parse(of)) if at else (parse_reference(named), None)
    restored = call.services.trash.restore(call.repository, reference, call.actor, digest=digest)
    is_tag = isinstance(reference, Tag)
    return Answer(
        RestoredManifest(str(restored.digest), list(restored.tags)),
        event="TAG_RESTORE" if is_tag else "",
        object=f"{call.repository}:{reference}" if is_tag else "",
        repository=restored.repository,
        detail={"digest": str(restored.digest), "tags": ", ".join(restored.tags)},
    )


def _shown(removed: domain.Removed) -> RemovedItem:
    return RemovedItem(
        kind="tag" if removed.tag else "manifest",
        digest=str(removed.digest),
        tag=removed.tag,
        tags=list(removed.tags),
        media_type=removed.media_type,
        size=removed.size,
        removed_at=moment(removed.removed_at),
        removed_by=removed.removed_by,
        restorable_until=moment(removed.restorable_until),
        reference=removed.reference,
    )
