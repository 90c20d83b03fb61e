"""Lists over the whole program: order, pages, filters, and numbers that are none."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pytest

from chalicelib.registry.manifests import OCI_INDEX
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import Item
from tests.memory_table import MemoryTable
from tests.surface import CONFIG, Surface, code, descriptor, image, index

NAME = "admin/app"


@pytest.fixture
def surface() -> Surface:
    surface = Surface()
    surface.push_blob(NAME, CONFIG)
    return surface


def tags(surface: Surface, query: str = "") -> list[str]:
    answer = surface.call("GET", f"/v2/{NAME}/tags/list{query}")
    assert answer.status == 200
    listed = json.loads(answer.body)
    assert listed["name"] == NAME
    return list(listed["tags"])


class ShortKeys(MemoryTable):
    """A table that takes sort keys of 1,024 bytes at most, as DynamoDB does."""

    def query(
        self, partition: str, *, prefix: str = "", after: str = "", limit: int | None = None, backward: bool = False
    ) -> Sequence[Item]:
        if len(after.encode()) > 1_024:
            raise ValueError("the size of the range key has exceeded the limit of 1024 bytes")
        return super().query(partition, prefix=prefix, after=after, limit=limit, backward=backward)


@pytest.mark.parametrize("letter", ["b", "%F0%9F%92%A5"])
@pytest.mark.parametrize("length", [127, 128, 129, 256, 257, 500])
def test_lists_go_on_from_what_is_longer_than_any_name(letter: str, length: int) -> None:
    surface = Surface(table=ShortKeys())
    surface.push_image(NAME, "b" * 128, b"layer")
    surface.put_manifest(NAME, "c", image(b"layer"))
    last = letter * length
    beyond = ["c"] if letter == "b" and length >= 128 else ["b" * 128, "c"] if letter == "b" else []
    assert tags(surface, f"?last={last}") == beyond
    catalog = surface.call("GET", f"/v2/_catalog?last={last}")
    assert (catalog.status, json.loads(catalog.body)) == (200, {"repositories": []})
    referrers = surface.call("GET", f"/v2/{NAME}/referrers/{Digest.of(b'x')}?last={last}")
    assert (referrers.status, json.loads(referrers.body)["manifests"]) == (200, [])


def follow(surface: Surface, url: str, field: str) -> list[object]:
    """All entries of a list, page after page."""
    entries: list[object] = []
    while url:
        answer = surface.call("GET", url)
        assert answer.status == 200
        entries += json.loads(answer.body)[field]
        link = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers.get("Link", ""))
        url = link[1] if link else ""
    return entries


@pytest.mark.parametrize("path", [f"/v2/{NAME}/tags/list", "/v2/_catalog"])
@pytest.mark.parametrize("n", ["-1", "abc", "1.5", "", "0x10", "\u0661", "9" * 40, "1e9"])
def test_a_number_that_is_none_is_refused(surface: Surface, path: str, n: str) -> None:
    refused = surface.call("GET", f"{path}?n={n}")
    assert (refused.status, code(refused)) == (400, "PAGINATION_NUMBER_INVALID")


@pytest.mark.parametrize("path", [f"/v2/{NAME}/tags/list", "/v2/_catalog"])
def test_a_huge_number_is_bounded(surface: Surface, path: str) -> None:
    assert surface.status("GET", f"{path}?n=1000000000") == 200
    assert surface.status("GET", f"{path}?n=999999999999999999") == 200


def test_an_unknown_repository_has_no_tags_list(surface: Surface) -> None:
    refused = surface.call("GET", "/v2/admin/none/tags/list")
    assert (refused.status, code(refused)) == (404, "NAME_UNKNOWN")


def test_tags_in_ascii_order_page_by_page(surface: Surface) -> None:
    names = ["A", "Z", "_x", "a", "a-1", "a.1", "a1", "b", "v1", "v10", "v2"]
    for name in reversed(names):
        surface.put_manifest(NAME, name, image())
    assert tags(surface) == names
    for n in range(1, len(names) + 2):
        assert follow(surface, f"/v2/{NAME}/tags/list?n={n}", "tags") == names
    assert tags(surface, "?n=3") == names[:3]
    assert tags(surface, "?last=a.1") == names[6:]
    assert tags(surface, "?last=a.2&n=2") == names[6:8]
    assert tags(surface, "?last=zzz") == []


def test_zero_is_an_empty_list_without_a_link(surface: Surface) -> None:
    surface.put_manifest(NAME, "t", image())
    answer = surface.call("GET", f"/v2/{NAME}/tags/list?n=0")
    assert json.loads(answer.body)["tags"] == []
    assert "Link" not in answer.headers


def test_more_than_a_page_without_a_number(surface: Surface) -> None:
    manifest = image()
    for start in range(0, 1005, 15):
        query = "&".join(f"tag=t{number:05}" for number in range(start, min(start + 15, 1005)))
        surface.call("PUT", f"/v2/{NAME}/manifests/{Digest.of(manifest)}?{query}", manifest)
    assert len(tags(surface)) == 1000
    assert follow(surface, f"/v2/{NAME}/tags/list", "tags") == [f"t{number:05}" for number in range(1005)]
    assert follow(surface, f"/v2/{NAME}/tags/list?n=1000000", "tags")[-1] == "t01004"


def test_the_catalog_in_order(surface: Surface) -> None:
    names = ["admin/app", "admin/app-two", "admin/app/deep", "admin/b", "other/c"]
    for name in names[1:]:
        surface.push_blob(name, b"x")
    for n in range(1, 7):
        assert follow(surface, f"/v2/_catalog?n={n}", "repositories") == names


def test_the_catalog_is_the_administrator_s() -> None:
    anonymous = Surface(credentials="")
    refused = anonymous.call("GET", "/v2/_catalog")
    assert (refused.status, code(refused)) == (403, "DENIED")


# ------------------------------------------------------------------------------------------------------------ referrers


def referrers(surface: Surface, subject: Digest, query: str = "") -> list[dict[str, object]]:
    answer = surface.call("GET", f"/v2/{NAME}/referrers/{subject}{query}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, OCI_INDEX)
    body = json.loads(answer.body)
    assert (body["schemaVersion"], body["mediaType"]) == (2, OCI_INDEX)
    return list(body["manifests"])


def test_what_has_no_referrers_has_an_empty_index(surface: Surface) -> None:
    assert referrers(surface, Digest.of(b"unknown")) == []
    assert surface.status("GET", f"/v2/admin/none/referrers/{Digest.of(b'x')}") == 200


@pytest.mark.parametrize("subject", ["latest", "sha256:abc", "sha256:", "x:y"])
def test_a_subject_that_is_no_digest(surface: Surface, subject: str) -> None:
    refused = surface.call("GET", f"/v2/{NAME}/referrers/{subject}")
    assert (refused.status, code(refused)) == (400, "DIGEST_INVALID")


def test_referrers_come_before_and_outlive_their_subject(surface: Surface) -> None:
    subject = image(annotations={"the": "subject"})
    signature = image(subject=descriptor(subject), artifactType="application/x-signature", annotations={"by": "me"})
    pushed = surface.put(NAME, str(Digest.of(signature)), signature)
    assert pushed.headers["OCI-Subject"] == str(Digest.of(subject))
    listed = referrers(surface, Digest.of(subject))
    assert listed == [
        {
            "mediaType": json.loads(signature)["mediaType"],
            "digest": str(Digest.of(signature)),
            "size": len(signature),
            "artifactType": "application/x-signature",
            "annotations": {"by": "me"},
        }
    ]
    surface.put_manifest(NAME, "", subject)
    assert surface.status("DELETE", f"/v2/{NAME}/manifests/{Digest.of(subject)}") == 202
    assert referrers(surface, Digest.of(subject)) == listed
    assert surface.status("DELETE", f"/v2/{NAME}/manifests/{Digest.of(signature)}") == 202
    assert referrers(surface, Digest.of(subject)) == []


def test_the_artifact_type_of_images_and_indexes(surface: Surface) -> None:
    subject = descriptor(b"subject")
    surface.put_manifest(NAME, "", image(subject=subject))
    surface.put_manifest(NAME, "", index(subject=subject))
    surface.put_manifest(NAME, "", index(subject=subject, artifactType="application/x-sbom"))
    digest = Digest.of(b"subject")
    types = sorted(str(entry.get("artifactType")) for entry in referrers(surface, digest))
    assert types == ["None", "application/vnd.oci.image.config.v1+json", "application/x-sbom"]
    answer = surface.call("GET", f"/v2/{NAME}/referrers/{digest}?artifactType=application/x-sbom")
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    assert [entry["artifactType"] for entry in json.loads(answer.body)["manifests"]] == ["application/x-sbom"]
    assert referrers(surface, digest, "?artifactType=application/x-none") == []


def test_many_and_large_referrers_come_in_pages(surface: Surface) -> None:
    subject = descriptor(b"subject")
    expected = set()
    for number in range(8):
        large = image(subject=subject, annotations={"number": str(number), "fill": "x" * 900_000})
        expected.add(str(surface.put_manifest(NAME, "", large)))
    for number in range(250):
        expected.add(str(surface.put_manifest(NAME, "", image(subject=subject, annotations={"n": str(number)}))))
    listed = follow(surface, f"/v2/{NAME}/referrers/{Digest.of(b'subject')}", "manifests")
    assert {entry["digest"] for entry in listed if isinstance(entry, dict)} == expected
    assert len(listed) == len(expected)
    first = surface.call("GET", f"/v2/{NAME}/referrers/{Digest.of(b'subject')}")
    assert len(first.body) < 4 * 1024 * 1024
