"""The metadata: one DynamoDB table (chalicelib/aws/dynamo_table.py says what its keys are)."""

from __future__ import annotations

from infra.stack.language import Resources


def resources() -> Resources:
    """UpdateReplacePolicy: a property that makes CloudFormation put another table in this one's place must not cost the data.
    make destroy lifts the deletion protection; a deletion of the stack by hand fails here."""
    return {
        "Table": {
            "Type": "AWS::DynamoDB::Table",
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Retain",
            "Properties": {
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [
                    {"AttributeName": "partition", "AttributeType": "S"},
                    {"AttributeName": "sort", "AttributeType": "S"},
                ],
                "KeySchema": [
                    {"AttributeName": "partition", "KeyType": "HASH"},
                    {"AttributeName": "sort", "KeyType": "RANGE"},
                ],
                "DeletionProtectionEnabled": True,
                "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
                "SSESpecification": {"SSEEnabled": True},
                "StreamSpecification": {"StreamViewType": "NEW_AND_OLD_IMAGES"},
                "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": True},
            },
        }
    }
