"""One role per function, which allows the calls it makes and no others. tests/cloud records the calls and compares both ways.

A transaction needs the permissions of its actions, a HEAD and a ranged GET that of the GET. S3 tells that an object is
missing only to who may list the bucket; to anybody else it says that access is denied.
"""

from __future__ import annotations

from infra.stack.declared import title
from infra.stack.language import Resources, Value, attribute, text

_SUFFIXES = ("${AWS::URLSuffix}", "amazonaws.com")
"""KMS's names of services end in the latter, it is said, even where the partition's hosts do not."""

_OBJECTS = text("${Bucket.Arn}/*")

ALLOWED: dict[str, tuple[tuple[Value, tuple[str, ...]], ...]] = {
    "api_handler": (
        (
            attribute("Table", "Arn"),
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
        (_OBJECTS, ("s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject")),
        (attribute("Bucket", "Arn"), ("s3:ListBucket",)),
        (attribute("SigningKey", "Arn"), ("kms:GetPublicKey", "kms:Sign")),
        (attribute("WrappingKey", "Arn"), ("kms:Decrypt", "kms:Encrypt")),
        (attribute("UploadSecret", "Id"), ("secretsmanager:GetSecretValue",)),
    ),
    "expire_uploads": (
        (attribute("Table", "Arn"), ("dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:Query")),
        (_OBJECTS, ("s3:DeleteObject",)),
        (attribute("Bucket", "Arn"), ("s3:ListBucket",)),
    ),
    "ensure_admin": (
        (attribute("Table", "Arn"), ("dynamodb:GetItem", "dynamodb:PutItem")),
        (attribute("AdminSecret", "Id"), ("secretsmanager:GetSecretValue",)),
    ),
}
"""What each of Chalice's functions calls by itself."""

READS_OR_WRITES_CONTENT = ("api_handler",)
"""Functions on whose behalf S3 uses the content key."""


def resources(function: str) -> Resources:
    """Raises KeyError for a function whose calls nobody wrote down."""
    statements: list[Value] = [
        {"Effect": "Allow", "Action": list(actions), "Resource": resource} for resource, actions in ALLOWED[function]
    ]
    if function in READS_OR_WRITES_CONTENT:
        statements.append(_through_s3())
    statements.append(
        {
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": text(f"${{{title(function)}Logs.Arn}}"),
        }
    )
    return {
        f"{title(function)}Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
                    ],
                },
                "Policies": [{"PolicyName": "calls", "PolicyDocument": {"Version": "2012-10-17", "Statement": statements}}],
            },
        }
    }


def _through_s3() -> Value:
    """The bucket's key, for S3 alone: it seals and opens objects as whoever asks for them, presigned links included."""
    return {
        "Effect": "Allow",
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": attribute("ContentKey", "Arn"),
        "Condition": {"StringEquals": {"kms:ViaService": [text(f"s3.${{AWS::Region}}.{suffix}") for suffix in _SUFFIXES]}},
    }
