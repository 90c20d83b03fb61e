"""The blobs: one private bucket, encrypted under a key of the stack's own (chalicelib/aws/s3_blobs.py says what lies where)."""

from __future__ import annotations

from infra.stack.address import distribution
from infra.stack.language import Resource, Resources, Value, attribute, chosen, ref, text

VERSION_DAYS = 30

UNFINISHED_DAYS = 3
"""Uploads live for a day and are dropped by a schedule; a multipart upload that is older was left by a crash."""

PROOF_DAYS = 2
"""Copies that only prove a hash are dropped as soon as they have. S3 counts in whole days, from the midnight after."""

DIRECT = text("${Bucket.Arn}/direct/*")
"""What the edge lets clients write themselves."""


def resources() -> Resources:
    """A deletion of the stack by hand fails on a bucket that holds anything."""
    return {"Bucket": _bucket(), "BucketPolicy": _policy()}


def _bucket() -> Resource:
    return {
        "Type": "AWS::S3::Bucket",
        "DeletionPolicy": "Delete",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "BucketEncryption": {
                "ServerSideEncryptionConfiguration": [
                    {
                        "BucketKeyEnabled": True,  # one call of KMS for many objects
                        "ServerSideEncryptionByDefault": {
                            "SSEAlgorithm": "aws:kms",
                            "KMSMasterKeyID": attribute("ContentKey", "Arn"),
                        },
                    }
                ]
            },
            "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
            "PublicAccessBlockConfiguration": {
                "BlockPublicAcls": True,
                "BlockPublicPolicy": True,
                "IgnorePublicAcls": True,
                "RestrictPublicBuckets": True,
            },
            # never "Suspended" to begin with: that too leaves a marker for each object that is deleted
            "VersioningConfiguration": chosen("KeepsVersions", {"Status": "Enabled"}),
            "LifecycleConfiguration": {"Rules": _lifecycle()},
            "NotificationConfiguration": chosen("HasEdge", {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}),
        },
    }


def _lifecycle() -> Value:
    return [
        {"Id": "proofs", "Status": "Enabled", "Prefix": "proofs/", "ExpirationInDays": PROOF_DAYS},
        {
            "Id": "unfinished",
            "Status": "Enabled",
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_DAYS},
        },
        {
            "Id": "versions",
            "Status": "Enabled",
            "NoncurrentVersionExpiration": {"NoncurrentDays": VERSION_DAYS},
            "ExpiredObjectDeleteMarker": True,
        },
    ]


def _policy() -> Resource:
    """Presigned parts elsewhere carry no hash by their nature; under the direct lane's prefix S3 takes nothing without one."""
    everything: list[Value] = [attribute("Bucket", "Arn"), text("${Bucket.Arn}/*")]
    unsigned: Value = {"StringLike": {"s3:x-amz-content-sha256": ["UNSIGNED-PAYLOAD", "STREAMING-*"]}}
    by_link: Value = {"StringEquals": {"s3:authType": ["REST-QUERY-STRING", "POST"]}}
    statements: list[Value] = [
        chosen("RequiresTls", _denied("TlsOnly", "s3:*", everything, {"Bool": {"aws:SecureTransport": "false"}})),
        _denied("DirectUploadsAreHashed", "s3:PutObject", DIRECT, unsigned),
        _denied("DirectUploadsAreNoLinks", "s3:PutObject", DIRECT, by_link),
        chosen(
            "HasEdge",
            {
                "Sid": "DirectUploads",
                "Effect": "Allow",
                "Principal": {"Service": "cloudfront.amazonaws.com"},
                "Action": "s3:PutObject",
                "Resource": DIRECT,
                "Condition": {"StringEquals": {"aws:SourceArn": distribution()}},
            },
        ),
    ]
    return {
        "Type": "AWS::S3::BucketPolicy",
        "Properties": {"Bucket": ref("Bucket"), "PolicyDocument": {"Version": "2012-10-17", "Statement": statements}},
    }


def _denied(name: str, action: str, resource: Value, condition: Value) -> Value:
    return {
        "Sid": name,
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        "Resource": resource,
        "Condition": condition,
    }
