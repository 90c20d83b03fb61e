"""What whoever deploys may choose."""

from __future__ import annotations

from infra.stack.language import Value

PARAMETERS: dict[str, Value] = {
    "CodeBucket": {
        "Type": "String",
        "Description": "The deployment bucket that holds the zip; make deploy makes and fills it.",
    },
    "Architecture": {
        "Type": "String",
        "Description": "The processor that the zip was packaged for; make package sets it.",
        "AllowedValues": ["arm64", "x86_64"],
    },
    "PublicUrl": {
        "Type": "String",
        "Default": "",
        "Description": "How clients reach the registry, https://host without a path; the HTTP API's own address if empty. "
        "Tokens and links name it, so set it before the first push to a host of your own.",
        "AllowedPattern": "^$|^https?://[^/?#]+$",
        "ConstraintDescription": "must be https://host[:port] without a path, or empty",
        "MaxLength": 100,
    },
    "SparseManifests": {
        "Type": "String",
        "Default": "none",
        "AllowedValues": ["none", "indexes", "all"],
        "Description": "Whether an index may name manifests that are not here (indexes), or any manifest any content (all).",
    },
    "BlobVersions": {
        "Type": "String",
        "Default": "no",
        "AllowedValues": ["yes", "no"],
        "Description": "Whether S3 keeps what is deleted for 30 days more, to undelete it; nothing is ever overwritten.",
    },
    "EndpointUrl": {
        "Type": "String",
        "Default": "",
        "Description": "For emulators of AWS only: where the functions find its services. Leave it empty on AWS.",
        "MaxLength": 60,
    },
    "RequireTls": {
        "Type": "String",
        "Default": "yes",
        "AllowedValues": ["yes", "no"],
        "Description": "For emulators of AWS only: no, where they speak plain HTTP. On AWS everything is refused without TLS.",
    },
}

INTERFACE: Value = {
    "ParameterGroups": [
        {"Label": {"default": "The registry"}, "Parameters": ["PublicUrl", "SparseManifests"]},
        {"Label": {"default": "Data"}, "Parameters": ["BlobVersions"]},
        {"Label": {"default": "Set by make deploy"}, "Parameters": ["CodeBucket", "Architecture"]},
        {"Label": {"default": "For emulators"}, "Parameters": ["EndpointUrl", "RequireTls"]},
    ]
}

CONDITIONS: dict[str, Value] = {
    "KeepsVersions": {"Fn::Equals": [{"Ref": "BlobVersions"}, "yes"]},
    "HasPublicUrl": {"Fn::Not": [{"Fn::Equals": [{"Ref": "PublicUrl"}, ""]}]},
    "HasEndpointUrl": {"Fn::Not": [{"Fn::Equals": [{"Ref": "EndpointUrl"}, ""]}]},
    "RequiresTls": {"Fn::Equals": [{"Ref": "RequireTls"}, "yes"]},
}
