"""KMS keys, and generated secrets.

The signing key is the root that certifies token-signing keys, the wrapping key keeps those (chalicelib/aws/kms_signer.py),
the content key is the bucket's. Each key's policy leaves it to IAM who may use it: infra/stack/roles.py.
"""

from __future__ import annotations

from string import punctuation

from infra.stack.address import distribution
from infra.stack.language import Resource, Resources, Value, chosen, text

GRACE_DAYS = 30
"""How long a deleted key can still be brought back: what AWS allows at most."""


def resources() -> Resources:
    return {
        "SigningKey": _key(
            "root of the registry's token signatures",
            {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"},
        ),
        "WrappingKey": _key("the registry's own secrets", {"EnableKeyRotation": True}),
        "ContentKey": _key("the registry's blobs", {"EnableKeyRotation": True}, chosen("HasEdge", _through_cloudfront())),
        "AdminSecret": _secret("first password of admin", {"PasswordLength": 32}),
        "UploadSecret": _secret(
            "keys of upload states, by id, the newest last",
            {"SecretStringTemplate": "{}", "GenerateStringKey": "1", "PasswordLength": 44},  # base64 of 33 bytes
        ),
    }


def _secret(purpose: str, generated: dict[str, Value]) -> Resource:
    return {
        "Type": "AWS::SecretsManager::Secret",
        "DeletionPolicy": "Delete",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "Description": text("${AWS::StackName}: " + purpose),
            "GenerateSecretString": {
                **generated,
                "ExcludePunctuation": True,
                "ExcludeCharacters": punctuation,  # the same to AWS; emulators know only this one
            },
        },
    }


def _through_cloudfront() -> Value:
    """S3 seals direct uploads under the content key on CloudFront's behalf. Any distribution of the account, since bucket, key
    and distribution would name each other in a circle; which of them may write, the bucket's policy says."""
    return {
        "Sid": "DirectUploads",
        "Effect": "Allow",
        "Principal": {"Service": "cloudfront.amazonaws.com"},
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": "*",
        "Condition": {"ArnLike": {"aws:SourceArn": distribution("*")}},
    }


def _key(purpose: str, kind: dict[str, Value], *statements: Value) -> Resource:
    return {
        "Type": "AWS::KMS::Key",
        "DeletionPolicy": "Delete",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "Description": text("${AWS::StackName}: " + purpose),
            **kind,
            "PendingWindowInDays": GRACE_DAYS,
            "KeyPolicy": {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "LeaveItToIam",
                        "Effect": "Allow",
                        "Principal": {"AWS": text("arn:${AWS::Partition}:iam::${AWS::AccountId}:root")},
                        "Action": "kms:*",
                        "Resource": "*",
                    },
                    *statements,
                ],
            },
        },
    }
