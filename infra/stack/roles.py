"""One role per function, which allows the calls it makes and no others. tests/cloud records the calls and compares both ways.

A transaction needs the permissions of its actions, a HEAD and a ranged GET that of the GET, a copy those of a GET and a PUT;
whoever makes links needs the permissions of what is done by them, a part being a PUT. S3 tells that an object is missing only
to who may list the bucket, whatever the prefix; to anybody else it says that access is denied.
"""

from __future__ import annotations

from collections.abc import Iterable

from infra.stack.declared import API, title
from infra.stack.language import Resource, Resources, Value, attribute, chosen, ref, text

_SUFFIXES = ("${AWS::URLSuffix}", "amazonaws.com")
"""KMS's names of services end in the latter, it is said, even where the partition's hosts do not."""

Allowed = tuple[Value, tuple[str, ...]]
"""A resource, or several, and the calls that are allowed there."""


def _objects(*prefixes: str) -> Value:
    return [text(f"${{Bucket.Arn}}/{prefix}/*") for prefix in prefixes]


_TABLE = attribute("Table", "Arn")
_BUCKET = attribute("Bucket", "Arn")

ALLOWED: dict[str, tuple[Allowed, ...]] = {
    API: (
        (
            _TABLE,
            (
                "dynamodb:BatchGetItem",
                "dynamodb:ConditionCheckItem",
                "dynamodb:DeleteItem",
                "dynamodb:GetItem",
                "dynamodb:PutItem",
                "dynamodb:Query",
                "dynamodb:UpdateItem",
            ),
        ),
        (_objects("data", "manifests"), ("s3:PutObject",)),
        (_objects("data", "direct", "manifests"), ("s3:DeleteObject", "s3:GetObject")),
        (_objects("data"), ("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")),
        (_BUCKET, ("s3:ListBucket",)),
        (attribute("SigningKey", "Arn"), ("kms:GetPublicKey", "kms:Sign")),
        (attribute("WrappingKey", "Arn"), ("kms:Decrypt", "kms:Encrypt")),
        (attribute("UploadSecret", "Id"), ("secretsmanager:GetSecretValue",)),
        (ref("AdoptAlias"), ("lambda:InvokeFunction",)),
    ),
    "adopt": (
        (
            _TABLE,
            (
                "dynamodb:DeleteItem",
                "dynamodb:GetItem",
                "dynamodb:PutItem",
                "dynamodb:UpdateItem",
            ),
        ),
        (_objects("data", "direct", "proofs"), ("s3:DeleteObject",)),
        (_objects("data", "direct"), ("s3:GetObject",)),
        (_objects("data", "proofs"), ("s3:PutObject",)),
        (_objects("data"), ("s3:AbortMultipartUpload",)),
        (_BUCKET, ("s3:ListBucket",)),
    ),
    "run_jobs": (
        (
            _TABLE,
            (
                "dynamodb:BatchGetItem",
                "dynamodb:ConditionCheckItem",
                "dynamodb:DeleteItem",
                "dynamodb:GetItem",
                "dynamodb:PutItem",
                "dynamodb:Query",
                "dynamodb:Scan",
                "dynamodb:UpdateItem",
            ),
        ),
        (_objects("data", "direct", "manifests", "proofs"), ("s3:DeleteObject",)),
        (_objects("data", "direct", "manifests", "registry"), ("s3:GetObject",)),
        (_objects("registry"), ("s3:PutObject",)),
        (_objects("data"), ("s3:AbortMultipartUpload",)),
        (_BUCKET, ("s3:ListBucket", "s3:ListBucketMultipartUploads")),
        (attribute("SigningKey", "Arn"), ("kms:GetPublicKey", "kms:Sign")),
        (attribute("WrappingKey", "Arn"), ("kms:Encrypt",)),
    ),
    "ensure_admin": (
        (_TABLE, ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query")),
        (attribute("AdminSecret", "Id"), ("secretsmanager:GetSecretValue",)),
    ),
}
"""What each of Chalice's functions calls by itself: the one place to correct when a function calls something else."""

READS_OR_WRITES_CONTENT = (API, "adopt", "run_jobs")
"""Functions on whose behalf S3 uses the content key."""

TOLD_OF_FAILURES = {"adopt": "FailedAdoptions", "run_jobs": "FailedRunJobs"}
"""Queues that Lambda itself tells what failed, in the function's name."""


def resources(function: str) -> Resources:
    """Raises KeyError for a function whose calls nobody wrote down."""
    statements = [allowed(actions, resource) for resource, actions in ALLOWED[function]]
    if function in READS_OR_WRITES_CONTENT:
        statements.append(_through_s3())
    if function == API:
        statements.append(chosen("HasRelay", allowed(["secretsmanager:GetSecretValue"], attribute("RelaySecret", "Id"))))
    if function in TOLD_OF_FAILURES:
        statements.append(allowed(["sqs:SendMessage"], attribute(TOLD_OF_FAILURES[function], "Arn")))
    # AWS knows no resources for traces
    statements.append(chosen("HasTracing", allowed(["xray:PutTelemetryRecords", "xray:PutTraceSegments"], "*")))
    return {f"{title(function)}Role": role(title(function), statements)}


def role(function: str, statements: Iterable[Value]) -> Resource:
    """Of the function of that title, which may also write its log."""
    logs = allowed(["logs:CreateLogStream", "logs:PutLogEvents"], attribute(f"{function}Logs", "Arn"))
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
                ],
            },
            "Policies": [
                {"PolicyName": "calls", "PolicyDocument": {"Version": "2012-10-17", "Statement": [*statements, logs]}}
            ],
        },
    }


def allowed(actions: Iterable[str], resource: Value) -> Value:
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource}


def _through_s3() -> Value:
    """The bucket's key, for S3 alone: it seals and opens objects as whoever asks for them, presigned links included."""
    return {
        "Effect": "Allow",
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": attribute("ContentKey", "Arn"),
        "Condition": {"StringEquals": {"kms:ViaService": [text(f"s3.${{AWS::Region}}.{suffix}") for suffix in _SUFFIXES]}},
    }
