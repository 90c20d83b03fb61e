"""How much is stored, over HTTP: for administrators."""

from __future__ import annotations

from chalicelib.registry.upkeep.storage import Numbers, Storage, Use
from tests.wire.management.asking import House

URL = "/api/v0/meta/storage"
NOTHING = {"bytes": 0, "blobs": 0}


def test_who_may(house: House) -> None:
    assert house.refused("GET", URL, by="") == (401, "NOT_AUTHENTICATED")
    for by in ("bob", "olga", house.robot, house.narrowed("admin", "a/*")):
        assert house.refused("GET", URL, by=by) == (403, "NOT_AUTHORIZED")


def test_before_and_after_an_audit(house: House) -> None:
    nothing = {"measuredAt": None, "manifests": 0, "live": NOTHING, "restorable": NOTHING, "garbage": NOTHING}
    assert house.expect(200, "GET", URL) == nothing
    numbers = Numbers().with_blob(Use.LIVE, 5).with_blob(Use.LIVE, 6).with_blob(Use.GARBAGE, 7).with_manifest()
    Storage(house.surface.table).write(numbers, 1_700_000_000)
    assert house.expect(200, "GET", URL) == {
        "measuredAt": "2023-11-14T22:13:20Z",
        "manifests": 1,
        "live": {"bytes": 11, "blobs": 2},
        "restorable": NOTHING,
        "garbage": {"bytes": 7, "blobs": 1},
    }
