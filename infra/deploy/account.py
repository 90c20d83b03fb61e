"""The account that is deployed to, with whatever credentials the SDK finds."""

from __future__ import annotations

import os
from typing import Any, TypeAlias

import boto3
from botocore.config import Config

from infra.rotation.store import EdgeStore, store_client

Client: TypeAlias = Any  # made by boto3 at run time; there are no types to import


class CannotDeploy(Exception):
    """What is in the way, in words for whoever deploys."""


class Account:
    """The account, region and stage that are deployed to; ``emulator`` is its URL, "" for AWS. Raises CannotDeploy without
    a region, NoCredentialsError without credentials."""

    def __init__(self, stage: str, emulator: str = "") -> None:
        self.stage = stage
        self.stack = f"slipway-{stage}"
        # boto3 alone among the SDKs does not read AWS_REGION
        session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
        if not session.region_name:
            raise CannotDeploy("no region: set AWS_REGION (or AWS_DEFAULT_REGION)")
        self.region: str = session.region_name
        self.emulator = emulator
        self._session = session
        self._config = Config(
            retries={"mode": "standard", "total_max_attempts": 5},
            s3={"addressing_style": "path" if emulator else "auto"},  # an emulator has no host names for buckets
        )
        self.id = str(self.client("sts").get_caller_identity()["Account"])
        self.bucket = f"{self.stack}-code-{self.id}-{self.region}"

    def client(self, service: str) -> Client:
        return self._session.client(service, config=self._config, endpoint_url=self.emulator or None)

    def edge_store(self, arn: str) -> EdgeStore:
        return EdgeStore(store_client(self._session, self.emulator, config=self._config), arn)
