"""Slipway packaged and deployed into an emulated AWS, and Debian's docker-registry with its S3 driver on the same S3.

with deployed(folder) as cloud, started_on_s3(program, folder, cloud.emulator) as docker_registry:
    cloud.registry.answer("GET", "/_ping", 200)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3

from infra.deploy.account import Account
from infra.deploy.deployment import deploy
from infra.local.edge_front import ApiFront, ApiOrigin
from infra.local.front import serving
from infra.package import package
from tests.bench.registries import SLIPWAY, USER, Registry, started_docker_registry
from tests.conformance.management import Administrator
from tests.conformance.registry_process import RunningRegistry
from tests.emulator import Emulator, start
from tests.infra import ARCHITECTURE

_STAGE = "dev"
_SERVICES = (
    "apigateway", "cloudformation", "cloudwatch", "dynamodb", "events", "iam", "kms", "lambda", "logs", "s3", "secretsmanager",
    "sqs", "sts",
)  # fmt: skip
_BUCKET = "docker-registry"


@dataclass(frozen=True, slots=True)
class Deployed:
    """The emulator, the registry in it, the zip that was deployed, and the environment of the function behind the API."""

    emulator: Emulator
    registry: Registry
    zip: Path
    environment: Mapping[str, str]


@contextmanager
def deployed(folder: Path) -> Iterator[Deployed]:
    """A short folder: the emulator unpacks functions below it. The emulator has the HTTP API under a path of its own; a front
    brings it to the root of a port, whose work is the bench's and counts for neither registry. There is no edge, through which
    docker-registry does not go either, and functions call the emulator itself."""
    with ExitStack() as stack:
        emulator = stack.enter_context(start(folder, services=_SERVICES))
        api = ApiFront()
        url = stack.enter_context(serving(api))
        stack.enter_context(emulator.as_environment())
        packaged = package(_STAGE, ARCHITECTURE, folder / "package")
        parameters = {"PublicUrl": url, "EndpointUrl": emulator.url, "Edge": "no"}
        account = Account(_STAGE, emulator.url)
        made = deploy(account, packaged.template.parent, parameters, ARCHITECTURE)
        identifier = made.api_endpoint.partition("://")[2].partition(".")[0]
        api.origin = ApiOrigin(f"{emulator.url}/_aws/execute-api/{identifier}/$default")
        session = boto3.session.Session()
        secret = session.client("secretsmanager").get_secret_value(SecretId=made.admin_secret)["SecretString"]
        found = session.client("cloudformation").describe_stack_resource(
            StackName=account.stack, LogicalResourceId="ApiFunction"
        )
        name = found["StackResourceDetail"]["PhysicalResourceId"]
        configured = session.client("lambda").get_function_configuration(FunctionName=name)
        host = url.removeprefix("http://")
        registry = Registry(SLIPWAY, host, 0, folder, secret, emulator.pid)
        Administrator(RunningRegistry(host, USER, secret)).let_pushes_create()
        yield Deployed(emulator, registry, packaged.zip, configured["Environment"]["Variables"] | emulator.environment())


def started_on_s3(program: str, folder: Path, emulator: Emulator) -> AbstractContextManager[Registry]:
    """docker-registry on a bucket of its own. It redirects pulls to S3, as its driver does unless told otherwise."""
    s3 = boto3.session.Session().client("s3", **emulator.client_arguments())
    s3.create_bucket(Bucket=_BUCKET, CreateBucketConfiguration={"LocationConstraint": emulator.region})
    s3.close()
    parameters = {
        "region": emulator.region,
        "regionendpoint": emulator.url,
        "bucket": _BUCKET,
        "accesskey": emulator.access_key,
        "secretkey": emulator.secret_key,
        "secure": False,
        "v4auth": True,
    }
    return started_docker_registry(program, folder, {"s3": parameters}, emulator.pid)
