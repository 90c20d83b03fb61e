"""The function that replaces the key of upload states (infra/rotation), and Secrets Manager's schedule for it."""

from __future__ import annotations

from infra.stack import functions, roles
from infra.stack.language import Resources, Value, attribute, chosen, ref, text

TITLE = "Rotate"
HANDLER = "infra.rotation.rotate.handler"
MEMORY, SECONDS = 256, 60


def resources(runtime: str, log_days: int, code_key: str) -> Resources:
    """The function also where there is no schedule: it can then be called by hand."""
    properties: dict[str, Value] = {
        "Description": text("${AWS::StackName} rotate"),
        "Architectures": [ref("Architecture")],
        "Code": {"S3Bucket": ref("CodeBucket"), "S3Key": code_key},
        "Handler": HANDLER,
        "Runtime": runtime,
        "MemorySize": MEMORY,
        "Timeout": SECONDS,
        "Role": attribute(f"{TITLE}Role", "Arn"),
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": ref(f"{TITLE}Logs")},
        "Environment": {
            "Variables": {
                "SLIPWAY_KEY_VALUE_STORE": attribute("KeyValueStore", "Arn"),
                "AWS_SDK_UA_APP_ID": "slipway-rotate",
                "AWS_ENDPOINT_URL": chosen("HasEndpointUrl", ref("EndpointUrl")),
            }
        },
    }
    made = functions.published(TITLE, properties, [ref("Architecture"), ref("EndpointUrl")], log_days)
    made[f"{TITLE}Role"] = roles.role(TITLE, [roles.allowed(actions, resource) for resource, actions in ALLOWED])
    made[f"{TITLE}Permission"] = {
        "Type": "AWS::Lambda::Permission",
        "Properties": {
            "Action": "lambda:InvokeFunction",
            "FunctionName": ref(f"{TITLE}Alias"),
            "Principal": "secretsmanager.amazonaws.com",
            "SourceArn": attribute("UploadSecret", "Id"),
            "SourceAccount": ref("AWS::AccountId"),
        },
    }
    for resource in made.values():
        resource["Condition"] = "HasEdge"
    made[f"{TITLE}Schedule"] = {
        "Type": "AWS::SecretsManager::RotationSchedule",
        "Condition": "Rotates",
        "DependsOn": f"{TITLE}Permission",
        "Properties": {
            "SecretId": attribute("UploadSecret", "Id"),
            "RotationLambdaARN": ref(f"{TITLE}Alias"),
            "RotationRules": {"AutomaticallyAfterDays": ref("RotationDays")},
            "RotateImmediatelyOnUpdate": False,  # the first key is as new as the stack
        },
    }
    return made


ALLOWED: tuple[roles.Allowed, ...] = (
    (
        attribute("UploadSecret", "Id"),
        (
            "secretsmanager:DescribeSecret",
            "secretsmanager:GetSecretValue",
            "secretsmanager:PutSecretValue",
            "secretsmanager:UpdateSecretVersionStage",
        ),
    ),
    (
        attribute("KeyValueStore", "Arn"),
        (
            "cloudfront-keyvaluestore:DescribeKeyValueStore",
            "cloudfront-keyvaluestore:GetKey",
            "cloudfront-keyvaluestore:ListKeys",
            "cloudfront-keyvaluestore:UpdateKeys",
        ),
    ),
)
"""What the function calls (infra/stack/roles.py)."""
