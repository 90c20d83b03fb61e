"""The edge: CloudFront, which runs infra/edge/*.js for every request and takes uploads to where they belong.

The functions choose among the distribution's origins by id: ``api`` (also where they choose none), ``storage`` and ``relay``.
An origin need only be in the distribution for that; no behaviour has to name it. Nothing is cached. The key-value store is
filled by ``make deploy`` and the rotation function: its resource takes an import alone.
"""

from __future__ import annotations

from pathlib import Path

from infra.stack.language import Resource, Resources, Value, attribute, chosen, ref, text

FOLDER = Path(__file__).resolve().parents[1] / "edge"

CODE_BYTES = 10_240
"""What CloudFront takes of a function at most."""

UPLOADS = "/v2/*/blobs/uploads/*"
"""The behaviour with viewer-response.js. A star stands for slashes too, and for nothing."""

CACHED_ERRORS = (400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504)
"""Every status that CloudFront lets a rule be made for. It keeps those of GET and HEAD for 10 s unless told otherwise, and
would then tell a push that its blob is missing long after it is there."""

_NOT_CACHED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
"""AWS's managed cache policy CachingDisabled: the same id everywhere."""

_ALL_BUT_HOST = "b689b0a8-53d0-40ab-baf2-38738e2966ac"
"""AWS's managed origin request policy AllViewerExceptHostHeader: the whole query, and all headers as viewer-request.js left
them, those it added too. Host must be the origin's own: API Gateway and S3 go by it."""

_METHODS: list[Value] = ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"]

API_SECONDS = 60
"""Twice what the HTTP API takes before it gives up."""


def resources() -> Resources:
    made: Resources = {
        "KeyValueStore": {
            "Type": "AWS::CloudFront::KeyValueStore",
            "Properties": {"Name": _name(), "Comment": "settings and keys of upload states"},
        },
        "StorageAccess": {
            "Type": "AWS::CloudFront::OriginAccessControl",
            "Properties": {
                "OriginAccessControlConfig": {
                    "Name": _name(),
                    "OriginAccessControlOriginType": "s3",
                    "SigningBehavior": "always",
                    "SigningProtocol": "sigv4",
                }
            },
        },
        "ViewerRequest": _function("viewer-request", knows_store=True),
        "ViewerResponse": _function("viewer-response", knows_store=False),
        "Distribution": _distribution(),
    }
    for resource in made.values():
        resource["Condition"] = "HasEdge"
    return made


def _name(suffix: str = "") -> Value:
    """CloudFront's names are an account's, for all regions."""
    return text("${AWS::StackName}-${AWS::Region}" + suffix)


def _function(event: str, *, knows_store: bool) -> Resource:
    config: dict[str, Value] = {"Comment": f"infra/edge/{event}.js", "Runtime": "cloudfront-js-2.0"}
    if knows_store:
        config["KeyValueStoreAssociations"] = [{"KeyValueStoreARN": attribute("KeyValueStore", "Arn")}]
    return {
        "Type": "AWS::CloudFront::Function",
        "Properties": {
            "Name": _name(f"-{event}"),
            "AutoPublish": True,
            "FunctionCode": (FOLDER / f"{event}.js").read_text("utf-8"),
            "FunctionConfig": config,
        },
    }


def _distribution() -> Resource:
    config: dict[str, Value] = {
        "Comment": ref("AWS::StackName"),
        "Enabled": True,
        "HttpVersion": "http2",
        "IPV6Enabled": True,
        "Aliases": chosen("HasDomain", [ref("Domain")]),
        "ViewerCertificate": chosen(
            "HasDomain",
            {
                "AcmCertificateArn": ref("Certificate"),
                "MinimumProtocolVersion": "TLSv1.2_2021",
                "SslSupportMethod": "sni-only",
            },
            {"CloudFrontDefaultCertificate": True},  # whose oldest protocol is CloudFront's to choose
        ),
        "Origins": [_api(), _storage(), chosen("RunsRelay", _relay_service(), chosen("HasRelay", _relay_elsewhere()))],
        "DefaultCacheBehavior": _behaviour("viewer-request"),
        "CacheBehaviors": [{"PathPattern": UPLOADS, **_behaviour("viewer-request", "viewer-response")}],
        "CustomErrorResponses": [{"ErrorCode": code, "ErrorCachingMinTTL": 0} for code in CACHED_ERRORS],
        "Logging": chosen("LogsAccess", {"Bucket": ref("AccessLogBucket"), "Prefix": text("${AWS::StackName}/")}),
    }
    return {"Type": "AWS::CloudFront::Distribution", "Properties": {"DistributionConfig": config}}


def _behaviour(*events: str) -> dict[str, Value]:
    functions = {"viewer-request": "ViewerRequest", "viewer-response": "ViewerResponse"}
    return {
        "TargetOriginId": "api",
        "ViewerProtocolPolicy": "https-only",
        "AllowedMethods": _METHODS,
        "CachedMethods": ["GET", "HEAD"],
        "CachePolicyId": _NOT_CACHED,
        "OriginRequestPolicyId": _ALL_BUT_HOST,
        "Compress": False,  # a client hashes what it gets
        "FunctionAssociations": [
            {"EventType": event, "FunctionARN": attribute(functions[event], "FunctionARN")} for event in events
        ],
    }


def _api() -> Value:
    return {
        "Id": "api",
        "DomainName": text("${HttpApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}"),
        "CustomOriginConfig": _https(API_SECONDS),
    }


def _storage() -> Value:
    return {
        "Id": "storage",
        "DomainName": attribute("Bucket", "RegionalDomainName"),
        "OriginAccessControlId": attribute("StorageAccess", "Id"),
        "S3OriginConfig": {"OriginAccessIdentity": "", "OriginReadTimeout": ref("OriginTimeout")},
    }


def _relay_service() -> Value:
    """CloudFront reaches it inside the VPC; only a function that chooses it by id can send anything there."""
    return {
        "Id": "relay",
        "DomainName": attribute("RelayBalancer", "DNSName"),
        "VpcOriginConfig": {
            "VpcOriginId": attribute("RelayOrigin", "Id"),
            "OriginReadTimeout": ref("OriginTimeout"),
            "OriginKeepaliveTimeout": 60,
        },
    }


def _relay_elsewhere() -> Value:
    return {"Id": "relay", "DomainName": ref("RelayDomain"), "CustomOriginConfig": _https(ref("OriginTimeout"))}


def _https(seconds: Value) -> Value:
    return {
        "HTTPSPort": 443,
        "OriginProtocolPolicy": "https-only",
        "OriginSSLProtocols": ["TLSv1.2"],
        "OriginReadTimeout": seconds,
        "OriginKeepaliveTimeout": 60,
    }
