"""Where the edge sends an upload's bytes, and what it lets nobody send."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64decode
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.local.system_clock import SystemClock
from chalicelib.registry.errors import UploadUnknown
from chalicelib.wire.distribution.state import Lane, UploadStates
from infra.local.edge import API, DIRECT_UPLOAD, INLINE_UPLOAD, RELAY, STORAGE, Edge, Passed, store_of
from infra.local.events import Head
from tests.edge.speaking import KEYS, REALM, REPOSITORY, SERVICE, UPLOAD, bearer, claims, edge, head, refusal, state, token

PATH = f"/v2/a/blobs/uploads/{UPLOAD}"
DIGEST, LONG = "sha256:" + "0a" * 32, "sha512:" + "0a" * 64
EDGE = edge()


def target(lane: Lane = Lane.OPEN, digest: str = DIGEST, more: str = "", path: str = PATH) -> str:
    return f"{path}?_state={state(upload=UPLOAD, lane=lane)}{f'&digest={digest}' if digest else ''}{more}"


def put(url: str, length: int = INLINE_UPLOAD + 1, method: str = "PUT", **headers: str) -> Head:
    return head(method, url, bearer("a"), content_length=str(length), **headers)


# ------------------------------------------------------------------------------------------------------------------ lanes


@pytest.mark.parametrize(
    ("method", "lane", "length", "digest", "origin"),
    [
        ("PUT", Lane.OPEN, 0, DIGEST, API),
        ("PUT", Lane.OPEN, INLINE_UPLOAD, DIGEST, API),
        ("PUT", Lane.OPEN, INLINE_UPLOAD + 1, DIGEST, STORAGE),
        ("PUT", Lane.OPEN, DIRECT_UPLOAD, DIGEST, STORAGE),
        ("PUT", Lane.OPEN, DIRECT_UPLOAD + 1, DIGEST, RELAY),
        ("PUT", Lane.OPEN, INLINE_UPLOAD + 1, LONG, RELAY),
        ("PUT", Lane.INLINE, INLINE_UPLOAD + 1, DIGEST, RELAY),
        ("PUT", Lane.INLINE, 0, DIGEST, API),
        ("PUT", Lane.RELAY, INLINE_UPLOAD + 1, DIGEST, RELAY),
        ("PUT", Lane.RELAY, 0, DIGEST, RELAY),
        ("PATCH", Lane.OPEN, INLINE_UPLOAD, "", API),
        ("PATCH", Lane.OPEN, INLINE_UPLOAD + 1, "", RELAY),
        ("PATCH", Lane.OPEN, INLINE_UPLOAD + 1, DIGEST, RELAY),
        ("PATCH", Lane.RELAY, 1, "", RELAY),
        ("GET", Lane.OPEN, 0, "", API),
        ("GET", Lane.RELAY, 0, "", RELAY),
        ("DELETE", Lane.RELAY, 0, "", RELAY),
        ("DELETE", Lane.INLINE, 0, "", API),
    ],
)
def test_the_lane_goes_by_method_state_and_size(method: str, lane: Lane, length: int, digest: str, origin: str) -> None:
    assert refusal(EDGE.request(put(target(lane, digest), length, method))) == (0, origin)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_an_unannounced_length_goes_to_the_relay(method: str) -> None:
    for headers in ({"transfer_encoding": "chunked"}, {}, {"transfer_encoding": "chunked", "content_length": "9000000"}):
        assert refusal(EDGE.request(head(method, target(), bearer("a"), **headers))) == (0, RELAY)


@pytest.mark.parametrize("length", ["-1", "1e9", "0x10", " 5", "5,5", "9" * 30, ""])
def test_a_length_that_is_none_is_no_length(length: str) -> None:
    assert refusal(EDGE.request(head("PUT", target(), bearer("a"), content_length=length))) == (0, RELAY)


def test_a_post_brings_its_bytes_to_the_api_or_the_relay() -> None:
    begin = "/v2/a/blobs/uploads/"
    for url, length, expected in (
        (begin, 0, (0, API)),
        (f"{begin}?mount={DIGEST}&from=b", 0, (0, API)),
        (f"{begin}?digest={DIGEST}", INLINE_UPLOAD, (0, API)),
        (f"{begin}?digest={DIGEST}", INLINE_UPLOAD + 1, (0, RELAY)),
        (f"{begin}?digest={LONG}&digest={LONG}", INLINE_UPLOAD + 1, (0, RELAY)),
        (f"{begin}?digest={LONG}&digest={DIGEST}", INLINE_UPLOAD + 1, (400, "DIGEST_INVALID")),
        (f"{begin}?digest=x", INLINE_UPLOAD + 1, (400, "DIGEST_INVALID")),
        (begin, INLINE_UPLOAD + 1, (413, "SIZE_INVALID")),
    ):
        assert refusal(EDGE.request(put(url, length, "POST"))) == expected, url
    assert refusal(EDGE.request(head("POST", begin, bearer("a"), transfer_encoding="chunked"))) == (0, API)


def test_without_a_relay_a_large_body_is_told_the_ways_out() -> None:
    for direct in (True, False):
        lonely = edge(direct=direct, relay=False)
        told = lonely.request(put(target(digest=""), method="PATCH"))
        assert not isinstance(told, Passed)
        assert refusal(told) == (413, "SIZE_INVALID")
        assert b"slipway relay --upstream" in told.body
        assert (b"containerd" in told.body) is direct
        assert refusal(lonely.request(put(target()))) == ((0, STORAGE) if direct else (413, "SIZE_INVALID"))
        assert refusal(lonely.request(put(target(digest=""), 100, "PATCH"))) == (0, API)
        # maybe small: legacy docker announces nothing; the gateway refuses what is not
        assert refusal(lonely.request(head("PATCH", target(), bearer("a"), transfer_encoding="chunked"))) == (0, API)
        assert refusal(lonely.request(put(target(Lane.RELAY), 0))) == (0, API)


def test_who_was_refused_the_repository_sends_nothing_past_the_api() -> None:
    """Not even with a state from better days: the API says 403, and why."""
    push = [{"type": "repository", "name": "a", "actions": ["push"]}]
    withdrawn = f"Bearer {token(claims('b', refused=push, access=[{'type': 'repository', 'name': 'a', 'actions': ['pull']}]))}"
    for lane in Lane:
        sent = head("PUT", target(lane), withdrawn, content_length=str(INLINE_UPLOAD + 1))
        assert EDGE.request(sent) == Passed(sent, API)


def test_without_the_direct_lane_nothing_goes_to_storage() -> None:
    assert refusal(edge(direct=False).request(put(target()))) == (0, RELAY)


# ---------------------------------------------------------------------------------------------------------------- storage

HOSTILE_HEADERS = {
    "x-amz-copy-source": "/bucket/direct/other/key",
    "x-amz-copy-source-range": "bytes=0-1",
    "x-amz-acl": "public-read",
    "x-amz-grant-full-control": "uri=http://acs.amazonaws.com/groups/global/AllUsers",
    "x-amz-tagging": "a=b",
    "x-amz-website-redirect-location": "http://elsewhere.test",
    "x-amz-storage-class": "GLACIER",
    "x-amz-server-side-encryption-customer-key": "x",
    "x-amz-object-lock-mode": "COMPLIANCE",
    "x-amz-meta-name": "x",
    "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
    "x-amz-checksum-sha256": "AAAA",
    "x-amz-checksum-crc32": "AAAA",
    "x-amz-sdk-checksum-algorithm": "CRC32",
    "x-amz-decoded-content-length": "1",
    "x-amz-trailer": "x",
    "x-amz-security-token": "x",
    "x-slipway-location": "/v2/other/blobs/x",
    "content-md5": "x",
    "content-encoding": "aws-chunked",
    "content-type": "text/html",
    "content-disposition": "x",
    "cache-control": "x",
    "expires": "x",
    "if-match": "x",
    "if-none-match": "*",
    "range": "bytes=0-1",
    "x-http-method-override": "DELETE",
    "x-forwarded-host": "elsewhere.test",
}
HOSTILE_QUERY = "&uploadId=x&partNumber=1&acl&tagging&versionId=x&X-Amz-Signature=x&x-id=CopyObject&ns=docker.io&%75ploads"


def test_to_storage_go_only_the_bytes() -> None:
    sent = put(target(more=HOSTILE_QUERY))
    told = EDGE.request(sent._replace(headers={**sent.headers, **HOSTILE_HEADERS}, cookies=("c=1",)))
    assert isinstance(told, Passed)
    assert told.origin == STORAGE
    assert (told.head.method, told.head.query, told.head.cookies) == ("PUT", "", ())
    assert told.head.path == f"/direct/{REPOSITORY}/{DIGEST}/{UPLOAD}"
    assert told.head.headers == {
        "host": "registry.test",
        "content-length": str(INLINE_UPLOAD + 1),
        "x-amz-content-sha256": DIGEST.removeprefix("sha256:"),
        "x-amz-checksum-sha256": b64encode(bytes.fromhex(DIGEST.removeprefix("sha256:"))).decode(),
        "x-slipway-location": f"/v2/a/blobs/{DIGEST}",
    }


def test_an_encoded_digest_is_the_same_digest() -> None:
    told = EDGE.request(put(target(digest=quote(DIGEST, safe=""))))
    assert isinstance(told, Passed)
    assert told.head.path == f"/direct/{REPOSITORY}/{DIGEST}/{UPLOAD}"


def test_a_part_of_a_blob_does_not_go_to_storage() -> None:
    assert refusal(EDGE.request(put(target(), content_range="0-4194304"))) == (0, RELAY)


@pytest.mark.parametrize("path", [PATH.replace("a/", "%61/"), PATH.replace("u", "%75"), PATH[:-1] + "%66"])
def test_an_encoded_path_does_not_go_to_storage(path: str) -> None:
    assert refusal(EDGE.request(put(target(path=path)))) == (0, RELAY)


@pytest.mark.parametrize("path", [PATH.replace("/v2/a/", "/v2/a%2F"), PATH.replace("a/", "a%2f..%2f"), f"/v2/../a{PATH[5:]}"])
def test_a_path_that_is_read_in_two_ways_goes_to_the_api_as_it_is(path: str) -> None:
    sent = put(target(path=path))
    assert EDGE.request(sent) == Passed(sent, API)


@pytest.mark.parametrize(
    "digests",
    [
        "",
        "&digest=",
        f"&digest={DIGEST}&digest={LONG}",
        f"&digest={DIGEST}&digest=",
        f"&digest={DIGEST}&%64igest={LONG}",
        f"&digest={DIGEST.upper()}",
        f"&digest={DIGEST}0",
        f"&digest={DIGEST[:-1]}",
        f"&digest={DIGEST}%0A",
        f"&digest={DIGEST}/../../x",
        f"&digest=..%2F{DIGEST}",
        "&digest=md5:" + "0" * 32,
        "&digest=%ff",
    ],
)
def test_a_large_put_names_one_good_digest(digests: str) -> None:
    for lane in Lane:
        assert refusal(EDGE.request(put(target(lane, "", digests)))) == (400, "DIGEST_INVALID")
    assert refusal(EDGE.request(put(target(digest="", more=digests), 1))) == (0, API)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "_state=",
        "_state=.",
        f"_state={state(upload=UPLOAD)}&_state={state(upload='0' * 32)}",
        f"_state={state(upload=UPLOAD)}&_stat%65=x",
        f"_state={state(upload='0' * 32)}",
        f"_state={state(upload=UPLOAD, name='b')}",
        f"_state={state(upload=UPLOAD, account='eve')}",
        f"_state={state(upload=UPLOAD, account='')}",
        f"_state={state(upload=UPLOAD, expires_at=1_000_000)}",
        f"_state={state(upload=UPLOAD)}x",
        f"_state={state(upload=UPLOAD)[:-1]}",
        f"_state={state(upload=UPLOAD)}.x",
        f"_state={state(upload=UPLOAD).partition('.')[0]}",
        f"_state={state(upload=UPLOAD).partition('.')[0]}.",
        "_state=bnVsbA.x",
        "_state=W10.x",
    ],
)
def test_without_its_state_an_upload_is_unknown(query: str) -> None:
    for method in ("PUT", "PATCH", "GET", "DELETE"):
        told = EDGE.request(put(f"{PATH}?{query}&digest={DIGEST}", method=method))
        assert refusal(told) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_keys_overlap_and_a_key_that_is_not_here_yet_is_waited_for() -> None:
    old, _ = KEYS.items()
    told = UploadStates(lambda: KEYS, SystemClock()).verify(state(UPLOAD))
    by_old = UploadStates(lambda: dict([old]), SystemClock()).sign(told, Lane.OPEN)
    for text in (state(upload=UPLOAD), by_old):
        assert refusal(EDGE.request(put(f"{PATH}?_state={text}&digest={DIGEST}"))) == (0, STORAGE)
    late = Edge(store_of(REALM, SERVICE, dict([old]), direct=True, relay=True))
    assert refusal(late.request(put(f"{PATH}?_state={by_old}&digest={DIGEST}"))) == (0, STORAGE)
    assert refusal(late.request(put(target()))) == (503, "UNAVAILABLE")


# ------------------------------------------------------------------------------------------------------------- properties


def good(text: str, account: object) -> bool:
    """Whether Python finds the state good for the upload under test."""
    try:
        told = UploadStates(lambda: KEYS, SystemClock()).verify(text)
    except UploadUnknown:
        return False
    lane = json.loads(urlsafe_b64decode(text.partition(".")[0] + "=="))["l"]
    return (told.id, str(told.name), lane, told.account) == (UPLOAD, "a", Lane.OPEN, account)


@settings(max_examples=300, deadline=None)
@given(
    method=st.sampled_from(["PUT", "PUT", "PUT", "PATCH", "POST"]),
    path=st.sampled_from(
        [PATH, PATH, PATH, PATH.replace("/a/", "/b/"), "/v2/a/blobs/uploads/", f"/direct/x/{DIGEST}/{UPLOAD}"]
    ),
    states=st.lists(
        st.sampled_from(
            [state(UPLOAD), state(UPLOAD), state(UPLOAD, lane=Lane.INLINE), state(UPLOAD, expires_at=1), state("x"), "", "a.b"]
        ),
        max_size=2,
    ),
    digests=st.lists(st.sampled_from([DIGEST, DIGEST, LONG, "", "x", f"{DIGEST}/..", f"{DIGEST}%0a"]), max_size=2),
    told=st.sampled_from(
        [claims("a"), claims("a"), claims("b"), claims("a", exp=1), claims("a", sub="eve"), claims("a", access=[])]
    ),
    bears=st.booleans(),
    length=st.sampled_from(["4194305", "4194304", "0", "99999999999", "x", None]),
    headers=st.dictionaries(
        st.sampled_from([*HOSTILE_HEADERS, "content-range", "transfer-encoding"]), st.just("x"), max_size=3
    ),
)
def test_nothing_unauthenticated_or_unstated_reaches_storage(
    *,
    method: str,
    path: str,
    states: list[str],
    digests: list[str],
    told: dict[str, object],
    bears: bool,
    length: str | None,
    headers: dict[str, str],
) -> None:
    query = "&".join([*(f"_state={text}" for text in states), *(f"digest={text}" for text in digests)])
    named = {**headers, **({} if length is None else {"content-length": length})}
    named |= {"authorization": f"Bearer {token(told)}"} if bears else {}
    answer = EDGE.request(Head(method, path, query, named))
    if not isinstance(answer, Passed) or answer.origin != STORAGE:
        return
    assert bears
    assert (told["access"], told["exp"]) == (claims("a")["access"], claims()["exp"])
    assert (method, path, set(digests), length) == ("PUT", PATH, {DIGEST}, "4194305")
    assert len(set(states)) == 1
    assert good(states[0], told["sub"])
    assert not {"content-range", "transfer-encoding"} & named.keys()
    assert answer.head.query == ""
    assert answer.head.headers.keys() <= {"host", "content-length", "x-amz-content-sha256", "x-slipway-location"}
