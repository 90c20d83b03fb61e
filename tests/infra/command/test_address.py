"""What is a registry's address, and where http is refused."""

from __future__ import annotations

import pytest

from infra.command.address import Address
from infra.command.failures import WrongUse


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://",
        "ftp://registry.test",
        "registry.test/path",
        "https://registry.test/v2/",
        "https://user:password@registry.test",
        "registry.test?x=1",
        "registry.test#x",
        "registry.test:port",
        "registry.test:99999",
        "registry.test:",
        "registry test",
        "registry.test\n.evil",
        "regis\u0442ry.test",  # a Cyrillic letter
        "registry..test",
        "-registry.test",
        "[::1",
        "[::x]:5000",
        "registry.test\\@evil.test",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(WrongUse, match="is not a registry's address"):
        Address.parse(text)


@pytest.mark.parametrize(
    "text", ["http://registry.test", "HTTP://registry.test", "http://10.0.0.1:5000", "http://127.0.0.1.test"]
)
def test_http_to_another_machine_has_to_be_meant(text: str) -> None:
    with pytest.raises(WrongUse, match="--insecure-http"):
        Address.parse(text)
    assert Address.parse(text, insecure_http=True).url == text.lower()


@pytest.mark.parametrize(
    ("text", "url", "host"),
    [
        ("Registry.Test", "https://registry.test", "registry.test"),
        ("https://registry.test/", "https://registry.test", "registry.test"),
        ("registry.test:443", "https://registry.test:443", "registry.test:443"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000", "127.0.0.1:5000"),
        ("https://127.0.0.1:5000", "https://127.0.0.1:5000", "127.0.0.1:5000"),
        ("localhost", "http://localhost", "localhost"),
        ("[::1]:5000", "http://[::1]:5000", "[::1]:5000"),
    ],
)
def test_addresses(text: str, url: str, host: str) -> None:
    found = Address.parse(text)
    assert (found.url, found.host) == (url, host)


def test_a_bare_host_is_asked_by_https_unless_http_is_meant() -> None:
    assert Address.parse("registry.test").scheme == "https"
    assert Address.parse("registry.test", insecure_http=True).scheme == "http"
