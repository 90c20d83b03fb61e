"""Buckets: the account's deployment bucket, where CloudFormation finds what it is given; and emptying one."""

from __future__ import annotations

from botocore.exceptions import ClientError

from infra.deploy.account import Account, CannotDeploy, Client


def keep(account: Account, name: str, content: bytes) -> None:
    """Into the deployment bucket, under a name that its content gave: what is there already is the same."""
    s3 = account.client("s3")
    if not bucket_exists(s3, account.bucket):
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


def bucket_exists(s3: Client, bucket: str) -> bool:
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] in {"404", "NoSuchBucket", "NotFound"}:
            return False
        if error.response["Error"]["Code"] in {"403", "AccessDenied"}:
            raise CannotDeploy(f"the bucket {bucket} is somebody else's, or not ours to use") from error
        raise
    return True


def empty_bucket(s3: Client, bucket: str) -> None:
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
