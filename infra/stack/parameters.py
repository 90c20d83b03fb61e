"""What whoever deploys may choose."""

from __future__ import annotations

from infra.stack.language import Value

_YES_OR_NO: list[Value] = ["yes", "no"]

PARAMETERS: dict[str, Value] = {
    "CodeBucket": {
        "Type": "String",
        "Description": "The deployment bucket that holds the zips; make deploy makes and fills it.",
    },
    "Architecture": {
        "Type": "String",
        "Description": "The processor that the zips were packaged for; make package sets it. The relay's image is for it too.",
        "AllowedValues": ["arm64", "x86_64"],
    },
    "PublicUrl": {
        "Type": "String",
        "Default": "",
        "Description": "How clients reach the registry, https://host without a path. If empty: Domain, else the distribution's "
        "own host, else (Edge=no) the HTTP API's. Tokens and links name it: set it before the first push to your own host.",
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
    "Tracing": {
        "Type": "String",
        "Default": "no",
        "AllowedValues": _YES_OR_NO,
        "Description": "Whether the functions send traces to X-Ray, with a subsegment for each call of a service.",
    },
    "RequestLog": {
        "Type": "String",
        "Default": "changes",
        "AllowedValues": ["changes", "all", "none"],
        "Description": "Which requests the functions log: those that change something or are refused, all, or none.",
    },
    "BlobVersions": {
        "Type": "String",
        "Default": "no",
        "AllowedValues": _YES_OR_NO,
        "Description": "Whether S3 keeps what is deleted for 30 days more, to undelete it; nothing is ever overwritten.",
    },
    "Edge": {
        "Type": "String",
        "Default": "yes",
        "AllowedValues": _YES_OR_NO,
        "Description": "Whether CloudFront stands in front, which takes layers of any size; no, where a partition has none: "
        "then clients reach the HTTP API, and bodies end at about 4.5 MB.",
    },
    "Domain": {
        "Type": "String",
        "Default": "",
        "Description": "A host name of your own for the distribution; it needs Certificate, and a DNS record that you make.",
        "AllowedPattern": "^$|^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
        "ConstraintDescription": "must be a host name without https://, or empty",
        "MaxLength": 90,
    },
    "Certificate": {
        "Type": "String",
        "Default": "",
        "Description": "The ARN of ACM's certificate for Domain. CloudFront takes it from its home region alone, which is "
        "N. Virginia in the commercial partition, wherever the stack is.",
        "AllowedPattern": "^$|^arn:[^:]+:acm:[^:]+:[^:]+:certificate/.+$",
        "ConstraintDescription": "must be the ARN of a certificate, or empty",
    },
    "OriginTimeout": {
        "Type": "Number",
        "Default": 120,
        "MinValue": 115,
        "MaxValue": 180,
        "Description": "Seconds that the edge waits for an answer of S3 or the relay, which holds an upload's last request for "
        "up to 110. More than 120 may need a higher quota of CloudFront's.",
    },
    "AccessLogBucket": {
        "Type": "String",
        "Default": "",
        "Description": "The domain name of a bucket with ACLs for CloudFront's own access logs, or empty for none. They name "
        "paths and queries, so repositories and upload states: keep the bucket to yourself.",
    },
    "RotationDays": {
        "Type": "Number",
        "Default": 90,
        "MinValue": 0,
        "MaxValue": 1000,
        "Description": "How often the key of upload states is replaced, at the edge and in the API; 0 for never.",
    },
    "Relay": {
        "Type": "String",
        "Default": "no",
        "AllowedValues": _YES_OR_NO,
        "Description": "Whether a container service of this stack relays what docker (up to 28), podman, skopeo and crane push "
        "in large pieces. It needs Edge=yes, VpcId, SubnetIds and RelayImage, and costs by the hour.",
    },
    "RelayDomain": {
        "Type": "String",
        "Default": "",
        "Description": "The host of a relay that you run elsewhere, reached by https, in place of the service of Relay=yes.",
        "AllowedPattern": "^$|^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
        "ConstraintDescription": "must be a host name without https://, or empty",
    },
    "RelayImage": {
        "Type": "String",
        "Default": "",
        "Description": "The relay's image, built from infra/relay for Architecture, where the service can pull it.",
    },
    "RelayTasks": {
        "Type": "Number",
        "Default": 2,
        "MinValue": 1,
        "MaxValue": 100,
        "Description": "How many relays run; each relays as many uploads at once as its memory allows.",
    },
    "VpcId": {
        "Type": "String",
        "Default": "",
        "Description": "The relay's VPC. It must have an internet gateway, though nothing of the relay is reached through it.",
    },
    "SubnetIds": {
        "Type": "String",
        "Default": "",
        "Description": "The relay's subnets, with commas between, in two zones or more, with a way out to S3 and the HTTP API "
        "(a NAT gateway; for S3 a gateway endpoint, which costs nothing).",
    },
    "SubnetsArePublic": {
        "Type": "String",
        "Default": "no",
        "AllowedValues": _YES_OR_NO,
        "Description": "Whether the subnets' way out is an internet gateway: the relays then need public addresses to use it.",
    },
    "EdgePrefixList": {
        "Type": "String",
        "Default": "",
        "Description": "The region's managed prefix list of CloudFront's origin-facing addresses, who alone may reach the "
        "relay; make deploy looks it up.",
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
        "AllowedValues": _YES_OR_NO,
        "Description": "For emulators of AWS only: no, where they speak plain HTTP. On AWS everything is refused without TLS.",
    },
}

INTERFACE: Value = {
    "ParameterGroups": [
        {"Label": {"default": "The registry"}, "Parameters": ["PublicUrl", "SparseManifests", "Tracing", "RequestLog"]},
        {"Label": {"default": "Data"}, "Parameters": ["BlobVersions"]},
        {
            "Label": {"default": "The edge"},
            "Parameters": ["Edge", "Domain", "Certificate", "OriginTimeout", "AccessLogBucket", "RotationDays"],
        },
        {
            "Label": {"default": "The relay"},
            "Parameters": ["Relay", "RelayImage", "RelayTasks", "VpcId", "SubnetIds", "SubnetsArePublic", "RelayDomain"],
        },
        {"Label": {"default": "Set by make deploy"}, "Parameters": ["CodeBucket", "Architecture", "EdgePrefixList"]},
        {"Label": {"default": "For emulators"}, "Parameters": ["EndpointUrl", "RequireTls"]},
    ]
}


def _is(parameter: str, value: str) -> Value:
    return {"Fn::Equals": [{"Ref": parameter}, value]}


def _given(parameter: str) -> Value:
    return {"Fn::Not": [_is(parameter, "")]}


def _also(condition: str) -> Value:
    return {"Condition": condition}


CONDITIONS: dict[str, Value] = {
    "KeepsVersions": _is("BlobVersions", "yes"),
    "HasPublicUrl": _given("PublicUrl"),
    "HasDomain": {"Fn::And": [_given("Domain"), _given("Certificate")]},
    "HasEndpointUrl": _given("EndpointUrl"),
    "RequiresTls": _is("RequireTls", "yes"),
    "HasTracing": _is("Tracing", "yes"),
    "HasEdge": _is("Edge", "yes"),
    "LogsAccess": _given("AccessLogBucket"),
    "Rotates": {"Fn::And": [_also("HasEdge"), {"Fn::Not": [_is("RotationDays", "0")]}]},
    "RunsRelay": {
        "Fn::And": [_also("HasEdge"), _is("Relay", "yes"), _is("RelayDomain", ""), _given("VpcId"), _given("SubnetIds")]
    },
    "HasRelay": {"Fn::And": [_also("HasEdge"), {"Fn::Or": [_is("Relay", "yes"), _given("RelayDomain")]}]},
    "IsArm": _is("Architecture", "arm64"),
    "SubnetsArePublic": _is("SubnetsArePublic", "yes"),
}


def _needs(assertion: Value, told: str) -> Value:
    return {"Assert": assertion, "AssertDescription": told}


RULES: dict[str, Value] = {
    "RelayService": {
        "RuleCondition": {"Fn::And": [_is("Relay", "yes"), _is("RelayDomain", "")]},
        "Assertions": [
            _needs(_is("Edge", "yes"), "Relay=yes needs Edge=yes: nobody else sends it anything"),
            _needs(_given("VpcId"), "Relay=yes needs VpcId"),
            _needs(_given("SubnetIds"), "Relay=yes needs SubnetIds"),
            _needs(_given("RelayImage"), "Relay=yes needs RelayImage"),
            _needs(_given("EdgePrefixList"), "Relay=yes needs EdgePrefixList, which make deploy looks up"),
        ],
    },
    "OwnDomain": {
        "RuleCondition": {"Fn::Or": [_given("Domain"), _given("Certificate")]},
        "Assertions": [
            _needs({"Fn::And": [_given("Domain"), _given("Certificate")]}, "Domain and Certificate go together"),
        ],
    },
}
"""What CloudFormation refuses before it begins."""
