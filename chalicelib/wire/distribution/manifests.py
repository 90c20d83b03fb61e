"""Manifests: end-3 pull, end-7 push, end-9 delete."""

from __future__ import annotations

from chalicelib.registry.errors import ManifestUnknown, TooManyTags
from chalicelib.registry.images import Image
from chalicelib.registry.manifests import parse_manifest
from chalicelib.registry.names import Digest, Reference, Tag, parse_reference
from chalicelib.wire.distribution.call import Call
from chalicelib.wire.http import Response

MAX_TAGS = 16
"""Tags of one push at most (specification: at least 10 should be possible)."""


def pull_manifest(call: Call) -> Response:
    """GET and HEAD: the exact bytes, 200, or 304 to a client that has them."""
    reference = parse_reference(call.reference)
    image = call.registry.images.get(call.name, reference)
    _negotiate(call.request.header("accept"), image, reference)
    if call.request.method == "HEAD" and call.pushes():
        call.registry.pushes.keep(image)  # a client that finds it there will not send it
    headers = {
        "Content-Type": image.media_type,
        "Docker-Content-Digest": str(image.digest),
        "ETag": f'"{image.digest}"',
    }
    if call.request.header("if-none-match") in {str(image.digest), f'"{image.digest}"'}:
        return Response(304, headers)
    if call.request.method == "HEAD":
        # Nobody gets this body, but a gateway counts it: what API Gateway makes of a length alone is not documented.
        return Response(200, headers, bytes(image.size))
    return Response(200, headers, call.registry.images.content(image))


def _negotiate(accept: str, image: Image, reference: Reference) -> None:
    """Refuse a media type that the client did not ask for: it could not read it. 404 is what the field's clients expect."""
    if not accept:
        return
    accepted = {entry.partition(";")[0].strip().lower() for entry in accept.split(",")}
    if not accepted & {image.media_type, "*/*", "application/*", "application/json"}:
        raise ManifestUnknown(
            str(reference), f"the manifest is of type {image.media_type}, which the Accept header does not name"
        )


def push_manifest(call: Call) -> Response:
    """PUT: 201, with the tags set (OCI-Tag) and the subject noted (OCI-Subject)."""
    reference = parse_reference(call.reference)
    digest = reference if isinstance(reference, Digest) else None
    asked = tuple(dict.fromkeys(Tag.parse(text) for text in call.request.query.get("tag", ())))
    tags = asked if isinstance(reference, Digest) else tuple(dict.fromkeys((reference, *asked)))
    if len(tags) > MAX_TAGS:
        raise TooManyTags(MAX_TAGS)
    manifest = parse_manifest(call.request.body, call.request.header("content-type"), digest)
    call.registry.pushes.push(call.name, manifest, tags, call.actor, call.pushed_to)
    headers = {
        "Location": f"/v2/{call.name}/manifests/{manifest.digest}",
        "Docker-Content-Digest": str(manifest.digest),
    }
    if asked:
        headers["OCI-Tag"] = ", ".join(str(tag) for tag in tags)
    if manifest.subject is not None:
        headers["OCI-Subject"] = str(manifest.subject)
    return Response(201, headers)


def delete_manifest(call: Call) -> Response:
    """DELETE: of a tag, or of a manifest with all its tags; 202, and gone at once."""
    reference = parse_reference(call.reference)
    if isinstance(reference, Tag):
        call.registry.removals.untag(call.name, reference, call.actor)
    else:
        call.registry.removals.delete(call.name, reference, call.actor)
    return Response(202)
