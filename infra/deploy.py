"""``make deploy`` and ``make destroy``: a stage of Slipway in an AWS account, with whatever credentials the SDK finds.

    python -m infra.deploy deploy --stage dev --package build/dev --parameter SparseManifests=all
    python -m infra.deploy destroy --stage dev --confirm dev --drop-data yes

AWS_ENDPOINT_URL sends everything to an emulator. Both commands can be repeated: what is done already is left as it is.
The edge's key-value store is filled here, after the stack is there: its resource takes no content, and until then the edge
answers 503 to whoever pushes or has no token.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.local.edge import store_of
from infra.rotation.store import EdgeStore, StoreBusy, store_client

_Client: TypeAlias = Any  # made by boto3 at run time; there are no types to import

STACK_SECONDS = 3600.0
"""A distribution takes minutes to go round the world and back, an origin in a VPC up to fifteen."""

DELETIONS = 2
"""Tries: what clients still upload while the edge goes down may fill the bucket once more."""

POLL_SECONDS = 2.0
PREFIX_LIST = "com.amazonaws.global.cloudfront.origin-facing"
_SETTLED = ("_COMPLETE", "_FAILED")
_NOT_MADE = ("", "REVIEW_IN_PROGRESS")
"""No stack; or nothing but a change set that was never executed."""

_BROKEN = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED")
"""States of a stack that was never made whole, or not wholly removed: nothing can be updated there."""


class CannotDeploy(Exception):
    """What is in the way, in words for whoever deploys."""


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


class Account:
    """The account, region and stage that are deployed to; ``emulator`` is its URL, "" for AWS. Raises CannotDeploy without
    a region, NoCredentialsError without credentials."""

    def __init__(self, stage: str, emulator: str = "") -> None:
        self.stage = stage
        self.stack = f"slipway-{stage}"
        # boto3 alone among the SDKs does not read AWS_REGION
        session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
        if not session.region_name:
            raise CannotDeploy("no region: set AWS_REGION (or AWS_DEFAULT_REGION)")
        self.region: str = session.region_name
        self.emulator = emulator
        self._session = session
        self._config = Config(
            retries={"mode": "standard", "total_max_attempts": 5},
            s3={"addressing_style": "path" if emulator else "auto"},  # an emulator has no host names for buckets
        )
        self.id = str(self.client("sts").get_caller_identity()["Account"])
        self.bucket = f"{self.stack}-code-{self.id}-{self.region}"

    def client(self, service: str) -> _Client:
        return self._session.client(service, config=self._config, endpoint_url=self.emulator or None)

    def edge_store(self, arn: str) -> EdgeStore:
        return EdgeStore(store_client(self._session, self.emulator, config=self._config), arn)


def deploy(account: Account, package: Path, parameters: Mapping[str, str], architecture: str) -> Deployment:
    """Make or update the stage from what ``make package`` wrote. Raises CannotDeploy."""
    template = _template(package)
    for path in _named_zips(package, template):
        _upload(account, path)
    given = {"CodeBucket": account.bucket, "Architecture": architecture, **parameters}
    kept = _kept(account)
    if account.emulator:
        given = {**{name: value for name, value in _emulated(account.emulator).items() if name not in kept}, **given}
    _find_prefix_list(account, given)
    _change(account, template, given, kept)
    outputs = _outputs(account)
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


_UNKNOWN_THERE = ("400", "404", "405", "501", "InternalFailure", "NotImplemented", "UnknownOperationException")
"""What emulators answer for services that they lack; a number where the answer names no error."""


def destroy(account: Account, confirm: str, drop_data: str) -> None:
    """Remove the stage and all it holds. Raises CannotDeploy unless told twice."""
    if confirm != account.stage or drop_data != "yes":
        raise CannotDeploy(
            f"this removes {account.stack} in account {account.id}, {account.region}, with every image in it, for good; "
            f"if that is meant: make destroy STAGE={account.stage} CONFIRM={account.stage} DROP_DATA=yes"
        )
    cloudformation = account.client("cloudformation")
    if _status(cloudformation, account.stack):
        cloudformation.update_termination_protection(StackName=account.stack, EnableTerminationProtection=False)
        for _ in range(DELETIONS):
            _release_data(account)
            cloudformation.delete_stack(StackName=account.stack)
            status = _settled(cloudformation, account.stack)
            if not status:
                break
        else:
            raise CannotDeploy(f"{account.stack} is {status}:\n{_reasons(cloudformation, account.stack)}")
    s3 = account.client("s3")
    if _bucket_exists(s3, account.bucket):
        _empty(s3, account.bucket)
        s3.delete_bucket(Bucket=account.bucket)


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


# ----------------------------------------------------------------------------------------------------- deployment bucket


def _upload(account: Account, path: Path) -> None:
    _keep(account, path.name, path.read_bytes())


def _keep(account: Account, name: str, content: bytes) -> None:
    """Into the deployment bucket, under a name that its content gave: what is there already is the same."""
    s3 = account.client("s3")
    if not _bucket_exists(s3, account.bucket):
        where = {} if account.region == "us-east-1" else {"LocationConstraint": account.region}
        s3.create_bucket(Bucket=account.bucket, **({"CreateBucketConfiguration": where} if where else {}))
        blocked = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
        s3.put_public_access_block(Bucket=account.bucket, PublicAccessBlockConfiguration=blocked)
    try:
        s3.head_object(Bucket=account.bucket, Key=name, ExpectedBucketOwner=account.id)
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"404", "NoSuchKey", "NotFound"}:
            raise
        s3.put_object(Bucket=account.bucket, Key=name, Body=content, ExpectedBucketOwner=account.id)


def _bucket_exists(s3: _Client, bucket: str) -> bool:
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] in {"404", "NoSuchBucket", "NotFound"}:
            return False
        if error.response["Error"]["Code"] in {"403", "AccessDenied"}:
            raise CannotDeploy(f"the bucket {bucket} is somebody else's, or not ours to use") from error
        raise
    return True


def _empty(s3: _Client, bucket: str) -> None:
    """Everything out of a bucket: objects, their versions, unfinished uploads."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        if objects := [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]:
            answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
            if errors := answer.get("Errors"):
                raise CannotDeploy(f"S3 did not delete {len(errors)} objects of {bucket}: {errors[0].get('Message')}")
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in page.get("Uploads", ()):
            s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])


# ----------------------------------------------------------------------------------------------------------------- stack


def _change(account: Account, template: dict[str, Any], given: Mapping[str, str], kept: Mapping[str, str]) -> None:
    """Create or update the stack by a change set, and wait. No change is no error."""
    cloudformation = account.client("cloudformation")
    status = _status(cloudformation, account.stack)
    _refuse_broken(account, status)
    change_set = f"deploy-{time.time_ns():x}"
    cloudformation.create_change_set(
        StackName=account.stack,
        ChangeSetName=change_set,
        ChangeSetType="CREATE" if status in _NOT_MADE else "UPDATE",
        TemplateURL=_published(account, template),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=_settings(template, given, kept),
    )
    if not _has_changes(cloudformation, account.stack, change_set):
        cloudformation.delete_change_set(StackName=account.stack, ChangeSetName=change_set)
        return
    cloudformation.execute_change_set(StackName=account.stack, ChangeSetName=change_set)
    status = _settled(cloudformation, account.stack)
    if status not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
        raise CannotDeploy(f"{account.stack} is {status}:\n{_reasons(cloudformation, account.stack)}")
    cloudformation.update_termination_protection(StackName=account.stack, EnableTerminationProtection=True)


def _published(account: Account, template: dict[str, Any]) -> str:
    """Where CloudFormation finds the template: it is too long for a request."""
    content = json.dumps(template, separators=(",", ":")).encode()
    name = f"template-{hashlib.sha256(content).hexdigest()[:32]}.json"
    _keep(account, name, content)
    return f"{account.client('s3').meta.endpoint_url}/{account.bucket}/{name}"


def _refuse_broken(account: Account, status: str) -> None:
    if status == "UPDATE_ROLLBACK_FAILED":
        raise CannotDeploy(
            f"{account.stack} is {status}; it serves as before, but must be mended before it is changed: "
            f"aws cloudformation continue-update-rollback --stack-name {account.stack}"
        )
    if status in _BROKEN:
        raise CannotDeploy(
            f"{account.stack} is {status}:\n{_reasons(account.client('cloudformation'), account.stack)}\n"
            f"nothing can be updated there; remove it with make destroy STAGE={account.stage}"
        )


def _settings(template: dict[str, Any], given: Mapping[str, str], kept: Mapping[str, str]) -> list[dict[str, object]]:
    """The change set's parameters: those given, and of the others what the stack has."""
    if unknown := given.keys() - template["Parameters"].keys():
        raise CannotDeploy(f"the template has no parameter {', '.join(sorted(unknown))}")
    return [
        *({"ParameterKey": name, "ParameterValue": value} for name, value in given.items()),
        *(
            {"ParameterKey": name, "UsePreviousValue": True}
            for name in template["Parameters"]
            if name in kept and name not in given
        ),
    ]


def _has_changes(cloudformation: _Client, stack: str, change_set: str) -> bool:
    deadline = time.monotonic() + STACK_SECONDS
    while time.monotonic() < deadline:
        answer = cloudformation.describe_change_set(StackName=stack, ChangeSetName=change_set)
        if answer["Status"] == "CREATE_COMPLETE":
            return True
        if answer["Status"] == "FAILED":
            reason = answer.get("StatusReason", "")
            if "didn't contain changes" in reason or "No updates" in reason:
                return False
            raise CannotDeploy(f"the change set was refused: {reason}")
        time.sleep(POLL_SECONDS / 4)
    raise CannotDeploy("the change set is not ready after an hour")


def _settled(cloudformation: _Client, stack: str) -> str:
    """The stack's status once nothing moves any more, "" if it is gone."""
    deadline = time.monotonic() + STACK_SECONDS
    while time.monotonic() < deadline:
        status = _status(cloudformation, stack)
        if not status or status.endswith(_SETTLED):
            return status
        time.sleep(POLL_SECONDS / 4)
    raise CannotDeploy(f"{stack} is still {status} after an hour")


def _described(cloudformation: _Client, stack: str) -> dict[str, Any]:
    try:
        found: list[dict[str, Any]] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        if "does not exist" in str(error):
            return {}
        raise
    return found[0] if found and found[0]["StackStatus"] != "DELETE_COMPLETE" else {}


def _status(cloudformation: _Client, stack: str) -> str:
    return str(_described(cloudformation, stack).get("StackStatus", ""))


def _kept(account: Account) -> dict[str, str]:
    """The parameters that the stack has; none, if there is no stack yet."""
    described = _described(account.client("cloudformation"), account.stack)
    if str(described.get("StackStatus", "")) in _NOT_MADE:
        return {}
    return {each["ParameterKey"]: each["ParameterValue"] for each in described.get("Parameters", ())}


def _outputs(account: Account) -> dict[str, str]:
    described = _described(account.client("cloudformation"), account.stack)
    return {each["OutputKey"]: each["OutputValue"] for each in described["Outputs"]}


def _reasons(cloudformation: _Client, stack: str) -> str:
    """What failed last, as CloudFormation tells it; what was merely cancelled because of it left out."""
    events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    failed = [event for event in events if event.get("ResourceStatus", "").endswith("_FAILED")]
    told = [f"  {event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}" for event in failed]
    return "\n".join(line for line in told if "cancelled" not in line) or "  no reason given"


# ------------------------------------------------------------------------------------------------------------------ data


def _first_start(account: Account, function: str) -> None:
    answer = account.client("lambda").invoke(FunctionName=function, Payload=b"{}")
    said = answer["Payload"].read().decode(errors="replace")
    if answer.get("FunctionError"):
        raise CannotDeploy(f"the stack is there, but the first account could not be made: {said}")


def _release_data(account: Account) -> None:
    """Lift what keeps the data from being deleted with the stack, and empty the bucket."""
    cloudformation = account.client("cloudformation")
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=account.stack)
    for resource in (resource for page in pages for resource in page["StackResourceSummaries"]):
        name = resource.get("PhysicalResourceId", "")
        if not name or resource["ResourceStatus"] == "DELETE_COMPLETE":
            continue
        if resource["ResourceType"] == "AWS::DynamoDB::Table":
            _unprotect(account.client("dynamodb"), name)
        if resource["ResourceType"] == "AWS::S3::Bucket":
            s3 = account.client("s3")
            if _bucket_exists(s3, name):
                _empty(s3, name)


def _unprotect(dynamodb: _Client, table: str) -> None:
    try:
        dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
        dynamodb.get_waiter("table_exists").wait(TableName=table)
    except dynamodb.exceptions.ResourceNotFoundException:
        return


# --------------------------------------------------------------------------------------------------------------- command


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    deploying = commands.add_parser("deploy")
    deploying.add_argument("--stage", required=True)
    deploying.add_argument("--package", type=Path, required=True, help="the folder that make package wrote")
    deploying.add_argument("--architecture", required=True)
    deploying.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE", help="of the template")
    destroying = commands.add_parser("destroy")
    destroying.add_argument("--stage", required=True)
    destroying.add_argument("--confirm", default="", help="the stage once more")
    destroying.add_argument("--drop-data", default="", help="yes: remove every image")
    options = parser.parse_args(arguments)
    if wrong := [each for each in getattr(options, "parameter", ()) if "=" not in each]:
        parser.error(f"a parameter is NAME=VALUE, not {wrong[0]!r}")
    return options


def main(arguments: Sequence[str]) -> int:
    options = _parsed(arguments)
    try:
        account = Account(options.stage, os.environ.get("AWS_ENDPOINT_URL", ""))
        if options.command == "destroy":
            destroy(account, options.confirm, options.drop_data)
            print(f"{account.stack} is gone; its KMS keys follow when their days of grace are over")
            return 0
        parameters = dict(each.split("=", 1) for each in options.parameter)
        made = deploy(account, options.package, parameters, options.architecture)
    except (CannotDeploy, StoreBusy, BotoCoreError, ClientError) as error:
        print(f"{options.command} failed: {error}", file=sys.stderr)
        return 1
    if made.distribution_domain and urlsplit(made.url).hostname != made.distribution_domain:
        print(f"the edge is {made.distribution_domain}: let the DNS name of {made.url} point there (CNAME or alias)")
    print(f"{made.url} serves; user admin, first password in the secret {made.admin_secret}:")
    print(f"  aws secretsmanager get-secret-value --query SecretString --output text --secret-id {made.admin_secret}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
