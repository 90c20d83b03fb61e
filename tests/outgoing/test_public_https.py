"""The guarded client: every way into a private network is refused before a byte is sent, and no server can hold it up.

Servers are real sockets on 127.0.0.1. Where a test wants a public name, the resolver is told a public address and the connector
leads to 127.0.0.1, noting what address it was asked for.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.outgoing.public_addresses import is_public_address, is_public_name
from chalicelib.outgoing.public_https import PublicHttps, connect, resolve
from chalicelib.registry.ports import WebAnswer, WebFailure
from tests.authority import Authority

PUBLIC = "93.184.215.14"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """Answers each connection with ``answer``, bytes or what writes them; ``requests`` is what was sent to it."""

    def __init__(self, context: ssl.SSLContext | None, answer: bytes | Callable[[socket.socket, Event], None]) -> None:
        self.requests: list[bytes] = []
        self.stopping = Event()
        self._context = context
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self.stopping.is_set():
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            try:
                self._talk(plain)
            except OSError:
                continue
            finally:
                plain.close()

    def _talk(self, plain: socket.socket) -> None:
        plain.settimeout(5)
        if self.stopping.is_set():
            return
        with self._context.wrap_socket(plain, server_side=True) if self._context else plain as connection:
            self.requests.append(_received(connection))
            if isinstance(self._answer, bytes):
                connection.sendall(self._answer)
                if isinstance(connection, ssl.SSLSocket):
                    connection.unwrap()
            else:
                self._answer(connection, self.stopping)

    def stop(self) -> None:
        self.stopping.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join(5)
        self._listener.close()


def _received(connection: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got:
        more = connection.recv(65_536)
        if not more:
            return got
        got += more
    head, _, body = got.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def issuer(authority: Authority) -> ssl.SSLContext:
    return authority.server("issuer.test")


Start = Callable[..., Server]


@pytest.fixture
def start(issuer: ssl.SSLContext) -> Iterator[Start]:
    servers: list[Server] = []

    def start(answer: bytes | Callable[[socket.socket, Event], None] = OK, context: ssl.SSLContext | None = issuer) -> Server:
        servers.append(Server(context, answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


class Paths:
    """A resolver that tells the answers given, the last one again and again, and a connector that leads every address to the
    server (None: nowhere)."""

    def __init__(self, *answers: Sequence[str], server: Server | None = None) -> None:
        self._answers = list(answers)
        self._server = server
        self.resolved: list[str] = []
        self.connected: list[str] = []

    def resolve(self, host: str, _port: int) -> Sequence[str]:
        self.resolved.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def connect(self, address: str, port: int, seconds: float) -> socket.socket:
        self.connected.append(f"{address}:{port}")
        if self._server is None:
            raise ConnectionRefusedError(address)
        return socket.create_connection(("127.0.0.1", self._server.port), seconds)

    def client(self, authority: Authority | None = None, seconds: float = 5.0, allowed: str = "") -> PublicHttps:
        return PublicHttps(
            allowed_hosts=frozenset({allowed} if allowed else ()),
            authorities=str(authority.certificate) if authority else None,
            resolve=self.resolve,
            connect=self.connect,
            seconds=seconds,
        )


# ------------------------------------------------------------------------------------------------------ whom not to ask

PRIVATE = [
    "169.254.169.254",  # metadata services
    "169.254.170.2",
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",  # noqa: S104
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::127.0.0.1",
    "::93.184.215.14",
    "64:ff9b::169.254.169.254",
    "64:ff9b::a00:1",
    "64:ff9b:1::5db8:d70e",
    "2002:a9fe:a9fe::",
    "2002:5db8:d70e::1",
    "2001:0:5db8:d70e::1",
    "2001:db8::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%lo",
    "2a00:1450:4001::1%eth0",
    "2a00:1450:4001::5efe:a9fe:a9fe",
    "2a00:1450:4001::200:5efe:7f00:1",
    "fec0::1",
    "ff02::1",
    "100::1",
    "5f00::1",
    "4000::1",
    "",
    "localhost",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_everybody_s_is_never_connected_to(address: str) -> None:
    for answer in ([address], [PUBLIC, address], [address, PUBLIC]):
        paths = Paths(answer)
        with pytest.raises(WebFailure):
            paths.client().fetch("https://issuer.test/")
        assert paths.resolved == ["issuer.test"]
        assert paths.connected == []


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2a00:1450:4001:80e::200e", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public_address(address)


@given(st.ip_addresses(v=4))
def test_what_ipv6_wraps_is_judged_by_what_it_wraps(address: object) -> None:
    for prefix in ("::ffff:", "64:ff9b::"):
        assert is_public_address(f"{prefix}{address}") == is_public_address(str(address))
    assert not is_public_address(f"::{address}")


NO_NAMES = [
    "127.0.0.1",
    "127.1",
    "0",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.0x1",
    "0xa9.0xfe.0xa9.0xfe",
    "169.254.169.254.",
    "8.8.8.8",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[fe80::1%25lo]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "metadata",
    "issuer.test.",
    ".issuer.test",
    "issuer..test",
    "-a.test",
    "a_b.test",
    "①②⑦.0.0.1",
    "issuer。test",
    "éclair.test",
    "user@issuer.test",
    "issuer.test:@127.0.0.1",
    "issuer.test%00.evil.test",
    "issuer.test\\@evil.test",
    "a" * 64 + ".test",
    "a." * 127 + "test",
    "",
]


@pytest.mark.parametrize("host", NO_NAMES)
def test_what_is_no_name_is_not_even_resolved(host: str) -> None:
    paths = Paths([PUBLIC])
    with pytest.raises(WebFailure):
        paths.client().fetch(f"https://{host}/")
    assert (paths.resolved, paths.connected) == ([], [])


@given(st.from_regex(r"(0x[0-9a-f]{1,8}|[0-9]{1,10})(\.(0x[0-9a-f]{1,8}|[0-9]{1,10})){0,3}\.?", fullmatch=True))
def test_no_spelling_of_a_number_is_a_name(host: str) -> None:
    assert not is_public_name(host)


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.test/",
        "http://issuer.test:443/",
        "https://issuer.test:8443/",
        "https://issuer.test:80/",
        "https://issuer.test:0/",
        "https://issuer.test:99999/",
        "https://issuer.test:/",
        "https://issuer.test:4 43/",
        "ftp://issuer.test/",
        "file:///etc/passwd",
        "gopher://issuer.test/",
        "//issuer.test/",
        "issuer.test",
        "https:issuer.test",
        "https:///issuer.test",
        "https://issuer.test/#fragment",
        "https://issuer.test/a b",
        "https://issuer.test/é",
        "https://issuer.test/a\r\nHost: evil.test",
        "https://[::1/",
        "",
    ],
)
def test_urls_that_are_not_asked(url: str) -> None:
    paths = Paths([PUBLIC])
    with pytest.raises(WebFailure):
        paths.client().fetch(url)
    assert paths.connected == []


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.test"}, {"content-length": "5"}, {"X": "a\r\nY: b"}, {"X\r\nY": "a"}, {"X": "é"}, {"": "a"}, {"a:b": "c"}],
)
def test_headers_that_would_make_another_request_are_not_sent(
    start: Start, authority: Authority, headers: dict[str, str]
) -> None:
    server = start()
    with pytest.raises(WebFailure):
        Paths([PUBLIC], server=server).client(authority).fetch("https://issuer.test/", headers=headers)
    assert server.requests == []


def test_a_name_that_resolves_otherwise_a_moment_later_changes_nothing(start: Start, authority: Authority) -> None:
    paths = Paths([PUBLIC], ["169.254.169.254"], server=start())
    client = paths.client(authority)
    assert client.fetch("https://issuer.test/") == WebAnswer(200, b"{}")
    assert paths.resolved == ["issuer.test"]
    assert paths.connected == [f"{PUBLIC}:443"], "the address that was looked at is the one that is connected to"
    with pytest.raises(WebFailure, match="not a public address"):
        client.fetch("https://issuer.test/")
    assert len(paths.connected) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300, 304])
@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest/", "https://localhost/", "/elsewhere", "https://issuer.test/"]
)
def test_a_redirect_is_a_failure(start: Start, authority: Authority, status: int, target: str) -> None:
    server = start(f"HTTP/1.1 {status} Moved\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())
    paths = Paths([PUBLIC], server=server)
    with pytest.raises(WebFailure, match="redirect"):
        paths.client(authority).fetch("https://issuer.test/")
    assert len(paths.connected) == 1


@pytest.mark.parametrize("name", ["other.test", "sub.issuer.test"])
def test_a_certificate_of_another_name_is_refused(start: Start, authority: Authority, name: str) -> None:
    server = start(context=authority.server(name))
    with pytest.raises(WebFailure, match="CERTIFICATE_VERIFY_FAILED"):
        Paths([PUBLIC], server=server).client(authority).fetch("https://issuer.test/")
    assert server.requests == []


def test_a_certificate_of_an_unknown_authority_is_refused(start: Start, tmp_path: Path, authority: Authority) -> None:
    server = start(context=Authority(tmp_path).server("issuer.test"))
    for trusted in (authority, None):
        with pytest.raises(WebFailure, match="CERTIFICATE_VERIFY_FAILED"):
            Paths([PUBLIC], server=server).client(trusted).fetch("https://issuer.test/")
    assert server.requests == []


def test_proxies_of_the_environment_are_not_used(start: Start, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert Paths([PUBLIC], server=start()).client(authority).fetch("https://issuer.test/").status == 200


# ------------------------------------------------------------------------------------------------------ how long and much


DROPS = 1000
"""After which a server ends by itself, and is heard to, by whom it may keep waiting."""


def _dripping(start: bytes, drop: bytes) -> Callable[[socket.socket, Event], None]:
    def answer(connection: socket.socket, stopping: Event) -> None:
        connection.sendall(start)
        for _ in range(DROPS):
            if stopping.wait(0.02):
                return
            connection.sendall(drop)

    return answer


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        (b"", b""),
        (b"", b"H"),
        (HEAD, b"X"),
        (HEAD, b"X-A: b\r\n"),
        (HEAD + b"Content-Length: 100000\r\n\r\n", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        (HEAD + b"\r\n", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["silent", "status", "header name", "headers", "body", "chunks", "chunk size", "endless", "continue"],
)
def test_a_server_that_drips_is_given_up(start: Start, authority: Authority, begin: bytes, drop: bytes) -> None:
    paths = Paths([PUBLIC], server=start(_dripping(begin, drop)))
    with pytest.raises(WebFailure, match="TimeoutError"):
        paths.client(authority, seconds=0.4).fetch("https://issuer.test/")


def test_a_server_that_never_shakes_hands_is_given_up(authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = PublicHttps(
            authorities=str(authority.certificate),
            resolve=lambda _host, _port: [PUBLIC],
            connect=lambda _address, _port, seconds: socket.create_connection(listener.getsockname(), seconds),
            seconds=0.3,
        )
        with pytest.raises(WebFailure):
            client.fetch("https://issuer.test/")


def test_a_resolver_that_is_slow_is_given_up() -> None:
    done = Event()

    def slow(host: str, port: int) -> Sequence[str]:
        done.wait(10)
        return [PUBLIC]

    with pytest.raises(WebFailure, match="not resolved in time"):
        PublicHttps(resolve=slow, seconds=0.2).fetch("https://issuer.test/")
    done.set()


@pytest.mark.parametrize("failure", [socket.gaierror(-2, "unknown"), OSError("broken"), UnicodeError("label")])
def test_a_name_that_cannot_be_resolved_is_a_failure(failure: Exception) -> None:
    def failing(host: str, port: int) -> Sequence[str]:
        raise failure

    with pytest.raises(WebFailure):
        PublicHttps(resolve=failing).fetch("https://issuer.test/")


def test_a_name_without_addresses_is_a_failure() -> None:
    with pytest.raises(WebFailure):
        Paths([]).client().fetch("https://issuer.test/")


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Length: 262145\r\n\r\n" + b"x" * 262_145,
        HEAD + b"\r\n" + b"x" * 300_000,
        HEAD
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"1000\r\n"
        + b"x" * 4096
        + b"\r\n"
        + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 70,
        HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
        HEAD + b"X: a\r\n" * 1_000 + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000 + OK,
    ],
    ids=["announced", "unannounced", "chunks", "long header", "many headers", "continue"],
)
def test_an_answer_that_is_too_large_is_a_failure(start: Start, authority: Authority, answer: bytes) -> None:
    with pytest.raises(WebFailure):
        Paths([PUBLIC], server=start(answer)).client(authority).fetch("https://issuer.test/")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        HEAD + b"Content-Length: 10\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
def test_an_answer_that_is_broken_is_a_failure(start: Start, authority: Authority, answer: bytes) -> None:
    with pytest.raises(WebFailure):
        Paths([PUBLIC], server=start(answer)).client(authority).fetch("https://issuer.test/")


PIECES = st.sampled_from(
    [
        HEAD,
        b"HTTP/1.0 200\r\n",
        b"HTTP/9 -1 x\r\n",
        b"\r\n",
        b"\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: " + b"9" * 5000 + b"\r\n",
        b"-1\r\n",
        b"5\r\nab",
        b"ffffffffffffffff\r\n",
        b"0\r\n",
        b"HTTP/1.1 100 Continue\r\n",
        b": \r\n",
        b" x\r\n",
        b"a\x00b: \xff\r\n",
    ]
)


@given(st.binary(max_size=200) | st.lists(PIECES | st.binary(max_size=5), max_size=12).map(b"".join))
def test_whatever_a_server_says_is_an_answer_or_a_failure(answer: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)
        client = PublicHttps(
            allowed_hosts=frozenset({"issuer.test"}),
            resolve=lambda _host, _port: ["127.0.0.1"],
            connect=lambda _address, _port, _seconds: ours,
        )
        try:
            assert len(client.fetch("http://issuer.test/").body) <= len(answer)
        except WebFailure:
            assert ours.fileno() == -1, "it is closed"


def test_an_answer_that_somebody_cut_off_is_a_failure(start: Start, authority: Authority) -> None:
    """Without an announced length only TLS tells the end of an answer from the end of the connection."""

    def cut(connection: socket.socket, _stopping: Event) -> None:
        connection.sendall(HEAD + b"\r\n{}")

    with pytest.raises(WebFailure):
        Paths([PUBLIC], server=start(cut)).client(authority).fetch("https://issuer.test/")


# --------------------------------------------------------------------------------------------------------- what is asked


def test_as_much_as_is_allowed_is_read(start: Start, authority: Authority) -> None:
    body = b"x" * 262_144
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"40000\r\n" + body + b"\r\n0\r\n\r\n"
    for answer in (HEAD + b"Content-Length: 262144\r\n\r\n" + body, chunked, HEAD + b"\r\n" + body):
        client = Paths([PUBLIC], server=start(answer)).client(authority)
        assert client.fetch("https://issuer.test/") == WebAnswer(200, body)


@pytest.mark.parametrize("status", [404, 403, 500])
def test_a_refusal_is_an_answer(start: Start, authority: Authority, status: int) -> None:
    server = start(f"HTTP/1.1 {status} No\r\nContent-Length: 2\r\n\r\nno".encode())
    assert Paths([PUBLIC], server=server).client(authority).fetch("https://issuer.test/") == WebAnswer(status, b"no")


def test_what_is_sent(start: Start, authority: Authority) -> None:
    server = start()
    client = Paths([PUBLIC], server=server).client(authority)
    client.fetch("https://Issuer.test:443/a%20b?c=d", headers={"Accept": "text/plain"})
    client.fetch("https://issuer.test", method="POST", body=b"a=b")
    first, second = (request.decode() for request in server.requests)
    assert first.startswith("GET /a%20b?c=d HTTP/1.1\r\nHost: issuer.test\r\nConnection: close\r\n")
    assert "\r\nAccept: text/plain\r\n" in first
    assert "Content-Length" not in first
    assert second.startswith("POST / HTTP/1.1\r\n")
    assert second.endswith("\r\nContent-Length: 3\r\n\r\na=b")
    for request in (first, second):
        assert request.count("\r\nUser-Agent: slipway\r\n") == request.count("\r\nHost: ") == 1
    with pytest.raises(WebFailure):
        client.fetch("https://issuer.test", method="DELETE")


def test_another_address_of_the_name_is_tried_if_one_is_dead() -> None:
    paths = Paths([PUBLIC, "8.8.8.8"])
    with pytest.raises(WebFailure):
        paths.client().fetch("https://issuer.test/")
    assert paths.connected == [f"{PUBLIC}:443", "8.8.8.8:443"]


# ------------------------------------------------------------------------------------------------------ private issuers


def test_a_host_that_is_allowed_may_be_private(start: Start, authority: Authority) -> None:
    server = start()
    client = PublicHttps(
        allowed_hosts=frozenset({f"issuer.test:{server.port}"}),
        authorities=str(authority.certificate),
        resolve=lambda _host, _port: ["127.0.0.1"],
    )
    assert client.fetch(f"https://issuer.test:{server.port}/keys") == WebAnswer(200, b"{}")
    assert server.requests[0].startswith(f"GET /keys HTTP/1.1\r\nHost: issuer.test:{server.port}\r\n".encode())
    for other in (f"https://other.test:{server.port}/", "https://issuer.test/", f"https://127.0.0.1:{server.port}/"):
        with pytest.raises(WebFailure):
            client.fetch(other)
    assert len(server.requests) == 1


def test_a_host_that_is_allowed_may_speak_plain_http(start: Start) -> None:
    server = start(context=None)
    client = PublicHttps(allowed_hosts=frozenset({f"127.0.0.1:{server.port}"}), resolve=resolve, connect=connect)
    assert client.fetch(f"http://127.0.0.1:{server.port}/") == WebAnswer(200, b"{}")


def test_a_host_without_a_port_is_allowed_on_the_scheme_s_own_alone() -> None:
    paths = Paths(["10.0.0.7"])
    client = paths.client(allowed="gitlab.corp.test")
    for url in (
        "https://gitlab.corp.test/",
        "http://gitlab.corp.test/",
        "https://gitlab.corp.test:8443/",
        "https://gitlab.corp.test:22/",
    ):
        with pytest.raises(WebFailure):
            client.fetch(url)
    assert paths.connected == ["10.0.0.7:443", "10.0.0.7:80"]


@pytest.mark.parametrize("allowed", ["gitlab.corp.test:443", "gitlab.corp.test"])
@pytest.mark.parametrize("url", ["https://gitlab.corp.test/", "https://gitlab.corp.test:443/"])
def test_the_port_of_https_may_be_spelled_out(allowed: str, url: str) -> None:
    paths = Paths(["10.0.0.7"])
    with pytest.raises(WebFailure):
        paths.client(allowed=allowed).fetch(url)
    assert paths.connected == ["10.0.0.7:443"]


def test_a_redirect_from_an_allowed_host_is_not_followed_either(start: Start) -> None:
    server = start(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n", context=None)
    with pytest.raises(WebFailure, match="redirect"):
        PublicHttps(allowed_hosts=frozenset({f"127.0.0.1:{server.port}"})).fetch(f"http://127.0.0.1:{server.port}/")
