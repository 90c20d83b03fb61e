"""An AWS emulator as a child process: ministack, with signatures and IAM checked, listening on 127.0.0.1 only.

``start`` installs it on first use into ``.venv-ministack`` (it pins a botocore of its own), starts it on a free port, waits
until it answers and makes an IAM user for the tests. It is the user that matters: the emulator verifies the signatures of
IAM users and STS sessions, but takes any signature from its root (the key it was started with, "test", twelve digits, or
no key at all), presigned S3 URLs excepted. ``Emulator.user`` makes further users, with less allowed.

What it does not do as AWS does is said in the suites that would need it.

    with start(folder) as emulator:
        client = boto3.client("s3", **emulator.client_arguments())
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import boto3
from boto3.session import Session

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".venv-ministack"
REQUIREMENTS = ROOT / "requirements-emulator.txt"

SERVICES = ("dynamodb", "s3", "kms", "iam", "sts")
"""What tests of adapters need. Without "ecr" the emulator leaves paths under /v2 alone."""

TABLE: Mapping[str, object] = {
    "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key in ("partition", "sort")],
    "KeySchema": [{"AttributeName": "partition", "KeyType": "HASH"}, {"AttributeName": "sort", "KeyType": "RANGE"}],
    "BillingMode": "PAY_PER_REQUEST",
}
"""What a table is made with, of the layout that the adapter is for."""

_SESSION = Session()
"""Made before anybody counts the calls of those that are made later; a session reads the SDK's models once."""

ACCOUNT = "000000000000"
START_SECONDS = 60.0
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Emulator:
    """A running emulator: where it listens, and the credentials of a user who may do anything (statements as in IAM)."""

    url: str
    region: str
    access_key: str
    secret_key: str
    account: str
    pid: int
    log: Path

    def client_arguments(self) -> dict[str, str]:
        """Keyword arguments for ``boto3.client``."""
        return {
            "endpoint_url": self.url,
            "region_name": self.region,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
        }

    def user(self, name: str, statements: Sequence[Mapping[str, object]]) -> Emulator:
        """The same emulator as seen by a new IAM user, who may do what the policy ``statements`` allow."""
        iam = boto3.client("iam", **self.client_arguments())
        iam.create_user(UserName=name)
        policy = {"Version": "2012-10-17", "Statement": list(statements)}
        iam.put_user_policy(UserName=name, PolicyName="tests", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return replace(self, access_key=key["AccessKeyId"], secret_key=key["SecretAccessKey"])

    @contextmanager
    def table(self) -> Iterator[str]:
        """A new table of the layout that the adapter is for, until the block ends: its name."""
        name = f"table-{uuid.uuid4()}"
        with closing(_SESSION.client("dynamodb", **self.client_arguments())) as dynamodb:
            dynamodb.create_table(TableName=name, **TABLE)
            try:
                yield name
            finally:
                dynamodb.delete_table(TableName=name)

    def keys(self) -> tuple[str, str]:
        """The ids of a new key to sign with and of one to wrap with."""
        with closing(_SESSION.client("kms", **self.client_arguments())) as kms:
            signing, wrapping = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY"), kms.create_key()
        return signing["KeyMetadata"]["KeyId"], wrapping["KeyMetadata"]["KeyId"]

    def environment(self) -> dict[str, str]:
        """Environment variables that send any SDK of a child process here."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    @contextmanager
    def as_environment(self) -> Iterator[None]:
        """This process's environment until the block ends, as whoever runs ``make deploy`` would have it."""
        before = dict(os.environ)
        os.environ.update(self.environment())
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def install() -> Path:
    """The emulator's Python interpreter, its virtual environment made or renewed if the pins changed; once, however many
    test processes ask at the same time."""
    python = HOME / "bin" / "python"
    stamp = HOME / "installed"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    HOME.mkdir(exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", str(HOME)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)], check=True)
            stamp.write_text(wanted)
    return python


@contextmanager
def start(folder: Path, *, services: Sequence[str] = SERVICES, region: str = "eu-central-1") -> Iterator[Emulator]:
    """Run an emulator, its log and temporary files under ``folder``, until the block ends. No services: all of them.
    Raises RuntimeError with the end of the log if it does not come up."""
    python = install()
    access_key, secret_key = "AKIA" + secrets.token_hex(8).upper(), secrets.token_urlsafe(30)
    for attempt in range(ATTEMPTS):
        port = _free_port()
        log = folder / f"emulator-{attempt}.log"
        settings = {
            "AUTH": "true",
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "IOT_MTLS_ENABLED": "0",
            "MINISTACK_REGION": region,
            "PATH": os.environ.get("PATH", os.defpath),
            "SERVICES": ",".join(services),
            "SFTP_ENABLED": "0",
            "TMPDIR": str(folder),
        }
        process = _spawn(python, settings, log)
        try:
            url = f"http://127.0.0.1:{port}"
            if _answers(url, process):
                root = Emulator(url, region, access_key, secret_key, ACCOUNT, process.pid, log)
                yield root.user("tests", [{"Effect": "Allow", "Action": "*", "Resource": "*"}])
                return
        finally:
            _end(process)
    raise RuntimeError("the emulator did not start: " + log.read_text()[-2_000:])


def _spawn(python: Path, settings: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """The emulator's process; all it says goes to a file, since a pipe that nobody reads would fill up and stop it."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [str(python), "-m", "ministack"], env=settings, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    """A port that was free a moment ago: someone may take it first, hence the attempts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether the emulator reports ready, with its checks on, before it ends or the time is over."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            pass
        else:
            return False
        try:
            with urllib.request.urlopen(f"{url}/_ministack/health", timeout=5) as response:  # noqa: S310 (our own child)
                return bool(json.load(response)["auth"] == "enabled")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            continue
    return False
