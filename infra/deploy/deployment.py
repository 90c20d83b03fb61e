"""A stage made or updated from what ``make package`` wrote.

The edge's key-value store is filled here, after the stack is there: its resource takes no content, and until then the edge
answers 503 to whoever pushes or has no token.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from infra.deploy.account import Account, CannotDeploy
from infra.deploy.buckets import keep
from infra.deploy.stack import change, kept_parameters, outputs_of
from infra.local.edge import store_of

PREFIX_LIST = "com.amazonaws.global.cloudfront.origin-facing"
_UNKNOWN_THERE = ("400", "404", "405", "501", "InternalFailure", "NotImplemented", "UnknownOperationException")
"""What emulators answer for services that they lack; a number where the answer names no error."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployed stage: how to reach it, and where admin's first password is."""

    url: str
    api_endpoint: str
    admin_secret: str
    bucket: str
    lanes: str
    """What the edge offers beside inline, with commas between; "none"."""
    key_value_store: str = ""
    """The ARN of the edge's; "" without an edge."""
    distribution: str = ""
    distribution_domain: str = ""


def deploy(account: Account, package: Path, parameters: Mapping[str, str], architecture: str) -> Deployment:
    """Make or update the stage from what ``make package`` wrote. Raises CannotDeploy."""
    template = _template(package)
    for path in _named_zips(package, template):
        keep(account, path.name, path.read_bytes())
    given = {"CodeBucket": account.bucket, "Architecture": architecture, **parameters}
    kept = kept_parameters(account)
    if account.emulator:
        given = {**{name: value for name, value in _emulated(account.emulator).items() if name not in kept}, **given}
    _find_prefix_list(account, given)
    change(account, template, given, kept)
    outputs = outputs_of(account)
    _first_start(account, outputs["FirstStart"])
    made = Deployment(
        url=outputs["Url"],
        api_endpoint=outputs["ApiEndpoint"],
        admin_secret=outputs["AdminSecret"],
        bucket=outputs["Bucket"],
        lanes=outputs["Lanes"],
        key_value_store=outputs.get("KeyValueStore", ""),
        distribution=outputs.get("Distribution", ""),
        distribution_domain=outputs.get("DistributionDomain", ""),
    )
    if made.key_value_store:
        fill_edge(account, made, outputs["UploadSecret"])
    return made


def _emulated(endpoint: str) -> dict[str, str]:
    """What is another way in emulators: the functions must find them too (at another address where they run in containers),
    and they know no rotation schedules."""
    tls = "no" if endpoint.startswith("http://") else "yes"
    return {"EndpointUrl": endpoint, "RequireTls": tls, "RotationDays": "0"}


def fill_edge(account: Account, made: Deployment, upload_secret: str) -> bool:
    """Settings and keys of upload states into the key-value store: whether anything had to be changed. Keys that are there
    are left: a rotation may be under way, and drops them itself. Raises StoreBusy."""
    keys = json.loads(account.client("secretsmanager").get_secret_value(SecretId=upload_secret)["SecretString"])
    lanes = made.lanes.split(",")
    host = urlsplit(made.url).netloc
    wanted = store_of(f"{made.url}/auth/token", host, keys, direct="direct" in lanes, relay="relay" in lanes)
    store = account.edge_store(made.key_value_store)
    try:
        return store.put(wanted)
    except ClientError as error:
        if account.emulator and error.response["Error"]["Code"] in _UNKNOWN_THERE:
            print(f"{account.emulator} has no key-value stores: the edge's is not filled", file=sys.stderr)
            return False
        raise


def _template(package: Path) -> dict[str, Any]:
    try:
        template: dict[str, Any] = json.loads((package / "template.json").read_text())
    except FileNotFoundError:
        raise CannotDeploy(f"no template in {package}: run make package first") from None
    return template


def _named_zips(package: Path, template: dict[str, Any]) -> list[Path]:
    functions = [each for each in template["Resources"].values() if each["Type"] == "AWS::Lambda::Function"]
    paths = {package / str(each["Properties"]["Code"]["S3Key"]) for each in functions}
    if missing := [path for path in paths if not path.exists()]:
        raise CannotDeploy(f"{missing[0]} is missing: run make package again")
    return sorted(paths)


def _find_prefix_list(account: Account, given: dict[str, str]) -> None:
    """The region's own id of the list of CloudFront's addresses, which the relay's balancer lets in."""
    if given.get("Relay") != "yes" or given.get("RelayDomain") or given.get("EdgePrefixList"):
        return
    wanted = [{"Name": "prefix-list-name", "Values": [PREFIX_LIST]}]
    found = account.client("ec2").describe_managed_prefix_lists(Filters=wanted)["PrefixLists"]
    if not found:
        raise CannotDeploy(f"{account.region} has no prefix list {PREFIX_LIST}: set EdgePrefixList")
    given["EdgePrefixList"] = found[0]["PrefixListId"]


def _first_start(account: Account, function: str) -> None:
    answer = account.client("lambda").invoke(FunctionName=function, Payload=b"{}")
    said = answer["Payload"].read().decode(errors="replace")
    if answer.get("FunctionError"):
        raise CannotDeploy(f"the stack is there, but the first account could not be made: {said}")
