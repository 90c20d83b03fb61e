"""A function: its code, its published version, and the alias that everybody calls.

An update publishes a version and then moves the alias, at once: what runs goes on on the old one, whose environments stay,
and no call meets a half-changed function. Old versions are kept, so the alias can be moved back by hand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from infra.stack.address import EDGE_LANES, URL
from infra.stack.declared import API, Function
from infra.stack.language import Resources, Value, attribute, chosen, ref, text

ALIAS = "live"

_OWN: dict[str, dict[str, Value]] = {
    API: {
        "SLIPWAY_UPLOAD_SECRET": attribute("UploadSecret", "Id"),
        "SLIPWAY_RELAY_SECRET": chosen("HasRelay", attribute("RelaySecret", "Id")),
        "SLIPWAY_ADOPT_FUNCTION": ref("AdoptAlias"),
        "SLIPWAY_LANES": chosen("HasEdge", EDGE_LANES),
    },
    "ensure_admin": {"SLIPWAY_ADMIN_SECRET": attribute("AdminSecret", "Id")},
}
"""Settings of one function alone."""


def resources(function: Function, log_days: int, code_key: str) -> Resources:
    properties: dict[str, Value] = {
        "Description": text("${AWS::StackName} " + function.name),
        "Architectures": [ref("Architecture")],
        "Code": {"S3Bucket": ref("CodeBucket"), "S3Key": code_key},
        "Handler": function.handler,
        "Runtime": function.runtime,
        "MemorySize": function.memory,
        "Timeout": function.timeout,
        "Role": attribute(f"{function.title}Role", "Arn"),
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": ref(f"{function.title}Logs")},
        "TracingConfig": {"Mode": chosen("HasTracing", "Active", "PassThrough")},
        "Environment": {"Variables": environment(function.name)},
    }
    decided = [ref("Architecture"), ref("SparseManifests"), ref("Tracing"), ref("RequestLog"), ref("EndpointUrl"), URL]
    if function.name == API:
        decided.append(chosen("HasEdge", EDGE_LANES, "-"))
    return published(function.title, properties, decided, log_days)


def published(title: str, properties: dict[str, Value], decided: Iterable[Value], log_days: int) -> Resources:
    """A function of these properties with its log, version and alias. ``decided`` are the values among the properties by which
    two deployments of one template may differ."""
    return {
        f"{title}Logs": {
            "Type": "AWS::Logs::LogGroup",
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",
            "Properties": {"RetentionInDays": log_days},
        },
        f"{title}Function": {"Type": "AWS::Lambda::Function", "Properties": properties},
        f"{title}Version": {
            "Type": "AWS::Lambda::Version",
            "DeletionPolicy": "Retain",  # the function takes its versions with it
            "UpdateReplacePolicy": "Retain",
            "Properties": {"FunctionName": ref(f"{title}Function"), "Description": _reason(properties, decided)},
        },
        f"{title}Alias": {
            "Type": "AWS::Lambda::Alias",
            "Properties": {
                "Name": ALIAS,
                "FunctionName": ref(f"{title}Function"),
                "FunctionVersion": attribute(f"{title}Version", "Version"),
            },
        },
    }


def environment(name: str) -> dict[str, Value]:
    """What the functions read in chalicelib/settings.py. Names alone, no secret: who may list functions reads this."""
    variables: dict[str, Value] = {
        "SLIPWAY_PUBLIC_URL": URL,
        "SLIPWAY_SPARSE_MANIFESTS": ref("SparseManifests"),
        "SLIPWAY_TABLE": ref("Table"),
        "SLIPWAY_BUCKET": ref("Bucket"),
        "SLIPWAY_SIGNING_KEY": attribute("SigningKey", "Arn"),
        "SLIPWAY_WRAPPING_KEY": attribute("WrappingKey", "Arn"),
        "SLIPWAY_TRACING": ref("Tracing"),
        "SLIPWAY_LOG": ref("RequestLog"),
        "AWS_SDK_UA_APP_ID": f"slipway-{name}",  # CloudTrail then tells which function made a call
        "AWS_ENDPOINT_URL": chosen("HasEndpointUrl", ref("EndpointUrl")),
    }
    return {**variables, **_OWN.get(name, {})}


def _reason(properties: dict[str, Value], decided: Iterable[Value]) -> Value:
    """A version's description, which is what makes CloudFormation publish another one: it must differ whenever the function
    does. And only then: Lambda publishes no version of what it has published already, and the update would fail."""
    digest = hashlib.sha256(json.dumps(properties, sort_keys=True).encode()).hexdigest()[:16]
    return {"Fn::Join": [" ", [digest, *decided]]}
