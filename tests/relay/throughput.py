"""How fast the relay is, beside the SDK: the same bytes to the same sink, over TLS, one after the other.

    python -m tests.relay.throughput --gigabytes 10 [--chunked] [--rounds 1]

The relay's figure is a client's whole PATCH, from its connecting to the answer; the SDK's is boto3's ``upload_fileobj`` as it
comes (multipart, 8 MiB, ten threads), from a stream in memory, from the call to its return. Starting and importing counts for
neither, in wall time or CPU. CPU is the relay's process alone and the SDK's alone: the sink's is about the same for both, and
that of the client that feeds the relay is a fifth of a second for a gigabyte; on few cores both slow down what is measured.
What the sink counted has to be what was sent. Prints rates, their ratio, CPU and the relay's peak memory.
"""

from __future__ import annotations

import argparse
import datetime
import ipaddress
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

GIGABYTE = 1_000_000_000
BLOCK = 1024 * 1024
CHUNK = 32 * 1024
"""What dockerd writes at a time."""
ROOT = Path(__file__).resolve().parent.parent.parent

_SDK = """
import os, sys, time
import boto3
from botocore.config import Config

class Stream:
    def __init__(self, size):
        self.left, self.block = size, os.urandom(1 << 23)
    def read(self, size=-1):
        size = min(self.left, size if size >= 0 else self.left)
        self.left -= size
        return self.block[:size]

client = boto3.client("s3", endpoint_url=sys.argv[1], verify=sys.argv[2], aws_access_key_id="a", aws_secret_access_key="b",
                      region_name="us-east-1", config=Config(s3={"addressing_style": "path"}))
begun, used = time.monotonic(), time.process_time()
client.upload_fileobj(Stream(int(sys.argv[3])), "bucket", "key")
print(time.monotonic() - begun, time.process_time() - used)
assert client.head_object(Bucket="bucket", Key="key")["ContentLength"] == int(sys.argv[3])
"""


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sink")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return paths


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


@contextmanager
def running(*words: str, environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A Python program that says a line when it is ready."""
    command = [sys.executable, "-m", *words]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environ}, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), "it did not start"
            yield process
        finally:
            process.terminate()


def push(port: int, size: int, *, chunked: bool) -> float:
    """The seconds that a PATCH of so many bytes takes, a multiple of BLOCK."""
    block = os.urandom(BLOCK)
    frames = b"".join(b"%X\r\n%s\r\n" % (CHUNK, block[n : n + CHUNK]) for n in range(0, BLOCK, CHUNK))
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    head = f"PATCH /v2/team/app/blobs/uploads/u?_state=s HTTP/1.1\r\nHost: r\r\nAuthorization: Bearer t\r\n{length}\r\n\r\n"
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=600) as client:
        client.sendall(head.encode())
        for _ in range(size // BLOCK):
            client.sendall(frames if chunked else block)
        if chunked:
            client.sendall(b"0\r\n\r\n")
        answer = client.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 202"), answer[:200]
    seconds = time.monotonic() - begun
    assert b"range: 0-%d\r\n" % (size - 1) in answer, answer[:500]
    return seconds


def sdk(origin: str, authority: Path, size: int) -> tuple[float, float]:
    """The seconds that boto3 takes for as many bytes, and those of the processor."""
    command = [sys.executable, "-c", _SDK, origin, str(authority), str(size)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    wall, processor = map(float, told.stdout.split())
    return wall, processor


def status(process: subprocess.Popen[str], name: str) -> int:
    """A line of the process's status in bytes: VmRSS, VmHWM."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def used(process: subprocess.Popen[str]) -> float:
    """Seconds of the processor so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Round:
    """One upload by each: seconds of wall and processor, and bytes. ``relay_memory`` is the relay's peak so far."""

    size: int
    sdk_wall: float
    sdk_cpu: float
    relay_wall: float
    relay_cpu: float
    relay_memory: int

    @property
    def ratio(self) -> float:
        """The relay's throughput against the SDK's."""
        return self.sdk_wall / self.relay_wall

    def __str__(self) -> str:
        gigabytes = self.size / GIGABYTE
        rates = f"boto3 {self.size / self.sdk_wall / 1e6:.0f} MB/s, relay {self.size / self.relay_wall / 1e6:.0f} MB/s"
        cpu = f"CPU {self.sdk_cpu / gigabytes:.1f} and {self.relay_cpu / gigabytes:.1f} s/GB"
        return f"{rates}, ratio {self.ratio:.2f}, {cpu}, relay's peak memory {self.relay_memory / 1e6:.0f} MB"


def rounds(size: int, *, chunked: bool, many: int = 1) -> Iterator[Round]:
    """Uploads of ``size`` bytes by the SDK and through a relay, each ``many`` times in turns."""
    with tempfile.TemporaryDirectory() as folder:
        authority, key = certificate(Path(folder))
        port, relay_port = free_port(), free_port()
        origin = f"https://127.0.0.1:{port}"
        relay = ["infra.command", "relay", "--upstream", origin, "--port", str(relay_port)]
        with (
            running("tests.relay.sink", str(authority), str(key), str(port), environ={}),
            running(*relay, environ={"SSL_CERT_FILE": str(authority), "SLIPWAY_RELAY_KEY": "k"}) as process,
        ):
            for _ in range(many):
                sdk_wall, sdk_cpu = sdk(origin, authority, size)
                before = used(process)
                relay_wall = push(relay_port, size, chunked=chunked)
                yield Round(size, sdk_wall, sdk_cpu, relay_wall, used(process) - before, status(process, "VmHWM"))


def in_blocks(gigabytes: float) -> int:
    """So many bytes or a few less, a multiple of BLOCK."""
    return int(gigabytes * GIGABYTE) // BLOCK * BLOCK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--chunked", action="store_true", help="send as dockerd does, in chunks of 32 KiB")
    options = parser.parse_args()
    for each in rounds(in_blocks(options.gigabytes), chunked=options.chunked, many=options.rounds):
        print(each, flush=True)


if __name__ == "__main__":
    main()
