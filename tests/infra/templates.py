"""The template as CloudFormation reads it, and what of it is left once the parameters are known."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from infra.package import declarations
from infra.stack import template

Json: TypeAlias = Any

STAGES = ("dev", "prod")

PLAIN: dict[str, str] = {"CodeBucket": "code", "Architecture": "arm64"}
RELAY = {
    "Relay": "yes",
    "RelayImage": "relay:1",
    "VpcId": "vpc-1",
    "SubnetIds": "subnet-1,subnet-2",
    "EdgePrefixList": "pl-1",
}
CHOICES: dict[str, dict[str, str]] = {
    "defaults": {},
    "no edge": {"Edge": "no"},
    "no edge, all asked for": {"Edge": "no", "RotationDays": "30", **RELAY},
    "relay": RELAY,
    "relay elsewhere": {"RelayDomain": "relay.example.com"},
    "own domain": {"Domain": "registry.example.com", "Certificate": "arn:aws:acm:a:1:certificate/1"},
    "own url": {"PublicUrl": "https://registry.example.com"},
    "never rotated": {"RotationDays": "0"},
    "traced": {"Tracing": "yes"},
    "emulator": {"RequireTls": "no", "EndpointUrl": "http://127.0.0.1:4566", "RotationDays": "0"},
    "logged": {"AccessLogBucket": "logs.s3.amazonaws.com", "BlobVersions": "yes"},
}
"""Every way to deploy that leads to other resources."""


def made(stage: str = "dev") -> dict[str, Json]:
    """As it is written, JSON and back."""
    parsed: dict[str, Json] = json.loads(json.dumps(template(declarations(stage), "slipway-0.zip", "rotation-0.zip")))
    return parsed


def chosen(choice: str = "defaults", stage: str = "dev") -> dict[str, Json]:
    """The template under those parameters: conditions decided, and nothing else resolved."""
    whole = made(stage)
    values = {name: str(each.get("Default", "")) for name, each in whole["Parameters"].items()} | PLAIN | CHOICES[choice]
    conditions = {name: _holds(each, values, whole["Conditions"]) for name, each in whole["Conditions"].items()}
    for part in ("Resources", "Outputs"):
        kept = {name: each for name, each in whole[part].items() if conditions.get(each.get("Condition", ""), True)}
        whole[part] = _decided(kept, conditions)
    return whole


def resource(name: str, choice: str = "defaults") -> dict[str, Json]:
    found: dict[str, Json] = chosen(choice)["Resources"][name]["Properties"]
    return found


def of_type(kind: str, choice: str = "defaults") -> dict[str, Json]:
    return {name: each for name, each in chosen(choice)["Resources"].items() if each["Type"] == kind}


def named(value: Json) -> Iterator[str]:
    """Every resource and parameter that a value refers to."""
    if isinstance(value, list):
        for each in value:
            yield from named(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            match key, each:
                case "Ref", str():
                    yield each
                case "Fn::GetAtt", [str() as name, *_]:
                    yield name
                case "Fn::Sub", str():
                    yield from _in_text(each)
                case "Fn::Sub", [str() as pattern, dict() as others]:
                    yield from (name for name in _in_text(pattern) if name not in others)
                    yield from named(others)
                case "DependsOn", str():
                    yield each
                case _:
                    yield from named(each)


def _in_text(pattern: str) -> Iterator[str]:
    for part in pattern.split("${")[1:]:
        yield part.partition("}")[0].partition(".")[0]


def _holds(condition: Json, values: Mapping[str, str], others: Mapping[str, Json]) -> bool:
    ((kind, parts),) = condition.items()
    match kind:
        case "Fn::Equals":
            return bool(values[parts[0]["Ref"]] == parts[1])
        case "Fn::Not":
            return not _holds(parts[0], values, others)
        case "Fn::And":
            return all(_holds(part, values, others) for part in parts)
        case "Fn::Or":
            return any(_holds(part, values, others) for part in parts)
        case "Condition":
            return _holds(others[parts], values, others)
    raise ValueError(kind)


_NOTHING = {"Ref": "AWS::NoValue"}


def _decided(value: Json, conditions: Mapping[str, bool]) -> Json:
    if isinstance(value, list):
        decided = [_decided(each, conditions) for each in value]
        return [each for each in decided if each != _NOTHING]
    if not isinstance(value, dict):
        return value
    if "Fn::If" in value:
        condition, yes, no = value["Fn::If"]
        return _decided(yes if conditions[condition] else no, conditions)
    found = {key: _decided(each, conditions) for key, each in value.items()}
    return {key: each for key, each in found.items() if each != _NOTHING}
