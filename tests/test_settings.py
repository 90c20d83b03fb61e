"""Settings: what is missing or wrong is an error that names it."""

from __future__ import annotations

import pytest

from chalicelib.settings import Cloud, SettingError, read_settings

CLOUD = {
    "SLIPWAY_PUBLIC_URL": "https://registry.test/",
    "SLIPWAY_TABLE": "table",
    "SLIPWAY_BUCKET": "bucket",
    "SLIPWAY_SIGNING_KEY": "signing",
    "SLIPWAY_WRAPPING_KEY": "wrapping",
}


def cloud(**changed: str) -> Cloud:
    store = read_settings(CLOUD | changed).store
    assert isinstance(store, Cloud)
    return store


@pytest.mark.parametrize("name", CLOUD)
def test_what_is_needed(name: str) -> None:
    with pytest.raises(SettingError, match=f"^{name} is not set"):
        read_settings({other: value for other, value in CLOUD.items() if other != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLIPWAY_PUBLIC_URL", "registry.test"),
        ("SLIPWAY_PUBLIC_URL", "https://registry.test/path"),
        ("SLIPWAY_PUBLIC_URL", "ftp://registry.test"),
        ("SLIPWAY_SPARSE_MANIFESTS", "some"),
        ("SLIPWAY_LOG", "everything"),
        ("SLIPWAY_TRACING", "on"),
        ("SLIPWAY_LANES", "direct,sideways"),
        ("SLIPWAY_PRIVATE_ISSUERS", "https://gitlab.corp.test"),
        ("SLIPWAY_PRIVATE_ISSUERS", "gitlab.corp.test/"),
        ("SLIPWAY_PRIVATE_ISSUERS", "user@gitlab.corp.test"),
        ("SLIPWAY_PRIVATE_ISSUERS", "*.corp.test"),
        ("SLIPWAY_PRIVATE_ISSUERS", "gitlab.corp.test:port"),
    ],
)
def test_what_is_wrong(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"^{name} must be"):
        read_settings(CLOUD | {name: value})


@pytest.mark.parametrize(
    ("text", "lanes"), [("", set()), ("direct", {"direct"}), ("direct, relay", {"direct", "relay"}), (",relay,", {"relay"})]
)
def test_lanes(text: str, lanes: set[str]) -> None:
    assert cloud(SLIPWAY_LANES=text).lanes == lanes


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", set()),
        (" GitLab.Corp.test, 10.0.0.7:8443,,", {"gitlab.corp.test", "10.0.0.7:8443"}),
        ("[fd00::7]:8443", {"[fd00::7]:8443"}),
    ],
)
def test_private_issuers(text: str, hosts: set[str]) -> None:
    assert read_settings(CLOUD | {"SLIPWAY_PRIVATE_ISSUERS": text}).private_issuers == hosts


def test_secrets_are_not_shown() -> None:
    assert "b2xk" not in repr(cloud(SLIPWAY_UPLOAD_KEYS="1:" + "b2xk" * 11))


def test_the_host_is_the_service_and_the_realm_is_ours() -> None:
    settings = read_settings(CLOUD)
    assert (settings.service, settings.realm) == ("registry.test", "https://registry.test/auth/token")
