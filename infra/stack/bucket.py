"""The blobs: one private bucket, encrypted under a key of the stack's own (chalicelib/aws/s3_blobs.py says what lies where)."""

from __future__ import annotations

from infra.stack.language import Resource, Resources, Value, attribute, chosen, ref, text

VERSION_DAYS = 30

STAGED_DAYS = 3
"""Uploads live for a day and are dropped by a schedule; what lies longer was left by a crash. S3 counts in whole days, from
the midnight after."""


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
        },
    }


def _lifecycle() -> Value:
    expired: list[Value] = [
        {"Id": name, "Status": "Enabled", "Prefix": prefix, "ExpirationInDays": STAGED_DAYS}
        for name, prefix in (("staged", "~staged/"), ("parts", "~parts/"))
    ]
    return [
        *expired,
        {
            "Id": "unfinished",
            "Status": "Enabled",
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": STAGED_DAYS},
        },
        {
            "Id": "versions",
            "Status": "Enabled",
            "NoncurrentVersionExpiration": {"NoncurrentDays": VERSION_DAYS},
            "ExpiredObjectDeleteMarker": True,
        },
    ]


def _policy() -> Resource:
    bucket = attribute("Bucket", "Arn")
    return {
        "Type": "AWS::S3::BucketPolicy",
        "Condition": "RequiresTls",
        "Properties": {
            "Bucket": ref("Bucket"),
            "PolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "TlsOnly",
                        "Effect": "Deny",
                        "Principal": "*",
                        "Action": "s3:*",
                        "Resource": [bucket, text("${Bucket.Arn}/*")],
                        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                    }
                ],
            },
        },
    }
