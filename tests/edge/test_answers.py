"""The answer that a client gets of S3's: 201 and where the blob is; every other answer as it is."""

from __future__ import annotations

import pytest

from infra.local.edge import Passed
from infra.local.events import Answer
from tests.edge.speaking import REPOSITORY, UPLOAD, bearer, edge, head, state

DIGEST = "sha256:" + "0a" * 32
URL = f"/v2/a/b/blobs/uploads/{UPLOAD}?_state={state(upload=UPLOAD, name='a/b')}&digest={DIGEST}"
SENT = head("PUT", URL, bearer("a/b"), content_length="9000000")
STORED = Answer(200, [(b"etag", b'"x"')], b"", 0)
TURNED = {b"etag": b'"x"', b"location": f"/v2/a/b/blobs/{DIGEST}".encode(), b"docker-content-digest": DIGEST.encode()}


def test_a_stored_blob_is_created() -> None:
    """Whether the request is shown as it was sent on, or as it came."""
    passed = edge().request(SENT)
    assert isinstance(passed, Passed)
    assert passed.head.path == f"/direct/{REPOSITORY}/{DIGEST}/{UPLOAD}"
    encoded = SENT._replace(query=SENT.query.replace(":", "%3A"))
    for shown in (passed.head, SENT, encoded):
        answer = edge().response(shown, STORED)
        assert (answer.status, dict(answer.headers)) == (201, TURNED)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (SENT, 201),
        (SENT, 202),
        (SENT, 204),
        (SENT, 403),
        (SENT, 404),
        (head("PATCH", URL), 200),
        (head("GET", URL), 200),
        (head("PUT", f"/v2/a/blobs/uploads/{UPLOAD}"), 200),
        (head("PUT", f"/v2/a/blobs/uploads/{UPLOAD}?digest=x"), 200),
        (head("PUT", f"/v2/a/manifests/t?digest={DIGEST}", x_slipway_location="/v2/x"), 200),
        (head("PUT", f"/direct/x/{DIGEST}/y"), 200),
    ],
)
def test_every_other_answer_is_left_alone(sent: object, status: int) -> None:
    answer = Answer(status, [(b"location", b"/x"), (b"range", b"0-5")], b"body", 4)
    assert edge().response(sent, answer) == answer  # type: ignore[arg-type]
