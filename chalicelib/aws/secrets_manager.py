"""Secrets that the stack generated, read from AWS Secrets Manager."""

from __future__ import annotations

import json


def read_secret(secret_id: str) -> str:
    """The text of a secret by name or ARN. Credentials, region and AWS_ENDPOINT_URL from the environment; botocore's error
    passes if it is not there or not ours to read."""
    from boto3.session import Session

    text: str = Session().client("secretsmanager").get_secret_value(SecretId=secret_id)["SecretString"]
    return text


def read_keys(secret_id: str) -> str:
    """Keys by id as ``id:key,id:key``, the newest last, from a secret that is a JSON object of them: that is the form in which
    Secrets Manager can generate the first."""
    keys: dict[str, str] = json.loads(read_secret(secret_id))
    return ",".join(f"{identifier}:{key}" for identifier, key in keys.items())
