"""The CloudFormation template, put together from parts: each module makes the resources of one kind and names no other's.

Nothing in it is tied to an account, a region or a partition. The edge (CloudFront, its functions, the relay) will be one more
part here: it stands before ``http_api`` and needs only its endpoint and the bucket.
"""

from __future__ import annotations

from infra.stack import bucket, functions, http_api, keys, outputs, parameters, roles, schedules, table
from infra.stack.declared import Declared
from infra.stack.language import Template


def template(declared: Declared, code_key: str) -> Template:
    """The template of what Chalice found declared, whose code lies under ``code_key`` in the deployment bucket."""
    resources = {
        **table.resources(),
        **bucket.resources(),
        **keys.resources(),
        **http_api.resources(),
        **schedules.resources(declared.schedules),
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
        "Resources": resources,
        "Outputs": outputs.OUTPUTS,
    }
