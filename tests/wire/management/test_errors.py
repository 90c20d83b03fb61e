"""Every refusal of the domain is one of this API's or known to be another's."""

from __future__ import annotations

import pytest

from chalicelib.registry import errors
from chalicelib.registry.errors import RegistryError
from chalicelib.wire.management.errors import CODES, refusal

OF_THE_DISTRIBUTION_API = {
    errors.BlobReferenced,
    errors.BlobUnknown,
    errors.ContentTooLarge,
    errors.DigestMismatch,
    errors.ManifestBlobUnknown,
    errors.ManifestReferenced,
    errors.ManifestTooLarge,
    errors.ManifestUnknown,
    errors.OutOfSpace,
    errors.RangeInvalid,
    errors.SizeInvalid,
    errors.TooManyTags,
    errors.UploadInvalid,
    errors.UploadUnknown,
}


def kinds() -> set[type[RegistryError]]:
    named = (getattr(errors, name) for name in dir(errors))
    return {kind for kind in named if isinstance(kind, type) and issubclass(kind, RegistryError) and kind is not RegistryError}


def test_every_kind_has_a_place() -> None:
    assert set(CODES) | OF_THE_DISTRIBUTION_API == kinds()
    assert not set(CODES) & OF_THE_DISTRIBUTION_API


@pytest.mark.parametrize(
    ("error", "status", "header"),
    [
        (errors.Unauthenticated(), 401, ("WWW-Authenticate", 'Basic realm="slipway"')),
        (errors.Busy(), 429, ("Retry-After", "1")),
        (errors.Unproven(), 429, ("Retry-After", "2")),
        (errors.TooManyAttempts(7), 429, ("Retry-After", "7")),
        (errors.Unsupported(("GET", "PUT")), 405, ("Allow", "GET, PUT")),
    ],
)
def test_what_a_refusal_says_in_its_headers(error: RegistryError, status: int, header: tuple[str, str]) -> None:
    answer = refusal(error)
    assert answer.status == status
    assert answer.headers[header[0]] == header[1]
