"""Starting and stopping, as an operator sees it: a process, its lines, its exit code and its files."""

from __future__ import annotations

import datetime
import http.client
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chalicelib.registry.upkeep.jobs import DONE
from infra.local.application import Lifetime
from infra.local.housekeeping import Chore, Housekeeping
from tests.edge.speaking import bearer, state
from tests.local_server.running import SECONDS, Wire, running
from tests.running_jobs import Works

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A started server; ``lines`` are what it said until it was ready."""

    def __init__(self, folder: Path, port: int, **environ: str) -> None:
        self.port = port
        self.folder = folder
        told = {"PATH": os.environ["PATH"], "PORT": str(port), "DATA": str(folder), **environ}
        command = [sys.executable, "-m", "tests.local_server.process"]
        self.popen = subprocess.Popen(command, cwd=ROOT, env=told, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []

    def ready(self) -> Process:
        """Wait for the line that says so."""
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("slipway: listening on "):
                return self
        raise AssertionError(self.popen.communicate(timeout=SECONDS)[1])

    def ended(self) -> tuple[int, str]:
        """Its exit code, and what it said on the error channel."""
        errors = self.popen.communicate(timeout=SECONDS)[1]
        return self.popen.returncode, errors

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.popen.send_signal(number)
        return self.ended()


@contextmanager
def started(folder: Path, port: int = 0, **environ: str) -> Iterator[Process]:
    process = Process(folder, port or free_port(), **environ)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.communicate(timeout=SECONDS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_cleanly_after_the_requests_in_flight(tmp_path: Path, number: int) -> None:
    with started(tmp_path / "data") as process:
        process.ready()
        assert process.lines[-1] == f"slipway: listening on http://127.0.0.1:{process.port}"
        with Wire(process.port) as idle, Wire(process.port) as busy:
            assert idle.ask("GET", "/v2/").status == 200
            busy.send(b"PUT /v2/a/tags/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            assert busy.reader.readline() == b"HTTP/1.1 100 Continue\r\n"  # so the request is in flight
            assert busy.reader.readline() == b"\r\n"
            process.popen.send_signal(number)
            assert idle.ended()  # so the server is stopping
            busy.send(b"ok")
            assert busy.reply().status == 200
            assert process.ended() == (0, "")


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    with started(tmp_path / "data") as process:
        process.ready()
        with Wire(process.port) as idle, Wire(process.port) as busy:
            assert idle.ask("GET", "/v2/").status == 200
            busy.send(b"PUT /v2/a/tags/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            assert busy.reader.readline() == b"HTTP/1.1 100 Continue\r\n"
            process.popen.send_signal(signal.SIGINT)
            assert idle.ended()
            assert process.stop(signal.SIGINT) == (130, "")


def test_a_second_process_is_refused_and_told_who_has_the_folder(tmp_path: Path) -> None:
    with started(tmp_path / "data") as first:
        first.ready()
        with started(tmp_path / "data") as second:
            code, errors = second.ended()
        assert code == 1
        assert errors == f"slipway: {tmp_path / 'data'} is in use by another slipway process (pid {first.popen.pid})\n"
        assert first.stop() == (0, "")


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    with started(tmp_path / "data") as first:
        first.ready().stop(signal.SIGKILL)
    with started(tmp_path / "data") as second:
        assert second.ready().stop() == (0, "")


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, started(tmp_path / "data", taken.getsockname()[1]) as process:
        code, errors = process.ended()
    assert code == 1
    assert errors.startswith(f"slipway: cannot listen on 127.0.0.1 port {process.port}: ")


@pytest.mark.parametrize("wrong", [{"PORT": "x"}, {"HOST": "0.0.0.0"}, {"HOST": "192.0.2.1"}, {"DATA": "/dev/null/x"}])  # noqa: S104
def test_a_wrong_setting_is_one_line_and_exit_code_1(tmp_path: Path, wrong: dict[str, str]) -> None:
    with started(tmp_path / "data", 0, **wrong) as process:
        code, errors = process.ended()
    assert code == 1
    assert errors.startswith("slipway: ")
    assert errors.count("\n") == 1


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "somebody's").touch()
    tmp_path.chmod(0o755)
    with started(tmp_path) as process:
        code, errors = process.ended()
    assert (code, errors.count("\n")) == (1, 1)
    assert errors.startswith(f"slipway: DATA names {tmp_path}, which holds other things: somebody's")
    assert (mode(tmp_path), [path.name for path in tmp_path.iterdir()]) == (0o755, ["somebody's"])


@pytest.mark.parametrize("held", ["", "lost+found", "metadata.sqlite"])
def test_an_empty_folder_or_a_registry_s_becomes_its_owner_s_alone(tmp_path: Path, held: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    if held:
        (folder / held).touch()
    with started(folder) as process:
        process.ready().stop()
    assert mode(folder) == 0o700
    assert {mode(path) for path in folder.iterdir() if path.name != held} == {0o600}


def test_the_first_start_makes_a_password_once(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with started(folder) as process:
        process.ready().stop()
    kept = folder / "admin-password"
    password = kept.read_text().strip()
    assert len(password) >= 20
    assert password in process.lines[0]
    assert (folder / "metadata.sqlite").read_text() == password
    assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(kept.stat().st_mode)) == (0o700, 0o600)
    with started(folder) as again:
        again.ready().stop()
    assert len(again.lines) == 1
    assert kept.read_text().strip() == password


def test_a_given_password_is_neither_printed_nor_kept(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with started(folder, SLIPWAY_ADMIN_PASSWORD="given by the operator") as process:
        process.ready().stop()
    assert (folder / "metadata.sqlite").read_text() == "given by the operator"
    assert len(process.lines) == 1
    assert not (folder / "admin-password").exists()
    with started(folder) as again:
        again.ready().stop()
    assert len(again.lines) == 1
    assert not (folder / "admin-password").exists()


def test_another_public_address_is_said(tmp_path: Path) -> None:
    with started(tmp_path / "data", PUBLIC_URL="https://registry.test") as process:
        line = process.ready().lines[-1]
    assert line == f"slipway: listening on http://127.0.0.1:{process.port}, known as https://registry.test"


def make_certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    (folder / "c.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "k.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return folder / "c.pem", folder / "k.pem"


def test_tls_serves_both_large_directions(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    large = bytes(range(256)) * 30_000
    with running(certificate=certificate, key=key) as local:
        trusting = ssl.create_default_context(cafile=str(certificate))
        connection = http.client.HTTPSConnection("127.0.0.1", local.port, timeout=SECONDS, context=trusting)
        target = f"/v2/a/blobs/uploads/u?_state={state()}"
        connection.request("PATCH", target, body=large, headers={"Authorization": bearer("a")})
        reply = connection.getresponse()
        assert (reply.status, reply.read()) == (202, b"")
        connection.request("GET", "/_blobs/data/u?for=GET")
        assert connection.getresponse().read() == large
        connection.close()


def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "c.pem"
    file.write_text("nothing")
    with started(tmp_path / "data", TLS_CERT=str(file), TLS_KEY=str(file)) as process:
        code, errors = process.ended()
    assert code == 1
    assert errors.startswith("slipway: TLS_CERT ")


def test_chores_run_at_their_intervals_and_survive_failure() -> None:
    done = threading.Event()
    runs: list[str] = []

    def often() -> None:
        runs.append("often")
        if runs.count("often") == 3:
            done.set()
        raise RuntimeError("on purpose")

    keeping = Housekeeping(
        (Chore("often", 0.01, often), Chore("rarely", 3600.0, lambda: runs.append("rarely"))), first_after=0.0
    )
    keeping.start()
    assert done.wait(SECONDS)
    assert keeping.stop(SECONDS)
    assert runs.count("rarely") == 1


def test_a_server_that_ends_leaves_its_job_where_it_is_and_a_new_one_goes_on() -> None:
    works, lifetime = Works(seconds=0), Lifetime()
    job = works.create()

    def tick() -> int:
        lifetime.begin()
        return works.runner.tick(lambda: lifetime.get_remaining_time_in_millis() / 1000)

    works.during = lambda _run, step: lifetime.end() if step == 1 else None
    assert tick() == 1
    assert works.done == [0, 1]
    assert tick() == 0
    lifetime = Lifetime()
    assert tick() == 1
    ended = works.jobs.get(job.id)
    assert (ended.status, ended.attempts) == (DONE, 1)
    assert works.done == [0, 1, 2, 3]
