"""Scheduled functions: a rule of EventBridge each, which calls the alias.

A call that fails, as by a function that was killed at its timeout, is not repeated: the next one comes by itself, and finds
what there is to do. It is kept in a queue, to be seen.
"""

from __future__ import annotations

from collections.abc import Iterable

from infra.stack.declared import Schedule, title
from infra.stack.language import Resources, attribute, ref

OLDEST_SECONDS = 60
"""A call that could not be made for so long is given up: what Lambda allows at least."""

FAILED_SECONDS = 14 * 24 * 3600
"""How long a call that failed can be looked at: what SQS allows at most."""


def resources(schedules: Iterable[Schedule]) -> Resources:
    made: Resources = {}
    for schedule in schedules:
        function = title(schedule.function)
        made[f"{function}Rule"] = {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "Description": schedule.description,
                "ScheduleExpression": schedule.expression,
                "State": "ENABLED",
                "Targets": [{"Id": "function", "Arn": ref(f"{function}Alias")}],
            },
        }
        made[f"{function}Permission"] = {
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "Action": "lambda:InvokeFunction",
                "FunctionName": ref(f"{function}Alias"),
                "Principal": "events.amazonaws.com",
                "SourceArn": attribute(f"{function}Rule", "Arn"),
            },
        }
        made[f"{function}Retries"] = {
            "Type": "AWS::Lambda::EventInvokeConfig",
            "Properties": {
                "FunctionName": ref(f"{function}Function"),
                "Qualifier": "live",
                "MaximumRetryAttempts": 0,
                "MaximumEventAgeInSeconds": OLDEST_SECONDS,
                "DestinationConfig": {"OnFailure": {"Destination": attribute(f"Failed{function}", "Arn")}},
            },
            "DependsOn": f"{function}Alias",
        }
        made[f"Failed{function}"] = {
            "Type": "AWS::SQS::Queue",
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",
            "Properties": {"MessageRetentionPeriod": FAILED_SECONDS, "SqsManagedSseEnabled": True},
        }
    return made
