"""The HTTP API: everything to one function, payload format 2.0, no stage in the path.

API Gateway may rename a function's WWW-Authenticate (reports disagree), without which no docker client logs in. So the door
sends its challenge twice, and the second copy is put where the first belongs.
"""

from __future__ import annotations

import json

from infra.stack.language import Resource, Resources, Value, attribute, ref, text

_LOGGED = {
    "requestId": "$context.requestId",
    "method": "$context.httpMethod",
    "status": "$context.status",
    "length": "$context.responseLength",
    "latency": "$context.responseLatency",
    "error": "$context.integrationErrorMessage",
}
"""Neither paths nor queries: an upload's state is in its query, and a repository's name may be a secret."""


def resources() -> Resources:
    return {
        "HttpApi": {
            "Type": "AWS::ApiGatewayV2::Api",
            "Properties": {"Name": ref("AWS::StackName"), "ProtocolType": "HTTP"},
        },
        "HttpApiIntegration": _integration(),
        "HttpApiRoute": _route(),
        "HttpApiStage": _stage(),
        "HttpApiLogs": {
            "Type": "AWS::Logs::LogGroup",
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",
            "Properties": {"RetentionInDays": 30},
        },
        "HttpApiPermission": _permission(),
    }


def _integration() -> Resource:
    challenge: Value = {
        "Destination": "overwrite:header.WWW-Authenticate",
        "Source": "$response.header.x-slipway-www-authenticate",
    }
    return {
        "Type": "AWS::ApiGatewayV2::Integration",
        "Properties": {
            "ApiId": ref("HttpApi"),
            "IntegrationType": "AWS_PROXY",
            "IntegrationUri": text(
                "arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${ApiAlias}/invocations"
            ),
            "PayloadFormatVersion": "2.0",
            "TimeoutInMillis": 30_000,
            "ResponseParameters": {"401": {"ResponseParameters": [challenge]}},
        },
    }


def _route() -> Resource:
    return {
        "Type": "AWS::ApiGatewayV2::Route",
        "Properties": {
            "ApiId": ref("HttpApi"),
            "RouteKey": "$default",
            "AuthorizationType": "NONE",  # the function authorizes: docker knows no signatures of AWS
            "Target": text("integrations/${HttpApiIntegration}"),
        },
    }


def _stage() -> Resource:
    return {
        "Type": "AWS::ApiGatewayV2::Stage",
        "Properties": {
            "ApiId": ref("HttpApi"),
            "StageName": "$default",
            "AutoDeploy": True,
            "AccessLogSettings": {"DestinationArn": attribute("HttpApiLogs", "Arn"), "Format": json.dumps(_LOGGED)},
        },
    }


def _permission() -> Resource:
    return {
        "Type": "AWS::Lambda::Permission",
        "Properties": {
            "Action": "lambda:InvokeFunction",
            "FunctionName": ref("ApiAlias"),
            "Principal": "apigateway.amazonaws.com",
            "SourceArn": text("arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${HttpApi}/*"),
        },
    }
