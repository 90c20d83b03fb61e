"""The environment: what is read from it, and that a wrong value is named."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from infra.local.settings import SettingInvalid, read_settings


def test_nothing_set() -> None:
    settings = read_settings({"PUBLIC_URL": " ", "TRUSTED_PROXIES": ""})
    assert (settings.host, settings.port, settings.data.name) == ("127.0.0.1", 5000, ".slipway")
    assert settings.public_url == settings.listening_url == "http://127.0.0.1:5000"
    assert settings.trusted_proxies == ()


def test_everything_set(tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.touch()
    key.touch()
    settings = read_settings(
        {
            "HOST": "::",
            "PORT": "443",
            "DATA": str(tmp_path),
            "PUBLIC_URL": "https://registry.test/",
            "TLS_CERT": str(certificate),
            "TLS_KEY": str(key),
            "TRUSTED_PROXIES": "192.0.2.1, 10.0.0.0/8 ,2001:db8::/32",
            "SLIPWAY_ADMIN_PASSWORD": "secret",
        }
    )
    assert (settings.public_url, settings.listening_url) == ("https://registry.test", "https://[::]:443")
    assert settings.trusted_proxies == tuple(map(ip_network, ("192.0.2.1", "10.0.0.0/8", "2001:db8::/32")))
    assert "secret" not in repr(settings)


def test_tls_makes_the_default_address_https(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.touch()
    assert read_settings({"TLS_CERT": str(file), "TLS_KEY": str(file)}).public_url == "https://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("variable", "environ"),
    [
        ("PORT", {"PORT": "http"}),
        ("PORT", {"PORT": "0"}),
        ("PORT", {"PORT": "65536"}),
        ("PORT", {"PORT": "-1"}),
        ("PUBLIC_URL", {"HOST": "0.0.0.0"}),  # noqa: S104
        ("PUBLIC_URL", {"HOST": "::"}),
        ("PUBLIC_URL", {"PUBLIC_URL": "registry.test"}),
        ("PUBLIC_URL", {"PUBLIC_URL": "ftp://registry.test"}),
        ("PUBLIC_URL", {"PUBLIC_URL": "https://"}),
        ("PUBLIC_URL", {"PUBLIC_URL": "https://registry.test/path"}),
        ("PUBLIC_URL", {"PUBLIC_URL": "https://user@registry.test"}),
        ("PUBLIC_URL", {"PUBLIC_URL": "https://registry.test:port"}),
        ("PUBLIC_URL", {"PUBLIC_URL": "https://[::1"}),
        ("TLS_CERT", {"TLS_KEY": __file__}),
        ("TLS_KEY", {"TLS_CERT": __file__}),
        ("TLS_CERT", {"TLS_CERT": "/nowhere/c.pem", "TLS_KEY": __file__}),
        ("TRUSTED_PROXIES", {"TRUSTED_PROXIES": "proxy.test"}),
        ("TRUSTED_PROXIES", {"TRUSTED_PROXIES": "10.0.0.0/33"}),
    ],
)
def test_a_wrong_value_is_named(variable: str, environ: dict[str, str]) -> None:
    with pytest.raises(SettingInvalid, match=f"^{variable} "):
        read_settings(environ)
