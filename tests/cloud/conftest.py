"""Fixtures: the registry packaged, deployed into an emulator from nothing, and reachable at the root of a loopback port."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import pytest

from infra.deploy import Account, Deployment, deploy
from infra.local.edge_front import ApiFront, ApiOrigin
from infra.local.front import serving
from infra.local.signing import Signer
from infra.package import Package, package
from tests.clients.sandbox import Sandbox, new_sandbox
from tests.clients.wire import Wire
from tests.cloud.calls import Seen
from tests.cloud.s3_front import S3Front, s3_front
from tests.conformance.registry_process import CACHE, RunningRegistry
from tests.emulator import Emulator, start
from tests.infra import ARCHITECTURE

STAGE = "dev"
SERVICES = (
    "apigateway", "cloudformation", "cloudfront", "cloudfront-keyvaluestore", "cloudwatch", "dynamodb", "events", "iam", "kms",
    "lambda", "logs", "s3", "secretsmanager", "sqs", "sts",
)  # fmt: skip


@dataclass(slots=True)
class Cloud:
    """The emulated account with the stage in it. ``seen`` grows with every call that a function makes, all of them through
    ``services``, which is strict about S3."""

    emulator: Emulator
    account: Account
    packaged: Package
    deployment: Deployment
    registry: RunningRegistry
    parameters: dict[str, str]
    services: S3Front
    seconds: float
    seen: list[Seen] = field(default_factory=list, repr=False)

    def client(self, service: str) -> object:
        return boto3.client(service, **self.emulator.client_arguments())


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """A short folder: the emulator unpacks functions below it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slipway-cloud-")))
        emulator = stack.enter_context(start(folder, services=SERVICES))
        stack.callback(_keep_logs, emulator)
        seen: list[Seen] = []
        reader = Signer(emulator.region, emulator.access_key, emulator.secret_key)
        services = stack.enter_context(s3_front(emulator.url, reader, seen.append))
        api = ApiFront()
        url = stack.enter_context(serving(api))
        environment = pytest.MonkeyPatch()
        stack.callback(environment.undo)
        for name, value in emulator.environment().items():
            environment.setenv(name, value)  # as whoever runs `make deploy` would have it
        packaged = package(STAGE, ARCHITECTURE, folder / "package")
        parameters = {"PublicUrl": url, "EndpointUrl": services.url, "SparseManifests": "all"}
        begun = time.monotonic()
        account = Account(STAGE, emulator.url)
        made = deploy(account, packaged.template.parent, parameters, ARCHITECTURE)
        seconds = time.monotonic() - begun
        api.origin = ApiOrigin(f"{emulator.url}/_aws/execute-api/{_api_id(made)}/$default")
        registry = RunningRegistry(url.removeprefix("http://"), "admin", _password(made))
        yield Cloud(emulator, account, packaged, made, registry, parameters, services, seconds, seen)


def _keep_logs(emulator: Emulator) -> None:
    """The emulator's log and those of the functions that are still there, for whoever looks for a failure's cause."""
    folder = CACHE / "cloud"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(emulator.log, folder / "emulator.log")
    logs = boto3.client("logs", **emulator.client_arguments())
    with (folder / "functions.log").open("w") as kept:
        for group in logs.describe_log_groups()["logGroups"]:
            for event in logs.filter_log_events(logGroupName=group["logGroupName"])["events"]:
                print(group["logGroupName"], event["message"].rstrip(), file=kept)


def _api_id(made: Deployment) -> str:
    return made.api_endpoint.partition("://")[2].partition(".")[0]


def _password(made: Deployment) -> str:
    """As the command that `make deploy` prints reads it."""
    password: str = boto3.client("secretsmanager").get_secret_value(SecretId=made.admin_secret)["SecretString"]
    return password


@pytest.fixture(scope="session")
def wire(cloud: Cloud) -> Wire:
    return Wire(cloud.registry)


@pytest.fixture
def sandbox(cloud: Cloud, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        yield new_sandbox(str(request.param), Path(folder), cloud.registry)
