"""What S3 tells the adoption function, and what becomes of a call that fails.

Through EventBridge: a notification of the bucket's own would name the function, whose permission names the bucket, whose
notification S3 tries out before it takes it, which is a circle. A rule names both, and neither names it.
"""

from __future__ import annotations

from infra.stack.language import Resources, attribute, ref

RETRIES = 2
"""After the first try, a minute and two later: what Lambda allows at most."""

FAILED_SECONDS = 14 * 24 * 3600
"""How long a call that failed can be looked at: what SQS allows at most."""


def resources() -> Resources:
    """Direct uploads exist where there is an edge; the API calls the same function for all."""
    return {
        "StoredRule": {
            "Type": "AWS::Events::Rule",
            "Condition": "HasEdge",
            "Properties": {
                "Description": "A direct upload lies in S3",
                "State": "ENABLED",
                "EventPattern": {
                    "source": ["aws.s3"],
                    "detail-type": ["Object Created"],
                    "detail": {"bucket": {"name": [ref("Bucket")]}, "object": {"key": [{"prefix": "direct/"}]}},
                },
                "Targets": [{"Id": "function", "Arn": ref("AdoptAlias")}],
            },
        },
        "StoredPermission": {
            "Type": "AWS::Lambda::Permission",
            "Condition": "HasEdge",
            "Properties": {
                "Action": "lambda:InvokeFunction",
                "FunctionName": ref("AdoptAlias"),
                "Principal": "events.amazonaws.com",
                "SourceArn": attribute("StoredRule", "Arn"),
            },
        },
        "AdoptRetries": {
            "Type": "AWS::Lambda::EventInvokeConfig",
            "Properties": {
                "FunctionName": ref("AdoptFunction"),
                "Qualifier": "live",
                "MaximumRetryAttempts": RETRIES,
                "DestinationConfig": {"OnFailure": {"Destination": attribute("FailedAdoptions", "Arn")}},
            },
            "DependsOn": "AdoptAlias",
        },
        "FailedAdoptions": {
            "Type": "AWS::SQS::Queue",
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",
            "Properties": {"MessageRetentionPeriod": FAILED_SECONDS, "SqsManagedSseEnabled": True},
        },
    }
