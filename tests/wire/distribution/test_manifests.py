"""Manifests over the whole program: what is refused, and what comes back as it was pushed."""

from __future__ import annotations

import json
import random

import pytest

from chalicelib.registry.manifests import DOCKER_LIST, DOCKER_MANIFEST, MAX_SIZE, OCI_INDEX, OCI_MANIFEST
from chalicelib.registry.names import Digest
from chalicelib.registry.pushes import Sparse
from tests.counts import Counts
from tests.memory_table import ConflictingTable, MemoryTable
from tests.surface import CONFIG, Surface, code, descriptor, image, index

NAME = "admin/app"


@pytest.fixture
def surface() -> Surface:
    surface = Surface()
    surface.push_blob(NAME, CONFIG)
    surface.push_blob(NAME, b"layer")
    return surface


def with_fields(**fields: object) -> bytes:
    return json.dumps({**json.loads(image(b"layer")), **fields}).encode()


def without(field: str) -> bytes:
    manifest = json.loads(image(b"layer"))
    del manifest[field]
    return json.dumps(manifest).encode()


# ------------------------------------------------------------------------------------------------------------- refused


def test_a_missing_blob_is_named_and_nothing_is_stored(surface: Surface) -> None:
    manifest = image(b"layer", b"missing one", b"missing two")
    refused = surface.put(NAME, "latest", manifest)
    assert refused.status == 404
    errors = json.loads(refused.body)["errors"]
    assert [error["code"] for error in errors] == ["MANIFEST_BLOB_UNKNOWN"] * 2
    missing = [str(Digest.of(content)) for content in (b"missing one", b"missing two")]
    assert [error["detail"]["digest"] for error in errors] == missing
    assert surface.status("GET", f"/v2/{NAME}/manifests/latest") == 404
    assert surface.status("GET", f"/v2/{NAME}/manifests/{Digest.of(manifest)}") == 404


def test_a_refused_first_push_makes_no_repository(surface: Surface) -> None:
    assert surface.put("admin/new", "latest", image(b"layer")).status == 404
    assert surface.put("admin/new", "latest", b"{", OCI_MANIFEST).status == 400
    assert surface.call("POST", "/v2/admin/new/blobs/uploads/?digest-algorithm=md5").status == 400
    assert surface.call("POST", "/v2/admin/new/blobs/uploads/?digest=sha256:x").status == 400
    assert json.loads(surface.call("GET", "/v2/_catalog").body)["repositories"] == [NAME]


def test_an_index_with_a_missing_manifest_is_refused(surface: Surface) -> None:
    refused = surface.put(NAME, "latest", index(image(b"never pushed")))
    assert (refused.status, code(refused)) == (404, "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.parametrize(
    ("sparse", "image_status", "index_status"),
    [(Sparse.NONE, 404, 404), (Sparse.INDEXES, 404, 201), (Sparse.ALL, 201, 201)],
)
def test_sparse_manifests_by_setting(sparse: Sparse, image_status: int, index_status: int) -> None:
    surface = Surface(sparse=sparse)
    assert surface.put(NAME, "image", image(b"missing")).status == image_status
    assert surface.put(NAME, "index", index(image(b"missing too"))).status == index_status


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not json", id="not json"),
        pytest.param(b"\xff\xfe{}", id="not UTF-8"),
        pytest.param(b"[]", id="not an object"),
        pytest.param(b"[" * 100_000, id="nested too deep"),
        pytest.param(with_fields(manifests=[]), id="layers and manifests"),
        pytest.param(with_fields(schemaVersion=1), id="schema 1"),
        pytest.param(without("schemaVersion"), id="no schema version"),
        pytest.param(without("config"), id="no config"),
        pytest.param(without("layers"), id="no layers"),
        pytest.param(with_fields(layers={}), id="layers no list"),
        pytest.param(with_fields(layers=["x"]), id="a layer no object"),
        pytest.param(with_fields(layers=[{**descriptor(b"layer"), "digest": "sha256:short"}]), id="bad digest"),
        pytest.param(with_fields(layers=[{**descriptor(b"layer"), "digest": 5}]), id="digest no string"),
        pytest.param(with_fields(layers=[{**descriptor(b"layer"), "size": -1}]), id="negative size"),
        pytest.param(with_fields(layers=[{**descriptor(b"layer"), "size": 5.5}]), id="size no whole number"),
        pytest.param(with_fields(layers=[{**descriptor(b"layer"), "size": 6}]), id="size of other content"),
        pytest.param(with_fields(annotations={"a": 1}), id="annotation no string"),
        pytest.param(with_fields(annotations=[]), id="annotations no object"),
        pytest.param(with_fields(artifactType=1), id="artifact type no string"),
        pytest.param(with_fields(subject="x"), id="subject no descriptor"),
        pytest.param(with_fields(mediaType=7), id="media type no string"),
        pytest.param(b'{"n": ' + b"9" * 5_000 + b"}", id="a number of 5,000 digits"),
        pytest.param(image(b"layer")[:-1] + b', "layers": []}', id="layers twice"),
        pytest.param(image(b"layer")[:-1] + b', "Layers": []}', id="layers, and Layers as Go reads it"),
        pytest.param(image(b"layer").replace(b'"layers"', b'"Layers"'), id="Layers only"),
        pytest.param(image(b"layer").replace(b'"digest"', b'"Digest": "", "digest"'), id="a descriptor's digest twice"),
        pytest.param(image(b"layer")[:-1] + b', "x": NaN}', id="NaN"),
        pytest.param(with_fields(schemaVersion=2.0), id="schema version no whole number"),
        pytest.param(with_fields(annotations={"a": "\ud800"}), id="annotation no Unicode"),
        pytest.param(with_fields(artifactType="a\ud800"), id="artifact type no Unicode"),
        pytest.param(with_fields(artifactType="a/b\r\nSet-Cookie: x"), id="artifact type with a line break"),
        pytest.param(with_fields(artifactType="x" * 256), id="artifact type too long"),
        pytest.param(with_fields(config=descriptor(CONFIG, "x" * 500_000)), id="media type too long"),
    ],
)
def test_an_invalid_manifest_is_refused_and_not_stored(surface: Surface, content: bytes) -> None:
    refused = surface.put(NAME, "latest", content, OCI_MANIFEST)
    assert (refused.status, code(refused)) == (400, "MANIFEST_INVALID")
    assert surface.status("GET", f"/v2/{NAME}/manifests/latest") == 404
    assert surface.call("GET", f"/v2/{NAME}/tags/list").body == b'{"name": "admin/app", "tags": []}'


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        pytest.param(image(b"layer"), OCI_INDEX, id="an image called an index"),
        pytest.param(image(b"layer"), DOCKER_MANIFEST, id="OCI called docker"),
        pytest.param(with_fields(mediaType="application/x-thing"), "application/x-thing", id="unknown type"),
        pytest.param(without("mediaType"), OCI_INDEX, id="layers in an index"),
        pytest.param(index(), OCI_MANIFEST, id="an index called an image"),
        pytest.param(b'{"schemaVersion":2,"manifests":[],"config":{}}', OCI_INDEX, id="config in an index"),
        pytest.param(b'{"schemaVersion":2}', "text/plain", id="no manifest's type"),
    ],
)
def test_a_type_unlike_the_content_is_refused(surface: Surface, content: bytes, media_type: str) -> None:
    refused = surface.put(NAME, "latest", content, media_type)
    assert (refused.status, code(refused)) == (400, "MANIFEST_INVALID")


def test_four_mebibytes_are_taken_and_one_byte_more_is_413(surface: Surface) -> None:
    base = with_fields(annotations={"fill": ""})
    largest = with_fields(annotations={"fill": "x" * (MAX_SIZE - len(base))})
    assert len(largest) == MAX_SIZE
    assert surface.put(NAME, "large", largest).status == 201
    pulled = surface.call("GET", f"/v2/{NAME}/manifests/large")
    assert pulled.body == largest
    refused = surface.put(NAME, "larger", largest + b" ")
    assert (refused.status, code(refused)) == (413, "MANIFEST_INVALID")


def test_a_digest_of_other_content_is_refused(surface: Surface) -> None:
    for algorithm in ("sha256", "sha512"):
        digest = Digest.of(b"something else", algorithm)
        refused = surface.put(NAME, str(digest), image(b"layer"))
        assert (refused.status, code(refused)) == (400, "DIGEST_INVALID")
        assert surface.status("HEAD", f"/v2/{NAME}/manifests/{digest}") == 404


@pytest.mark.parametrize("reference", ["sha256:baddigeststring", "md5:" + "0" * 32, "sha256:" + "A" * 64, "sha256:"])
def test_a_malformed_digest_is_refused(surface: Surface, reference: str) -> None:
    assert code(surface.put(NAME, reference, image(b"layer"))) == "DIGEST_INVALID"
    assert surface.status("GET", f"/v2/{NAME}/manifests/{reference}") == 400


@pytest.mark.parametrize("tag", [".hidden", "-dash", "a" * 129, "ü", "a b", "a\n"])
def test_a_malformed_tag_is_refused(surface: Surface, tag: str) -> None:
    answer = surface.call("PUT", f"/v2/{NAME}/manifests/sha256:x?tag={tag}", image(b"layer"))
    assert answer.status == 400


def test_too_many_tags_in_one_request(surface: Surface) -> None:
    manifest = image(b"layer")
    query = "&".join(f"tag=t{number}" for number in range(31))
    refused = surface.call("PUT", f"/v2/{NAME}/manifests/{Digest.of(manifest)}?{query}", manifest)
    assert refused.status == 414
    assert json.loads(surface.call("GET", f"/v2/{NAME}/tags/list").body)["tags"] == []


# --------------------------------------------------------------------------------------------------------------- stored


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_the_exact_bytes_come_back(surface: Surface, algorithm: str) -> None:
    manifest = b"\n " + with_fields(unknown={"kept": [1.5, None, "\u00e9"]}) + b"\n"
    digest = Digest.of(manifest, algorithm)
    pushed = surface.put(NAME, str(digest), manifest, OCI_MANIFEST + "; charset=utf-8")
    assert pushed.status == 201
    assert pushed.headers["Docker-Content-Digest"] == str(digest)
    pulled = surface.call("GET", pushed.headers["Location"])
    assert (pulled.status, pulled.body) == (200, manifest)
    assert pulled.headers["Content-Type"] == OCI_MANIFEST
    assert pulled.headers["Docker-Content-Digest"] == str(digest)
    head = surface.call("HEAD", f"/v2/{NAME}/manifests/{digest}")
    assert (head.status, len(head.body)) == (200, len(manifest)), "for a gateway to count"


def test_docker_media_types(surface: Surface) -> None:
    child = with_fields(mediaType=DOCKER_MANIFEST)
    assert surface.put(NAME, "docker", child).status == 201
    assert surface.put(NAME, "list", index(child, mediaType=DOCKER_LIST)).status == 201
    assert surface.call("GET", f"/v2/{NAME}/manifests/list").headers["Content-Type"] == DOCKER_LIST


def test_tags_move_together_with_the_push(surface: Surface) -> None:
    first, second = image(b"layer"), with_fields(annotations={"v": "2"})
    surface.put_manifest(NAME, "a", first)
    query = "?tag=a&tag=b&tag=b"
    pushed = surface.call("PUT", f"/v2/{NAME}/manifests/{Digest.of(second)}{query}", second, content_type=OCI_MANIFEST)
    assert (pushed.status, pushed.headers["OCI-Tag"]) == (201, "a, b")
    for tag in "ab":
        assert surface.call("GET", f"/v2/{NAME}/manifests/{tag}").body == second
    assert surface.call("GET", f"/v2/{NAME}/manifests/{Digest.of(first)}").body == first


def test_pushing_again_changes_nothing(surface: Surface) -> None:
    for _ in range(3):
        surface.put_manifest(NAME, "again", image(b"layer"))
    assert surface.call("GET", f"/v2/{NAME}/manifests/again").body == image(b"layer")


def test_accept_decides_whether_a_type_is_served(surface: Surface) -> None:
    surface.put_manifest(NAME, "t", image(b"layer"))
    url = f"/v2/{NAME}/manifests/t"
    assert surface.call("GET", url, accept=f"{DOCKER_MANIFEST}, {OCI_MANIFEST};q=0.5").status == 200
    assert surface.call("GET", url, accept="*/*").status == 200
    refused = surface.call("GET", url, accept=DOCKER_MANIFEST)
    assert (refused.status, code(refused)) == (404, "MANIFEST_UNKNOWN")
    assert OCI_MANIFEST in json.loads(refused.body)["errors"][0]["message"]


def test_who_has_it_already_is_told_304(surface: Surface) -> None:
    digest = surface.put_manifest(NAME, "t", image(b"layer"))
    answer = surface.call("GET", f"/v2/{NAME}/manifests/t", if_none_match=f'"{digest}"')
    assert (answer.status, answer.body) == (304, b"")


@pytest.mark.parametrize("layers", [47, 48, 49, 50, 150])
def test_images_beyond_one_transaction(layers: int) -> None:
    """A transaction holds 100 actions and each layer takes two; 47 layers and a configuration are the last to fit."""
    table = MemoryTable()
    surface = Surface(table=table)
    contents = [f"layer {number}".encode() for number in range(layers)]
    digest = surface.push_image(NAME, "large", *contents)
    assert surface.call("GET", f"/v2/{NAME}/manifests/{digest}").body == image(*contents)
    for content in contents:
        assert surface.status("DELETE", f"/v2/{NAME}/blobs/{Digest.of(content)}") == 405
    assert surface.status("DELETE", f"/v2/{NAME}/manifests/{digest}") == 202
    for content in contents:
        assert surface.status("DELETE", f"/v2/{NAME}/blobs/{Digest.of(content)}") == 202


def test_an_index_of_two_hundred_and_a_nested_one(surface: Surface) -> None:
    children = [with_fields(annotations={"n": str(number)}) for number in range(200)]
    for child in children:
        surface.put_manifest(NAME, "", child)
    inner = index(*children)
    surface.put_manifest(NAME, "inner", inner)
    surface.put_manifest(NAME, "outer", index(inner))
    assert surface.call("GET", f"/v2/{NAME}/manifests/inner").body == inner
    refused = surface.call("DELETE", f"/v2/{NAME}/manifests/{Digest.of(children[150])}")
    assert (refused.status, code(refused)) == (405, "UNSUPPORTED")
    assert surface.status("DELETE", f"/v2/{NAME}/manifests/{Digest.of(inner)}") == 405
    for content in (index(inner), inner, children[150]):
        assert surface.status("DELETE", f"/v2/{NAME}/manifests/{Digest.of(content)}") == 202


def test_an_empty_index_and_go_s_null_lists(surface: Surface) -> None:
    surface.put_manifest(NAME, "empty", index())
    surface.put_manifest(NAME, "null", with_fields(layers=None))


def test_layers_that_are_had_elsewhere_need_not_be_here(surface: Surface) -> None:
    elsewhere = {
        **descriptor(b"never pushed", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
        "urls": ["http://169.254.169.254/latest/meta-data"],
    }
    surface.put_manifest(NAME, "foreign", with_fields(layers=[elsewhere]))


# -------------------------------------------------------------------------------------------------------------- deleted


def test_deleting_a_tag_keeps_the_manifest(surface: Surface) -> None:
    digest = surface.put_manifest(NAME, "a", image(b"layer"))
    surface.put_manifest(NAME, "b", image(b"layer"))
    assert surface.status("DELETE", f"/v2/{NAME}/manifests/a") == 202
    assert surface.status("HEAD", f"/v2/{NAME}/manifests/a") == 404
    assert surface.status("HEAD", f"/v2/{NAME}/manifests/b") == 200
    assert surface.status("HEAD", f"/v2/{NAME}/manifests/{digest}") == 200
    assert surface.status("DELETE", f"/v2/{NAME}/manifests/a") == 404


@pytest.mark.parametrize("tags", [0, 1, 40, 41, 100])
def test_deleting_a_manifest_takes_all_its_tags(surface: Surface, tags: int) -> None:
    manifest = image(b"layer")
    surface.put_manifest(NAME, "", manifest)
    for number in range(tags):
        surface.put_manifest(NAME, f"t{number}", manifest)
    surface.put_manifest(NAME, "other", with_fields(annotations={"other": "1"}))
    assert surface.status("DELETE", f"/v2/{NAME}/manifests/{Digest.of(manifest)}") == 202
    assert json.loads(surface.call("GET", f"/v2/{NAME}/tags/list").body)["tags"] == ["other"]
    assert surface.status("GET", f"/v2/{NAME}/manifests/{Digest.of(manifest)}") == 404
    assert surface.status("DELETE", f"/v2/{NAME}/manifests/{Digest.of(manifest)}") == 404


def test_a_deleted_manifest_can_be_pushed_again(surface: Surface) -> None:
    large = with_fields(annotations={"fill": "x" * 300_000})
    for content in (image(b"layer"), large):
        for _ in range(2):
            digest = surface.put_manifest(NAME, "t", content)
            assert surface.call("GET", f"/v2/{NAME}/manifests/t").body == content
            assert surface.status("DELETE", f"/v2/{NAME}/manifests/{digest}") == 202
            assert surface.status("GET", f"/v2/{NAME}/manifests/t") == 404


def test_a_large_manifest_leaves_nothing_in_the_store(surface: Surface) -> None:
    before = [stored.key for stored in surface.store.list("")]
    large = with_fields(annotations={"fill": "x" * 300_000})
    for _ in range(2):
        surface.put_manifest(NAME, "t", large)
    assert len(list(surface.store.list("manifests/"))) == 1
    surface.put(NAME, "bad", with_fields(layers=[descriptor(b"missing")], annotations={"fill": "x" * 300_000}))
    assert surface.status("DELETE", f"/v2/{NAME}/manifests/{Digest.of(large)}") == 202
    surface.clock.advance(8 * 24 * 3600)
    surface.garbage.collect(Counts())
    assert [stored.key for stored in surface.store.list("")] == before


@pytest.mark.parametrize("seed", range(5))
def test_conflicts_are_not_the_client_s_business(seed: int) -> None:
    surface = Surface(table=ConflictingTable(MemoryTable(), random.Random(seed), 0.3))
    manifest = surface.push_image(NAME, "a", *[f"layer {number}".encode() for number in range(60)])
    surface.push_image(NAME, "b", b"other")
    assert surface.status("DELETE", f"/v2/{NAME}/manifests/{manifest}") == 202
    assert json.loads(surface.call("GET", f"/v2/{NAME}/tags/list").body)["tags"] == ["b"]
