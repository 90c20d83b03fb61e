"""The CloudFormation template, put together from parts: each module makes the resources of one kind and names no other's.

Nothing in it is tied to an account, a region or a partition. The edge and the relay can be left out (conditions HasEdge and
RunsRelay).
"""

from __future__ import annotations

from infra.stack import (
    bucket,
    edge,
    events,
    functions,
    http_api,
    keys,
    outputs,
    parameters,
    relay,
    roles,
    rotation,
    schedules,
    table,
)
from infra.stack.declared import Declared
from infra.stack.language import Template


def template(declared: Declared, code_key: str, rotation_key: str) -> Template:
    """The template of what Chalice found declared, whose code lies under ``code_key`` in the deployment bucket, and of the
    rotation function, whose code lies under ``rotation_key``."""
    resources = {
        **table.resources(),
        **bucket.resources(),
        **keys.resources(),
        **http_api.resources(),
        **schedules.resources(declared.schedules),
        **events.resources(),
        **edge.resources(),
        **rotation.resources(declared.functions[0].runtime, declared.log_days, rotation_key),
        **relay.resources(),
    }
    for function in declared.functions:
        resources |= roles.resources(function.name)
        resources |= functions.resources(function, declared.log_days, code_key)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Slipway, a container registry without servers",
        "Metadata": {"AWS::CloudFormation::Interface": parameters.INTERFACE},
        "Parameters": parameters.PARAMETERS,
        "Conditions": parameters.CONDITIONS,
        "Rules": parameters.RULES,
        "Resources": resources,
        "Outputs": outputs.OUTPUTS,
    }
