"""Secrets that the stack generated, read from AWS Secrets Manager."""

from __future__ import annotations

import json

from chalicelib.aws.json_service import JsonService


def read_secret(secret_id: str) -> str:
    """The text of a secret by name or ARN. Credentials, region and endpoint from the environment; ServiceError passes if it is
    not there or not ours to read."""
    service = JsonService("secrets_manager", "secretsmanager", "1.1")
    text: str = service.call("GetSecretValue", {"SecretId": secret_id})["SecretString"]
    return text


def read_keys(secret_id: str) -> str:
    """Keys by id as ``id:key,id:key``, the newest last, from a secret that is a JSON object of them: that is the form in which
    Secrets Manager can generate the first."""
    keys: dict[str, str] = json.loads(read_secret(secret_id))
    return ",".join(f"{identifier}:{key}" for identifier, key in keys.items())
