"""Uploads and blobs over the whole program: every way in, and what is refused on it."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode

import pytest

from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.repositories import Description
from chalicelib.registry.upload_records import LIFETIME
from chalicelib.wire.distribution.state import PARAMETER
from chalicelib.wire.distribution.uploads import large_bodies_warning
from chalicelib.wire.http import Response
from tests.memory_blobs import MemoryBlobs
from tests.surface import PASSWORD, Surface, code, image

NAME = "admin/app"
UPLOADS = f"/v2/{NAME}/blobs/uploads/"


@pytest.fixture
def surface() -> Surface:
    return Surface()


def begin(surface: Surface, name: str = NAME, query: str = "") -> str:
    answer = surface.call("POST", f"/v2/{name}/blobs/uploads/{query}")
    assert answer.status == 202, answer.body
    assert answer.headers["Range"] == "0-0"
    location = answer.headers["Location"]
    assert location.startswith(f"/v2/{name}/blobs/uploads/")
    assert answer.headers["Docker-Upload-UUID"] in location
    return location


def finish(surface: Surface, location: str, content: bytes, body: bytes = b"", algorithm: str = "sha256") -> Response:
    return surface.call("PUT", f"{location}&digest={Digest.of(content, algorithm)}", body)


def staging(surface: Surface) -> MemoryBlobs:
    assert isinstance(surface.store, MemoryBlobs)
    return surface.store


def assert_nothing_stored(surface: Surface, *contents: bytes) -> None:
    for content in contents:
        for algorithm in ("sha256", "sha512"):
            assert surface.status("HEAD", f"/v2/{NAME}/blobs/{Digest.of(content, algorithm)}") == 404
    assert list(surface.store.list("")) == []


def assert_pullable(surface: Surface, digest: Digest, content: bytes, name: str = NAME) -> None:
    blob = surface.registry.blobs.get(RepositoryName.parse(name), digest)
    with surface.store.open(blob.key) as stream:
        assert stream.read() == content
    answer = surface.call("GET", f"/v2/{name}/blobs/{digest}")
    assert answer.status == 307
    assert answer.headers["Docker-Content-Digest"] == str(digest)


# ------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_wrong_digest_is_refused_on_every_way(surface: Surface, algorithm: str) -> None:
    wrong = Digest.of(b"other", algorithm)
    one_post = surface.call("POST", f"{UPLOADS}?digest={wrong}", b"content")
    one_put = surface.call("PUT", f"{begin(surface)}&digest={wrong}", b"content")
    location = begin(surface)
    assert surface.call("PATCH", location, b"content").status == 202
    after_patch = surface.call("PUT", f"{location}&digest={wrong}")
    empty = surface.call("PUT", f"{begin(surface)}&digest={wrong}")
    for refused in (one_post, one_put, after_patch, empty):
        assert (refused.status, code(refused)) == (400, "DIGEST_INVALID")
    assert_nothing_stored(surface, b"content", b"other", b"")
    assert surface.status("GET", location) == 404


@pytest.mark.parametrize("query", ["", "&digest=", "&digest=sha256:zz", "&digest=md5:" + "0" * 32, "&digest=x&digest=y"])
def test_a_digest_that_is_none_is_refused_and_the_upload_lives(surface: Surface, query: str) -> None:
    location = begin(surface)
    refused = surface.call("PUT", location + query, b"content")
    assert (refused.status, code(refused)) == (400, "DIGEST_INVALID")
    assert finish(surface, location, b"content", b"content").status == 201


def test_a_repeated_but_equal_digest_is_taken(surface: Surface) -> None:
    digest = Digest.of(b"content")
    answer = surface.call("PUT", f"{begin(surface)}&digest={digest}&digest={digest}&ns=docker.io&_x=1", b"content")
    assert answer.status == 201


@pytest.mark.parametrize(
    ("content_range", "status"),
    [("3-5", 416), ("1-3", 416), ("x", 416), ("5-2", 416), ("0-", 416), ("-5", 416), ("0-99", 400), ("0-1", 400)],
)
def test_a_chunk_out_of_place_is_refused(surface: Surface, content_range: str, status: int) -> None:
    location = begin(surface)
    refused = surface.call("PATCH", location, b"abc", content_range=content_range)
    assert refused.status == status
    assert code(refused) == ("SIZE_INVALID" if status == 400 else "BLOB_UPLOAD_INVALID")
    assert surface.call("GET", location).headers["Range"] == "0-0"


def test_a_replayed_chunk_is_refused_and_the_upload_goes_on(surface: Surface) -> None:
    location = begin(surface)
    assert surface.call("PATCH", location, b"abc", content_range="0-2").headers["Range"] == "0-2"
    replayed = surface.call("PATCH", location, b"abc", content_range="0-2")
    assert (replayed.status, replayed.headers["Range"]) == (416, "0-2")
    skipping = surface.call("PUT", f"{location}&digest={Digest.of(b'abcdef')}", b"def", content_range="5-7")
    assert skipping.status == 416
    status = surface.call("GET", location)
    assert (status.status, status.headers["Range"]) == (204, "0-2")
    location = status.headers["Location"]
    last = surface.call("PUT", f"{location}&digest={Digest.of(b'abcdef')}", b"def", content_range="3-5")
    assert last.status == 201
    assert_pullable(surface, Digest.of(b"abcdef"), b"abcdef")


@pytest.mark.parametrize("method", ["PATCH", "PUT", "GET", "DELETE"])
def test_an_upload_is_nobody_else_s_business(surface: Surface, method: str) -> None:
    location = begin(surface)
    upload = location.rpartition("/")[2]
    surface.push_blob("admin/other", b"exists")
    stranger = Surface(table=surface.table, blobs=surface.store, clock=surface.clock, credentials=f"eve:{PASSWORD}")
    stranger.accounts.create_user("eve", PASSWORD, is_admin=True)
    query = f"?digest={Digest.of(b'x')}"
    for who, url in [
        (surface, f"/v2/admin/other/blobs/uploads/{upload}"),
        (stranger, location),
        (surface, f"{UPLOADS}{'0' * 32}"),
    ]:
        refused = who.call(method, url + query, b"x" if method in {"PATCH", "PUT"} else b"")
        assert (refused.status, code(refused)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert finish(surface, location, b"mine", b"mine").status == 201


@pytest.mark.parametrize("algorithm", ["md5", "SHA256", "", "sha256;x"])
def test_an_unknown_digest_algorithm_is_refused(surface: Surface, algorithm: str) -> None:
    refused = surface.call("POST", f"{UPLOADS}?digest-algorithm={algorithm}")
    assert (refused.status, code(refused)) == (400, "BLOB_UPLOAD_INVALID")
    assert_nothing_stored(surface)


def test_a_full_disk_is_said_and_pulls_go_on() -> None:
    surface = Surface()
    digest = surface.push_blob(NAME, b"before")
    assert isinstance(surface.store, MemoryBlobs)
    surface.store.full = True
    refused = surface.call("POST", f"{UPLOADS}?digest={Digest.of(b'x' * 100)}", b"x" * 100)
    assert refused.status == 507
    assert_pullable(surface, digest, b"before")


# -------------------------------------------------------------------------------------------------------------- the ways


@pytest.mark.parametrize("content", [b"", b"{}", b"x" * 100_000])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_every_way_in(surface: Surface, content: bytes, algorithm: str) -> None:
    digest = Digest.of(content, algorithm)
    one_post = surface.call("POST", f"{UPLOADS}?digest={digest}", content)
    one_put = finish(surface, begin(surface), content, content, algorithm)
    location = begin(surface, query=f"?digest-algorithm={algorithm}")
    half = len(content) // 2
    for start, chunk in ((0, content[:half]), (half, content[half:])):
        headers = {"content_range": f"{start}-{start + len(chunk) - 1}"} if chunk else {}
        assert surface.call("PATCH", location, chunk, **headers).status == 202
    in_chunks = finish(surface, location, content, b"", algorithm)
    for answer in (one_post, one_put, in_chunks):
        assert answer.status == 201
        assert answer.headers["Location"] == f"/v2/{NAME}/blobs/{digest}"
        assert answer.headers["Docker-Content-Digest"] == str(digest)
    assert_pullable(surface, digest, content)
    assert len(list(surface.store.list(""))) == 1, "the same bytes are kept once"


def test_the_last_chunk_may_come_with_the_put(surface: Surface) -> None:
    location = begin(surface)
    surface.call("PATCH", location, b"first ")
    assert finish(surface, location, b"first second", b"second").status == 201
    assert_pullable(surface, Digest.of(b"first second"), b"first second")


def test_finishing_again_answers_the_same(surface: Surface) -> None:
    """A client whose answer got lost on the way asks again."""
    location = begin(surface)
    assert finish(surface, location, b"content", b"content").status == 201
    assert finish(surface, location, b"content", b"content").status == 201
    assert finish(surface, location, b"content").status == 201
    assert finish(surface, location, b"another").status == 404
    assert surface.status("DELETE", location) == 404
    assert surface.status("GET", location) == 404
    assert_pullable(surface, Digest.of(b"content"), b"content")


def test_a_cancelled_upload_is_gone(surface: Surface) -> None:
    location = begin(surface)
    surface.call("PATCH", location, b"content")
    assert surface.status("DELETE", location) == 204
    assert surface.status("DELETE", location) == 404
    assert finish(surface, location, b"content").status == 404
    assert_nothing_stored(surface, b"content")


def test_uploads_that_were_given_up_expire(surface: Surface) -> None:
    given_up, under_way = begin(surface), begin(surface)
    finished = begin(surface)
    assert finish(surface, finished, b"kept", b"kept").status == 201
    for location in (given_up, under_way):
        surface.call("PATCH", location, b"some")
    surface.clock.advance(LIFETIME - 60)
    under_way = surface.call("PATCH", under_way, b"more").headers["Location"]
    surface.clock.advance(61)
    assert finish(surface, given_up, b"some").status == 404
    assert surface.registry.uploads.sweep(10) == 1
    assert surface.registry.uploads.sweep(10) == 0
    assert finish(surface, under_way, b"somemore").status == 201
    assert len(list(surface.store.list(""))) == 2
    surface.clock.advance(10 * LIFETIME)
    assert surface.registry.uploads.sweep(10) == 0
    assert_pullable(surface, Digest.of(b"kept"), b"kept")


# ---------------------------------------------------------------------------------------------------------------- state

STEPS = ["PATCH", "PUT", "GET", "DELETE", "open"]


def step(surface: Surface, how: str, location: str) -> Response:
    """The next thing a client, or a relay, may do with an upload."""
    if how == "open":
        return relay(surface, location, "open", {})
    more = "&" if "?" in location else "?"
    url = f"{location}{more}digest={Digest.of(b'x')}" if how == "PUT" else location
    return surface.call(how, url, b"x" if how in {"PATCH", "PUT"} else b"")


def lane(location: str) -> str:
    payload = location.partition(f"{PARAMETER}=")[2].partition(".")[0]
    return str(json.loads(urlsafe_b64decode(payload + "=="))["l"])


@pytest.mark.parametrize("how", STEPS)
def test_without_its_state_an_upload_is_unknown(surface: Surface, how: str) -> None:
    location, other = begin(surface), begin(surface)
    path, _, state = location.partition("?")
    for query in ("", "?_state=", f"?{state}x", f"?{state[:-1]}", f"?{other.partition('?')[2]}", f"?{state}&_state=x"):
        refused = step(surface, how, path + query)
        assert (refused.status, code(refused)) == (404, "BLOB_UPLOAD_UNKNOWN"), query
    assert finish(surface, location, b"mine", b"mine").status == 201


@pytest.mark.parametrize("how", STEPS)
def test_other_parameters_and_a_repeated_state_change_nothing(surface: Surface, how: str) -> None:
    location = begin(surface)
    state = location.partition("?")[2]
    assert step(surface, how, f"{location}&{state}&ns=docker.io&x=1&x=2").status in {200, 201, 202, 204}


def test_a_state_ends_before_the_upload_that_went_on(surface: Surface) -> None:
    first = begin(surface)
    surface.clock.advance(LIFETIME - 60)
    fresh = surface.call("PATCH", first, b"mine").headers["Location"]
    surface.clock.advance(61)
    for how in STEPS:
        assert step(surface, how, first).status == 404
    assert finish(surface, fresh, b"mine").status == 201


def test_each_location_carries_the_lane(surface: Surface) -> None:
    location = begin(surface)
    assert lane(location) == lane(surface.call("GET", location).headers["Location"]) == "open"
    location = surface.call("PATCH", location, b"").headers["Location"]
    assert lane(location) == "inline"
    location = surface.call("PATCH", location, b"a").headers["Location"]
    assert lane(location) == lane(surface.call("GET", location).headers["Location"]) == "inline"
    told = json.loads(relay(surface, location, "open", {}).body)
    staging(surface).append(told["key"], 0, b"b")
    location = relay(surface, location, "close", {"writer": told["writer"], "size": 2}).headers["Location"]
    assert lane(location) == lane(surface.call("GET", location).headers["Location"]) == "relay"
    assert lane(surface.call("PATCH", location, b"c").headers["Location"]) == "relay"
    assert finish(surface, location, b"abc").status == 201


@pytest.mark.parametrize(
    ("lanes", "told"), [((), "need slipway relay"), (("direct",), "one PUT"), (("direct", "relay"), ""), (("relay",), "")]
)
def test_whoever_begins_is_warned_where_large_bodies_do_not_pass(lanes: tuple[str, ...], told: str) -> None:
    begun = Surface(warning=large_bodies_warning(lanes)).call("POST", UPLOADS)
    assert begun.status == 202
    warning = begun.headers.get("Warning", "")
    assert told in warning
    assert bool(warning) == bool(told)
    assert not warning or re.fullmatch(r'299 - "[ -!#-~]+"', warning)


# --------------------------------------------------------------------------------------------------------------- mounts


def test_mounting_from_a_repository(surface: Surface) -> None:
    digest = surface.push_blob("admin/source", b"shared")
    answer = surface.call("POST", f"{UPLOADS}?mount={digest}&from=admin/source")
    assert (answer.status, answer.headers["Location"]) == (201, f"/v2/{NAME}/blobs/{digest}")
    assert_pullable(surface, digest, b"shared")
    assert surface.status("DELETE", f"/v2/admin/source/blobs/{digest}") == 202
    assert surface.status("HEAD", f"/v2/admin/source/blobs/{digest}") == 404
    assert_pullable(surface, digest, b"shared")


def test_mounting_from_anywhere(surface: Surface) -> None:
    digest = surface.push_blob("admin/source", b"shared")
    assert surface.call("POST", f"{UPLOADS}?mount={digest}").status == 201
    assert_pullable(surface, digest, b"shared")


@pytest.mark.parametrize("source", ["admin/nowhere", "admin/empty", "../etc", "", "%00"])
def test_what_is_not_there_is_not_mounted(surface: Surface, source: str) -> None:
    surface.push_blob("admin/empty", b"something else")
    answer = surface.call("POST", f"{UPLOADS}?mount={Digest.of(b'absent')}&from={source}")
    assert answer.status == 202
    assert finish(surface, answer.headers["Location"], b"absent", b"absent").status == 201


def test_what_may_not_be_read_is_mounted_as_if_absent(surface: Surface) -> None:
    digest = surface.push_blob("admin/private", b"secret")
    bob = Surface(table=surface.table, blobs=surface.store, clock=surface.clock, credentials=f"bob:{PASSWORD}")
    bob.accounts.create_user("bob", PASSWORD)
    for query in (f"?mount={digest}&from=admin/private", f"?mount={digest}"):
        assert bob.call("POST", f"/v2/bob/mine/blobs/uploads/{query}").status == 202
        assert bob.status("HEAD", f"/v2/bob/mine/blobs/{digest}") == 404
    surface.registry.repositories.change(RepositoryName.parse("admin/private"), Description(visibility="public"))
    assert bob.call("POST", f"/v2/bob/mine/blobs/uploads/?mount={digest}").status == 202, "no image names it yet"
    surface.push_image("admin/private", "t", b"secret")
    assert bob.call("POST", f"/v2/bob/mine/blobs/uploads/?mount={digest}").status == 201


def test_a_layer_that_no_image_names_is_its_pushers_own(surface: Surface) -> None:
    """Neither one whose image was refused nor one whose image never came is to be read by others."""
    digest = surface.push_blob("admin/open", b"zombie")
    surface.registry.repositories.change(RepositoryName.parse("admin/open"), Description(visibility="public"))
    url = f"/v2/admin/open/blobs/{digest}"
    anonymous = Surface(table=surface.table, blobs=surface.store, clock=surface.clock, credentials="")
    assert surface.put("admin/open", "t", image(b"zombie", b"missing")).status == 404
    for method in ("GET", "HEAD"):
        assert anonymous.status(method, url) == 404
        assert surface.status(method, url) == 307
    surface.push_image("admin/open", "t", b"zombie")
    assert anonymous.status("GET", url) == 307


def test_knowing_a_digest_is_not_having_the_blob(surface: Surface) -> None:
    digest = surface.push_blob("admin/private", b"secret")
    bob = Surface(table=surface.table, blobs=surface.store, clock=surface.clock, credentials=f"bob:{PASSWORD}")
    bob.accounts.create_user("bob", PASSWORD)
    refused = bob.call("POST", f"/v2/bob/mine/blobs/uploads/?digest={digest}", b"garbage")
    assert (refused.status, code(refused)) == (400, "DIGEST_INVALID")
    assert bob.status("GET", f"/v2/bob/mine/blobs/{digest}") == 404
    manifest = image(b"secret")
    assert bob.put("bob/mine", "t", manifest).status == 404
    assert_pullable(surface, digest, b"secret", "admin/private")


# -------------------------------------------------------------------------------------------------------------- deleted


def test_a_blob_that_a_manifest_needs_stays(surface: Surface) -> None:
    manifest = surface.push_image(NAME, "t", b"layer")
    refused = surface.call("DELETE", f"/v2/{NAME}/blobs/{Digest.of(b'layer')}")
    assert (refused.status, code(refused)) == (405, "UNSUPPORTED")
    assert json.loads(refused.body)["errors"][0]["detail"]["manifest"] == str(manifest)
    surface.call("DELETE", f"/v2/{NAME}/manifests/{manifest}")
    assert surface.status("DELETE", f"/v2/{NAME}/blobs/{Digest.of(b'layer')}") == 202
    assert surface.status("DELETE", f"/v2/{NAME}/blobs/{Digest.of(b'layer')}") == 404


def test_a_deleted_blob_can_be_pushed_again(surface: Surface) -> None:
    for _ in range(3):
        digest = surface.push_blob(NAME, b"content")
        assert_pullable(surface, digest, b"content")
        assert surface.status("DELETE", f"/v2/{NAME}/blobs/{digest}") == 202
        assert surface.status("GET", f"/v2/{NAME}/blobs/{digest}") == 404


# ---------------------------------------------------------------------------------------------------------------- relay


def relay(surface: Surface, location: str, step: str, told: object, **headers: str) -> Response:
    path, _, query = location.partition("?")
    url = f"/_relay{path}/{step}?{query}"
    body = json.dumps(told).encode()
    return surface.call("POST", url, body, **headers) if step == "open" else surface.send("POST", url, body)


def test_a_relay_stages_beside_the_program(surface: Surface) -> None:
    location = begin(surface)
    opened = relay(surface, location, "open", {"content_range": None, "content_length": None})
    told = json.loads(opened.body)
    assert told["offset"] == 0
    size = staging(surface).append(told["key"], 0, b"streamed")
    closed = relay(surface, location, "close", {"writer": told["writer"], "size": size})
    assert (closed.status, closed.headers["Range"]) == (202, "0-7")
    again = json.loads(relay(surface, location, "open", {"content_range": "8-11", "content_length": 4}).body)
    assert again["offset"] == 8
    staging(surface).append(again["key"], 0, b" too")
    digest = Digest.of(b"streamed too")
    done = relay(surface, location, "close", {"writer": again["writer"], "size": 12, "digest": str(digest)})
    assert done.status == 201
    assert_pullable(surface, digest, b"streamed too")


def test_a_relay_is_refused_like_a_client(surface: Surface) -> None:
    location = begin(surface)
    assert surface.send("POST", f"/_relay{location.partition('?')[0]}/open", b"{}").status == 401
    assert relay(surface, location, "open", {"content_range": "5-9", "content_length": 5}).status == 416
    assert relay(surface, location, "open", {"content_range": "0-9", "content_length": 5}).status == 400
    assert relay(surface, location, "open", []).status == 400
    assert relay(surface, f"{UPLOADS}{'0' * 32}", "open", {}).status == 404
    for told in ({"writer": "", "size": 0}, {"writer": "guess", "size": 0}, {"size": 0}, {"writer": "w", "size": "0"}, 1):
        assert relay(surface, location, "close", told).status in {400, 404}


def test_an_earlier_writer_cannot_close(surface: Surface) -> None:
    location = begin(surface)
    first = json.loads(relay(surface, location, "open", {}).body)
    second = json.loads(relay(surface, location, "open", {}).body)
    for told, content in ((first, b"late"), (second, b"bytes")):
        staging(surface).append(told["key"], 0, content)
    assert relay(surface, location, "close", {"writer": first["writer"], "size": 4}).status == 416
    assert relay(surface, location, "close", {"writer": second["writer"], "size": 5}).status == 202
    assert finish(surface, location, b"bytes").status == 201
    assert_pullable(surface, Digest.of(b"bytes"), b"bytes")
    assert staging(surface).staged == {}


def test_a_close_that_comes_again_takes_nothing_away(surface: Surface) -> None:
    location = begin(surface)
    told = json.loads(relay(surface, location, "open", {}).body)
    staging(surface).append(told["key"], 0, b"bytes")
    said = {"writer": told["writer"], "size": 5}
    assert relay(surface, location, "close", said).status == 202
    assert relay(surface, location, "close", said).status == 416
    assert finish(surface, location, b"bytes").status == 201
    assert relay(surface, location, "close", said).status == 404
    assert_pullable(surface, Digest.of(b"bytes"), b"bytes")


@pytest.mark.parametrize("size", [1, 4, 6, 10**12])
def test_a_relay_that_tells_another_size_than_it_staged_is_refused(surface: Surface, size: int) -> None:
    location = begin(surface)
    told = json.loads(relay(surface, location, "open", {}).body)
    staging(surface).append(told["key"], 0, b"bytes")
    assert relay(surface, location, "close", {"writer": told["writer"], "size": size}).status == 416
    assert surface.call("GET", location).headers["Range"] == "0-0"
    assert_nothing_stored(surface, b"bytes")


def test_bytes_of_an_unrecorded_request_do_not_count(surface: Surface) -> None:
    """A server that died while it streamed leaves staged bytes that no client was told of."""
    location = begin(surface)
    surface.call("PATCH", location, b"told")
    opened = json.loads(relay(surface, location, "open", {}).body)
    staging(surface).append(opened["key"], 0, b" and lost")
    assert surface.call("GET", location).headers["Range"] == "0-3"
    assert finish(surface, location, b"told").status == 201
    assert_pullable(surface, Digest.of(b"told"), b"told")


def test_more_than_a_chunk_announced_is_refused(surface: Surface) -> None:
    location = begin(surface)
    told = json.loads(relay(surface, location, "open", {"content_range": "0-3", "content_length": None}).body)
    staging(surface).append(told["key"], 0, b"too long")
    refused = relay(surface, location, "close", {"writer": told["writer"], "size": 8})
    assert (refused.status, code(refused)) == (400, "SIZE_INVALID")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 200_000, b"\xff"])
@pytest.mark.parametrize("step", ["open", "close"])
def test_a_relay_that_speaks_no_json_is_refused(surface: Surface, step: str, body: bytes) -> None:
    path, _, query = begin(surface).partition("?")
    refused = surface.call("POST", f"/_relay{path}/{step}?{query}", body)
    assert (refused.status, code(refused)) == (400, "BLOB_UPLOAD_INVALID")


def test_a_relay_cannot_record_less_than_nothing(surface: Surface) -> None:
    location = begin(surface)
    writer = json.loads(relay(surface, location, "open", {}).body)["writer"]
    refused = relay(surface, location, "close", {"writer": writer, "size": -5})
    assert (refused.status, code(refused)) == (400, "BLOB_UPLOAD_INVALID")
    assert surface.call("GET", location).headers["Range"] == "0-0"
