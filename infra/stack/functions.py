"""A function: its code, its published version, and the alias that everybody calls.

An update publishes a version and then moves the alias, at once: what runs goes on on the old one, whose environments stay,
and no call meets a half-changed function. Old versions are kept, so the alias can be moved back by hand.
"""

from __future__ import annotations

import hashlib
import json

from infra.stack.declared import Function
from infra.stack.language import Resources, Value, attribute, chosen, ref, text

ALIAS = "live"

_SECRETS = {
    "api_handler": ("SLIPWAY_UPLOAD_SECRET", "UploadSecret"),
    "ensure_admin": ("SLIPWAY_ADMIN_SECRET", "AdminSecret"),
}
"""Which secret a function may read, and the setting that names it."""


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
        "Environment": {"Variables": environment(function.name)},
    }
    return {
        f"{function.title}Logs": {
            "Type": "AWS::Logs::LogGroup",
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",
            "Properties": {"RetentionInDays": log_days},
        },
        f"{function.title}Function": {"Type": "AWS::Lambda::Function", "Properties": properties},
        f"{function.title}Version": {
            "Type": "AWS::Lambda::Version",
            "DeletionPolicy": "Retain",  # the function takes its versions with it
            "UpdateReplacePolicy": "Retain",
            "Properties": {"FunctionName": ref(f"{function.title}Function"), "Description": _reason(properties)},
        },
        f"{function.title}Alias": {
            "Type": "AWS::Lambda::Alias",
            "Properties": {
                "Name": ALIAS,
                "FunctionName": ref(f"{function.title}Function"),
                "FunctionVersion": attribute(f"{function.title}Version", "Version"),
            },
        },
    }


def environment(name: str) -> dict[str, Value]:
    """What the functions read in chalicelib/settings.py. Names alone, no secret: who may list functions reads this."""
    variables: dict[str, Value] = {
        "SLIPWAY_PUBLIC_URL": chosen("HasPublicUrl", ref("PublicUrl"), attribute("HttpApi", "ApiEndpoint")),
        "SLIPWAY_SPARSE_MANIFESTS": ref("SparseManifests"),
        "SLIPWAY_TABLE": ref("Table"),
        "SLIPWAY_BUCKET": ref("Bucket"),
        "SLIPWAY_SIGNING_KEY": attribute("SigningKey", "Arn"),
        "SLIPWAY_WRAPPING_KEY": attribute("WrappingKey", "Arn"),
        "AWS_SDK_UA_APP_ID": f"slipway-{name}",  # CloudTrail then tells which function made a call
        "AWS_ENDPOINT_URL": chosen("HasEndpointUrl", ref("EndpointUrl")),
    }
    if name in _SECRETS:
        setting, secret = _SECRETS[name]
        variables[setting] = attribute(secret, "Id")
    return variables


def _reason(properties: dict[str, Value]) -> Value:
    """A version's description, which is what makes CloudFormation publish another one: it must differ whenever the function
    does, so it names a digest of the properties and every parameter they refer to."""
    digest = hashlib.sha256(json.dumps(properties, sort_keys=True).encode()).hexdigest()[:16]
    return text(digest + " ${Architecture} ${SparseManifests} ${PublicUrl} ${EndpointUrl}")
