"""Scheduled functions: a rule of EventBridge each, which calls the alias."""

from __future__ import annotations

from collections.abc import Iterable

from infra.stack.declared import Schedule, title
from infra.stack.language import Resources, attribute, ref


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
    return made
