"""CloudFormation's own functions, as values of a template."""

from __future__ import annotations

from typing import TypeAlias

Value: TypeAlias = "str | int | bool | list[Value] | dict[str, Value]"
Resource: TypeAlias = "dict[str, Value]"
Resources: TypeAlias = "dict[str, Resource]"
Template: TypeAlias = "dict[str, object]"

NO_VALUE: Value = {"Ref": "AWS::NoValue"}


def ref(name: str) -> Value:
    return {"Ref": name}


def attribute(resource: str, name: str) -> Value:
    return {"Fn::GetAtt": [resource, name]}


def text(pattern: str) -> Value:
    """A text in which ${...} stands for parameters and resources."""
    return {"Fn::Sub": pattern}


def chosen(condition: str, value: Value, otherwise: Value = NO_VALUE) -> Value:
    return {"Fn::If": [condition, value, otherwise]}
