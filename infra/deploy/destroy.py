"""A stage removed, with all it holds."""

from __future__ import annotations

from infra.deploy.account import Account, CannotDeploy, Client
from infra.deploy.buckets import bucket_exists, empty_bucket
from infra.deploy.stack import reasons, settled, status_of

DELETIONS = 2
"""Tries: what clients still upload while the edge goes down may fill the bucket once more."""


def destroy(account: Account, confirm: str, drop_data: str) -> None:
    """Remove the stage and all it holds. Raises CannotDeploy unless told twice."""
    if confirm != account.stage or drop_data != "yes":
        raise CannotDeploy(
            f"this removes {account.stack} in account {account.id}, {account.region}, with every image in it, for good; "
            f"if that is meant: make destroy STAGE={account.stage} CONFIRM={account.stage} DROP_DATA=yes"
        )
    cloudformation = account.client("cloudformation")
    if status_of(cloudformation, account.stack):
        cloudformation.update_termination_protection(StackName=account.stack, EnableTerminationProtection=False)
        for _ in range(DELETIONS):
            _release_data(account)
            cloudformation.delete_stack(StackName=account.stack)
            status = settled(cloudformation, account.stack)
            if not status:
                break
        else:
            raise CannotDeploy(f"{account.stack} is {status}:\n{reasons(cloudformation, account.stack)}")
    s3 = account.client("s3")
    if bucket_exists(s3, account.bucket):
        empty_bucket(s3, account.bucket)
        s3.delete_bucket(Bucket=account.bucket)


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
            if bucket_exists(s3, name):
                empty_bucket(s3, name)


def _unprotect(dynamodb: Client, table: str) -> None:
    try:
        dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
        dynamodb.get_waiter("table_exists").wait(TableName=table)
    except dynamodb.exceptions.ResourceNotFoundException:
        return
