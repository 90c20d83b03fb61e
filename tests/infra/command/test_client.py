"""What can go wrong between a command and a registry, and what a command makes of it."""

from __future__ import annotations

import base64
import gzip
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from infra.command.address import Address
from infra.command.client import LONGEST_WAIT, MAX_ANSWER, MAX_ATTEMPTS, Client
from infra.command.credentials import IDENTITY_TOKEN, Credentials
from infra.command.failures import Failure, NotLoggedIn, Refused, Unreachable, WrongUse
from tests.infra.command.running import Planned, Scripted, scripted
from tests.relay.throughput import certificate

BOB = Credentials("bob", "secret")
NOT_TAKEN = "HOST does not take the credentials: "
NOT_ITS_ERROR = "HOST answered {}, without an error of the API: is it a Slipway registry?"
NOT_ITS_JSON = "HOST did not answer in the API's JSON: is it a Slipway registry?"


class Calls:
    """A client, what it said and how long it waited."""

    def __init__(
        self, url: str, credentials: Credentials | None = BOB, *, ca_file: str = "", environ: Mapping[str, str] | None = None
    ) -> None:
        self.said: list[str] = []
        self.waited: list[float] = []
        self.client = Client(
            Address.parse(url), credentials, say=self.said.append, wait=self.waited.append, ca_file=ca_file, environ=environ
        )

    def get(self, path: str = "/api/v0/whoami") -> dict[str, object]:
        return self.client.call("GET", path).content


def refusal(code: str = "NOT_AUTHORIZED", message: str = "no", **detail: object) -> object:
    return {"errors": [{"code": code, "message": message, "detail": detail}]}


@pytest.mark.parametrize(
    ("status", "content", "kind", "sentence"),
    [
        (403, refusal(reason="bob is in no team"), Refused, "no: bob is in no team"),
        (403, refusal(message="no", reason="no"), Refused, "no"),
        (403, refusal(message="no: bob is in no team", reason="bob is in no team"), Refused, "no: bob is in no team"),
        (404, refusal("NO_SUCH_TEAM", ""), Refused, "NO_SUCH_TEAM"),
        (401, refusal("NOT_AUTHENTICATED", "wrong password"), NotLoggedIn, NOT_TAKEN + "wrong password"),
        (401, b"<html>", NotLoggedIn, NOT_TAKEN + "it answered 401"),
        (500, refusal("INTERNAL", "broken"), Unreachable, "HOST failed: broken"),
        (500, b"", Unreachable, NOT_ITS_ERROR.format(500)),
        (503, b"<html>down</html>", Unreachable, NOT_ITS_ERROR.format(503)),
        (403, b"<html>a proxy's</html>", Unreachable, NOT_ITS_ERROR.format(403)),
        (404, {"errors": []}, Unreachable, NOT_ITS_ERROR.format(404)),
        (404, {"errors": ["x"]}, Unreachable, NOT_ITS_ERROR.format(404)),
        (404, {"errors": {"code": "x"}}, Unreachable, NOT_ITS_ERROR.format(404)),
        (200, b"<html>a web site</html>", Unreachable, NOT_ITS_JSON),
        (200, b'{"cut', Unreachable, NOT_ITS_JSON),
        (200, b"[" * 100_000, Unreachable, NOT_ITS_JSON),
        (200, [], Unreachable, NOT_ITS_JSON),
        (200, b"\xff\xfe\xfd", Unreachable, NOT_ITS_JSON),
    ],
)  # fmt: skip
def test_answers_that_are_no_success(
    server: Scripted, status: int, content: object, kind: type[Failure], sentence: str
) -> None:
    server.answer(status, content)
    with pytest.raises(Failure) as caught:
        Calls(server.url).get()
    assert (type(caught.value), str(caught.value)) == (kind, sentence.replace("HOST", server.host))


def test_a_connection_that_is_cut(server: Scripted) -> None:
    server.plan = [Planned(200, {"name": "bob"}, cut=True)]
    with pytest.raises(Unreachable, match=r"^cannot reach http://127.0.0.1:\d+: .*[Ii]ncomplete"):
        Calls(server.url).get()


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        with pytest.raises(Unreachable, match=r"Connection refused$"):
            Calls(f"127.0.0.1:{taken.getsockname()[1]}").get()


def test_a_host_that_does_not_exist() -> None:
    with pytest.raises(Unreachable, match=r"^cannot reach https://registry.invalid: "):
        Calls("registry.invalid").get()


def test_whoever_listens_closes_without_a_word() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_hang_up, args=(listening,))
        thread.start()
        with pytest.raises(Unreachable, match=r"^cannot reach http://127.0.0.1:\d+: (Remote end closed|Connection reset)"):
            Calls(f"127.0.0.1:{listening.getsockname()[1]}").get()
        thread.join()


def _hang_up(listening: socket.socket) -> None:
    listening.accept()[0].close()


def test_an_answer_without_an_end_is_not_kept(server: Scripted) -> None:
    server.answer(200, gzip.compress(b'{"a":"' + b" " * MAX_ANSWER + b'"}'), Content_Encoding="gzip")
    with pytest.raises(Unreachable, match="answered more than"):
        Calls(server.url).get()


# ------------------------------------------------------------------------------------------------------------- too often


def test_it_waits_as_long_as_it_is_told_to(server: Scripted) -> None:
    server.answer(429, refusal("TOO_MANY_REQUESTS"), Retry_After="7")
    server.answer(429, refusal("TOO_MANY_REQUESTS"))
    server.answer(200, {"name": "bob"})
    calls = Calls(server.url)
    assert calls.get() == {"name": "bob"}
    assert calls.waited == [7, 5]
    assert calls.said == [f"{server.host} says to wait: no; trying again in {seconds} s" for seconds in (7, 5)]


@pytest.mark.parametrize(("value", "most"), [("Wed, 21 Oct 2015 07:28:00 GMT", 1), ("soon", 5), ("-3", 5), ("0", 1)])
def test_other_ways_to_say_how_long(server: Scripted, value: str, most: int) -> None:
    server.answer(429, refusal(), Retry_After=value)
    server.answer(200)
    calls = Calls(server.url)
    calls.get()
    assert calls.waited == [most]


def test_it_does_not_wait_for_ever(server: Scripted) -> None:
    server.answer(429, refusal(), Retry_After="1")
    calls = Calls(server.url)
    with pytest.raises(Unreachable, match="try again in 1 s"):
        calls.get()
    assert len(server.asked) == MAX_ATTEMPTS
    server.plan = [Planned(429, refusal(), {"Retry-After": "9" * 5000})]
    with pytest.raises(Unreachable, match="try again in"):
        calls.get()
    assert max(calls.waited) <= LONGEST_WAIT


# ------------------------------------------------------------------------------------------------- where credentials go


def test_credentials_do_not_follow_to_another_host(server: Scripted) -> None:
    with scripted() as other:
        other.answer(200, {"name": "mallory"})
        server.answer(307, Location=f"{other.url}/api/v0/whoami")
        with pytest.raises(Unreachable, match=rf"sends to {other.url}; .*--registry$"):
            Calls(server.url).get()
        assert other.asked == []


@pytest.mark.parametrize(
    "location",
    ["//evil.test/x", "https://127.0.0.1/", "http://127.0.0.1:1/", "file:///etc/passwd", "http://[", "http://user@{host}/"],
)
def test_other_origins(server: Scripted, location: str) -> None:
    server.answer(302, Location=location.format(host=server.host))
    with pytest.raises(Unreachable, match=r"--registry$"):
        Calls(server.url).get()
    assert len(server.asked) == 1


def test_a_redirect_within_the_registry_is_followed(server: Scripted) -> None:
    server.answer(308, Location="/api/v0/whoami/")
    server.answer(200, {"name": "bob"})
    assert Calls(server.url).get() == {"name": "bob"}
    assert [each.path for each in server.asked] == ["/api/v0/whoami", "/api/v0/whoami/"]


def test_redirects_without_an_end(server: Scripted) -> None:
    server.answer(302, Location="/again")
    with pytest.raises(Unreachable, match="without an end"):
        Calls(server.url).get()


def test_a_change_does_not_become_a_get(server: Scripted) -> None:
    server.answer(302, Location="/elsewhere")
    with pytest.raises(Unreachable, match="answered a DELETE by a redirect"):
        Calls(server.url).client.call("DELETE", "/api/v0/x")
    assert len(server.asked) == 1


@pytest.mark.parametrize("token", ["slr_x\r\nX: y", "ü", "\0"])
def test_an_identity_token_that_no_header_holds(token: str) -> None:
    with pytest.raises(NotLoggedIn):
        Calls("registry.test", Credentials(IDENTITY_TOKEN, token))


def test_how_credentials_are_sent(server: Scripted) -> None:
    server.answer(200)
    Calls(server.url, Credentials("acme+ci", "pässword")).get()
    Calls(server.url, Credentials(IDENTITY_TOKEN, "slt_x")).get()
    Calls(server.url, None).get()
    basic = "Basic " + base64.b64encode("acme+ci:pässword".encode()).decode()
    assert [each.headers.get("Authorization") for each in server.asked] == [basic, "Bearer slt_x", None]


def test_dockers_identity_token(server: Scripted) -> None:
    server.answer(401, refusal("NOT_AUTHENTICATED"))
    with pytest.raises(NotLoggedIn, match=r"^docker login left an identity token, .* say slipway login 127\.0\.0\.1"):
        Calls(server.url, Credentials(IDENTITY_TOKEN, "slr_x")).get()
    with pytest.raises(NotLoggedIn, match="does not take the credentials"):
        Calls(server.url, Credentials(IDENTITY_TOKEN, "slt_x")).get()


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY"])
def test_a_proxy_is_told_the_host_and_nothing_else(server: Scripted, name: str) -> None:
    server.answer(502)
    through = {name: f"http://bob:proxied@{server.host}", "no_proxy": "other.invalid"}
    with pytest.raises(Unreachable, match=r"cannot reach https://registry.invalid: .*502"):
        Calls("registry.invalid", environ=through).get()
    assert [(each.method, each.path) for each in server.asked] == [("CONNECT", "registry.invalid:443")]
    assert server.asked[0].headers == {"proxy-authorization": f"Basic {base64.b64encode(b'bob:proxied').decode()}"}


def test_where_no_proxy_is_asked(server: Scripted) -> None:
    server.answer(502)
    no_proxy: dict[str, str] = {"NO_PROXY": ".invalid"}
    for url, told in (("registry.invalid", no_proxy), ("https://127.0.0.1:1", {}), ("http://127.0.0.1:1", {})):
        with pytest.raises(Unreachable):
            Calls(url, environ={"HTTPS_PROXY": server.url, "http_proxy": server.url, **told}).get()
    assert server.asked == []


def test_a_proxy_that_is_none() -> None:
    with pytest.raises(WrongUse, match="proxy"):
        Calls("registry.invalid", environ={"https_proxy": "ftp://proxy.invalid:x"})


@contextmanager
def over_tls(folder: Path) -> Iterator[tuple[str, Path]]:
    """An address that answers {} with a certificate of its own making, and that certificate."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    authority, key = certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, key)

    class Server(HTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up during the handshake is what the test is about."""

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}", authority
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    with over_tls(tmp_path) as (url, authority):
        with pytest.raises(Unreachable, match=r"does not prove who it is: .*self-signed certificate.*; --ca-file"):
            Calls(url).get()
        assert Calls(url, ca_file=str(authority)).get() == {}
        with pytest.raises(Unreachable, match="does not prove who it is"):  # the certificate is for 127.0.0.1 alone
            Calls(url.replace("127.0.0.1", "localhost"), ca_file=str(authority)).get()


def test_http_where_https_is_spoken(tmp_path: Path) -> None:
    with over_tls(tmp_path) as (url, _), pytest.raises(Unreachable, match=r"^cannot reach http://"):
        Calls(url.replace("https", "http")).get()


def test_authorities_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name in ("empty.pem", "none.pem"):
        with pytest.raises(WrongUse, match="cannot read certificates from"):
            Calls("registry.test", ca_file=str(tmp_path / name))


# ----------------------------------------------------------------------------------------------------------------- lists


def test_pages_are_followed(server: Scripted) -> None:
    server.answer(200, {"teams": [{"name": "a"}, {"name": "b"}]}, X_Next_Page_Start="b&c")
    server.answer(200, {"teams": [{"name": "c"}]})
    found = Calls(server.url).client.listing("/teams", {"filter": ""})
    assert found == ("teams", [{"name": "a"}, {"name": "b"}, {"name": "c"}])
    assert [each.path for each in server.asked] == ["/teams?pageSize=100", "/teams?pageSize=100&pageStart=b%26c"]


def test_no_more_than_asked_for(server: Scripted) -> None:
    server.answer(200, {"teams": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}, X_Next_Page_Start="c")
    found = Calls(server.url).client.listing("/teams", limit=2)
    assert found == ("teams", [{"name": "a"}, {"name": "b"}])
    assert [each.path for each in server.asked] == ["/teams?pageSize=2"]


def test_pages_without_an_end(server: Scripted) -> None:
    server.answer(200, {"teams": []}, X_Next_Page_Start="x")
    with pytest.raises(Unreachable, match="again and again"):
        Calls(server.url).client.listing("/teams")


@pytest.mark.parametrize("content", [{}, {"teams": None}, {"teams": "abc"}, {"teams": ["a"]}, {"a": [], "b": []}])
def test_what_is_no_list(server: Scripted, content: object) -> None:
    server.answer(200, content)
    with pytest.raises(Unreachable, match="did not answer with a list"):
        Calls(server.url).client.listing("/teams")
