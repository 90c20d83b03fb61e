"""The stack in CloudFormation: changed, waited for, and asked how it is."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from infra.deploy.account import Account, CannotDeploy, Client
from infra.deploy.buckets import keep

STACK_SECONDS = 3600.0
"""A distribution takes minutes to go round the world and back, an origin in a VPC up to fifteen."""

POLL_SECONDS = 2.0
_SETTLED = ("_COMPLETE", "_FAILED")
_NOT_MADE = ("", "REVIEW_IN_PROGRESS")
"""No stack; or nothing but a change set that was never executed."""

_BROKEN = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED")
"""States of a stack that was never made whole, or not wholly removed: nothing can be updated there."""


def change(account: Account, template: dict[str, Any], given: Mapping[str, str], kept: Mapping[str, str]) -> None:
    """Create or update the stack by a change set, and wait. No change is no error."""
    cloudformation = account.client("cloudformation")
    status = status_of(cloudformation, account.stack)
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
    status = settled(cloudformation, account.stack)
    if status not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
        raise CannotDeploy(f"{account.stack} is {status}:\n{reasons(cloudformation, account.stack)}")
    cloudformation.update_termination_protection(StackName=account.stack, EnableTerminationProtection=True)


def _published(account: Account, template: dict[str, Any]) -> str:
    """Where CloudFormation finds the template: it is too long for a request."""
    content = json.dumps(template, separators=(",", ":")).encode()
    name = f"template-{hashlib.sha256(content).hexdigest()[:32]}.json"
    keep(account, name, content)
    return f"{account.client('s3').meta.endpoint_url}/{account.bucket}/{name}"


def _refuse_broken(account: Account, status: str) -> None:
    if status == "UPDATE_ROLLBACK_FAILED":
        raise CannotDeploy(
            f"{account.stack} is {status}; it serves as before, but must be mended before it is changed: "
            f"aws cloudformation continue-update-rollback --stack-name {account.stack}"
        )
    if status in _BROKEN:
        raise CannotDeploy(
            f"{account.stack} is {status}:\n{reasons(account.client('cloudformation'), account.stack)}\n"
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


def _has_changes(cloudformation: Client, stack: str, change_set: str) -> bool:
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


def settled(cloudformation: Client, stack: str) -> str:
    """The stack's status once nothing moves any more, "" if it is gone."""
    deadline = time.monotonic() + STACK_SECONDS
    while time.monotonic() < deadline:
        status = status_of(cloudformation, stack)
        if not status or status.endswith(_SETTLED):
            return status
        time.sleep(POLL_SECONDS / 4)
    raise CannotDeploy(f"{stack} is still {status} after an hour")


def _described(cloudformation: Client, stack: str) -> dict[str, Any]:
    try:
        found: list[dict[str, Any]] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        if "does not exist" in str(error):
            return {}
        raise
    return found[0] if found and found[0]["StackStatus"] != "DELETE_COMPLETE" else {}


def status_of(cloudformation: Client, stack: str) -> str:
    return str(_described(cloudformation, stack).get("StackStatus", ""))


def kept_parameters(account: Account) -> dict[str, str]:
    """The parameters that the stack has; none, if there is no stack yet."""
    described = _described(account.client("cloudformation"), account.stack)
    if str(described.get("StackStatus", "")) in _NOT_MADE:
        return {}
    return {each["ParameterKey"]: each["ParameterValue"] for each in described.get("Parameters", ())}


def outputs_of(account: Account) -> dict[str, str]:
    described = _described(account.client("cloudformation"), account.stack)
    return {each["OutputKey"]: each["OutputValue"] for each in described["Outputs"]}


def reasons(cloudformation: Client, stack: str) -> str:
    """What failed last, as CloudFormation tells it; what was merely cancelled because of it left out."""
    events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    failed = [event for event in events if event.get("ResourceStatus", "").endswith("_FAILED")]
    told = [f"  {event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}" for event in failed]
    return "\n".join(line for line in told if "cancelled" not in line) or "  no reason given"
