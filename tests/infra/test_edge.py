"""The edge in the template: what CloudFront, S3 and KMS do on AWS and no emulator does."""

from __future__ import annotations

import re

import pytest

from infra.stack.edge import CODE_BYTES, FOLDER
from tests.infra.templates import CHOICES, Json, chosen, of_type, resource

CACHED = (400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504)
MANAGED = {"CachingDisabled": "4135ea2d-6df8-44a3-9df3-4b5a84be39ad", "AllButHost": "b689b0a8-53d0-40ab-baf2-38738e2966ac"}


def distribution(choice: str = "defaults") -> Json:
    return resource("Distribution", choice)["DistributionConfig"]


def behaviours(choice: str = "defaults") -> list[Json]:
    config = distribution(choice)
    return [config["DefaultCacheBehavior"], *config["CacheBehaviors"]]


def origin(name: str, choice: str = "defaults") -> Json:
    (found,) = [each for each in distribution(choice)["Origins"] if each["Id"] == name]
    return found


def statements(choice: str = "defaults") -> dict[str, Json]:
    policy = resource("BucketPolicy", choice)["PolicyDocument"]
    return {each["Sid"]: each for each in policy["Statement"]}


# --------------------------------------------------------------------------------------------------------------- functions


@pytest.mark.parametrize(("name", "file"), [("ViewerRequest", "viewer-request.js"), ("ViewerResponse", "viewer-response.js")])
def test_the_functions_are_the_very_files_and_small_enough(name: str, file: str) -> None:
    function = resource(name)
    assert function["FunctionCode"] == (FOLDER / file).read_text("utf-8")
    assert len(function["FunctionCode"].encode()) < CODE_BYTES == 10 * 1024
    assert function["AutoPublish"]
    assert function["FunctionConfig"]["Runtime"] == "cloudfront-js-2.0"


def test_only_the_request_s_function_reads_the_store() -> None:
    associated = resource("ViewerRequest")["FunctionConfig"]["KeyValueStoreAssociations"]
    assert associated == [{"KeyValueStoreARN": {"Fn::GetAtt": ["KeyValueStore", "Arn"]}}]
    assert "KeyValueStoreAssociations" not in resource("ViewerResponse")["FunctionConfig"]


def test_every_request_is_looked_at_and_the_answers_to_uploads() -> None:
    events = [{each["EventType"]: each["FunctionARN"] for each in one["FunctionAssociations"]} for one in behaviours()]
    request, response = ({"Fn::GetAtt": [name, "FunctionARN"]} for name in ("ViewerRequest", "ViewerResponse"))
    assert events == [{"viewer-request": request}, {"viewer-request": request, "viewer-response": response}]


def test_the_uploads_behaviour_takes_every_upload_and_nothing_else() -> None:
    pattern = re.compile(re.escape(distribution()["CacheBehaviors"][0]["PathPattern"]).replace(r"\*", ".*"))
    for path in ("/v2/a/blobs/uploads/", "/v2/a/b/c/blobs/uploads/0123", "/v2/a%2Fb/blobs/uploads/1"):
        assert pattern.fullmatch(path)
    for path in ("/v2/", "/v2/a/blobs/sha256:0", "/v2/a/manifests/uploads", "/auth/token"):
        assert not pattern.fullmatch(path)


@pytest.mark.parametrize("choice", ["defaults", "relay", "relay elsewhere"])
def test_the_origins_are_those_that_the_functions_choose(choice: str) -> None:
    chosen_by_code = set(re.findall(r"selectRequestOriginById\('(\w+)'\)", (FOLDER / "viewer-request.js").read_text("utf-8")))
    origins = {each["Id"] for each in distribution(choice)["Origins"]}
    assert origins == {"api", "storage"} | ({"relay"} if "relay" in choice else set())
    assert chosen_by_code == {"storage", "relay"}
    assert {each["TargetOriginId"] for each in behaviours(choice)} == {"api"}


# ------------------------------------------------------------------------------------------------------------ distribution


@pytest.mark.parametrize("code", CACHED)
def test_no_error_is_kept(code: int) -> None:
    (rule,) = [each for each in distribution()["CustomErrorResponses"] if each["ErrorCode"] == code]
    assert rule == {"ErrorCode": code, "ErrorCachingMinTTL": 0}  # and no page of CloudFront's in place of the registry's


def test_nothing_is_cached_and_everything_passes() -> None:
    for behaviour in behaviours():
        assert behaviour["CachePolicyId"] == MANAGED["CachingDisabled"]
        assert behaviour["OriginRequestPolicyId"] == MANAGED["AllButHost"]
        assert set(behaviour["AllowedMethods"]) == {"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"}
        assert not behaviour["Compress"]


@pytest.mark.parametrize("choice", ["defaults", "own domain"])
def test_nothing_is_spoken_but_tls(choice: str) -> None:
    assert {each["ViewerProtocolPolicy"] for each in behaviours(choice)} == {"https-only"}
    certificate = distribution(choice)["ViewerCertificate"]
    if choice == "defaults":
        assert certificate == {"CloudFrontDefaultCertificate": True}
        assert "Aliases" not in distribution(choice)
    else:
        assert certificate["MinimumProtocolVersion"] == "TLSv1.2_2021"
        assert certificate["AcmCertificateArn"] == {"Ref": "Certificate"}
        assert distribution(choice)["Aliases"] == [{"Ref": "Domain"}]


def test_origins_are_reached_by_tls() -> None:
    for found in (origin("api"), origin("relay", "relay elsewhere")):
        assert found["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"
        assert found["CustomOriginConfig"]["OriginSSLProtocols"] == ["TLSv1.2"]


def test_the_edge_waits_longer_than_whoever_it_waits_for() -> None:
    parameter = chosen()["Parameters"]["OriginTimeout"]
    assert parameter["Default"] == 120
    assert parameter["MinValue"] > 110  # what the relay holds a request for
    held = {"Ref": "OriginTimeout"}
    assert origin("storage")["S3OriginConfig"]["OriginReadTimeout"] == held
    assert origin("relay", "relay")["VpcOriginConfig"]["OriginReadTimeout"] == held
    assert origin("relay", "relay elsewhere")["CustomOriginConfig"]["OriginReadTimeout"] == held
    gateway = resource("HttpApiIntegration")["TimeoutInMillis"] / 1000
    assert origin("api")["CustomOriginConfig"]["OriginReadTimeout"] > gateway


def test_access_logs_only_where_asked_for() -> None:
    assert "Logging" not in distribution()
    assert distribution("logged")["Logging"]["Bucket"] == {"Ref": "AccessLogBucket"}


# ----------------------------------------------------------------------------------------------------------------- storage


def test_what_goes_to_s3_is_always_signed_by_the_edge() -> None:
    assert origin("storage")["OriginAccessControlId"] == {"Fn::GetAtt": ["StorageAccess", "Id"]}
    assert origin("storage")["DomainName"] == {"Fn::GetAtt": ["Bucket", "RegionalDomainName"]}
    control = resource("StorageAccess")["OriginAccessControlConfig"]
    assert (control["SigningBehavior"], control["SigningProtocol"]) == ("always", "sigv4")
    assert control["OriginAccessControlOriginType"] == "s3"


def test_the_edge_may_write_direct_uploads_and_nothing_else() -> None:
    (allowed,) = [each for each in statements().values() if each["Effect"] == "Allow"]
    assert allowed["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    assert allowed["Action"] == "s3:PutObject"
    assert allowed["Resource"] == {"Fn::Sub": "${Bucket.Arn}/direct/*"}
    arn = "arn:${AWS::Partition}:cloudfront::${AWS::AccountId}:distribution/${Distribution}"
    assert allowed["Condition"] == {"StringEquals": {"aws:SourceArn": {"Fn::Sub": arn}}}
    assert not [each for each in statements("no edge").values() if each["Effect"] == "Allow"]


@pytest.mark.parametrize("choice", CHOICES)
def test_nothing_unhashed_and_no_link_writes_direct_uploads(choice: str) -> None:
    found = statements(choice)
    for name in ("DirectUploadsAreHashed", "DirectUploadsAreNoLinks"):
        statement = found[name]
        assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:PutObject")
        assert statement["Resource"] == {"Fn::Sub": "${Bucket.Arn}/direct/*"}
    hashed, linked = found["DirectUploadsAreHashed"]["Condition"], found["DirectUploadsAreNoLinks"]["Condition"]
    assert hashed == {"StringLike": {"s3:x-amz-content-sha256": ["UNSIGNED-PAYLOAD", "STREAMING-*"]}}
    assert linked == {"StringEquals": {"s3:authType": ["REST-QUERY-STRING", "POST"]}}


@pytest.mark.parametrize("choice", CHOICES)
def test_the_bucket_takes_no_request_without_tls_unless_an_emulator_has_none(choice: str) -> None:
    found = statements(choice)
    if choice == "emulator":
        assert "TlsOnly" not in found
        return
    statement = found["TlsOnly"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [{"Fn::GetAtt": ["Bucket", "Arn"]}, {"Fn::Sub": "${Bucket.Arn}/*"}]


def test_s3_may_seal_what_the_edge_writes() -> None:
    (account, edge) = resource("ContentKey")["KeyPolicy"]["Statement"]
    assert account["Sid"] == "LeaveItToIam"
    assert edge["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    assert set(edge["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey"}
    arn = "arn:${AWS::Partition}:cloudfront::${AWS::AccountId}:distribution/*"
    assert edge["Condition"] == {"ArnLike": {"aws:SourceArn": {"Fn::Sub": arn}}}
    assert len(resource("ContentKey", "no edge")["KeyPolicy"]["Statement"]) == 1
    assert len(resource("WrappingKey")["KeyPolicy"]["Statement"]) == 1


def test_what_is_stored_is_told_to_the_adoption_function() -> None:
    assert resource("Bucket")["NotificationConfiguration"] == {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}
    pattern = resource("StoredRule")["EventPattern"]
    assert pattern["detail"] == {"bucket": {"name": [{"Ref": "Bucket"}]}, "object": {"key": [{"prefix": "direct/"}]}}
    assert (pattern["source"], pattern["detail-type"]) == (["aws.s3"], ["Object Created"])
    retries = resource("AdoptRetries")
    assert (retries["Qualifier"], retries["MaximumRetryAttempts"]) == ("live", 2)
    assert retries["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": ["FailedAdoptions", "Arn"]}


# ------------------------------------------------------------------------------------------------- addresses, tracing, none


@pytest.mark.parametrize(
    ("choice", "url", "lanes"),
    [
        ("defaults", {"Fn::Sub": "https://${Distribution.DomainName}"}, "direct"),
        ("relay", {"Fn::Sub": "https://${Distribution.DomainName}"}, "direct,relay"),
        ("relay elsewhere", {"Fn::Sub": "https://${Distribution.DomainName}"}, "direct,relay"),
        ("own domain", {"Fn::Sub": "https://${Domain}"}, "direct"),
        ("own url", {"Ref": "PublicUrl"}, "direct"),
        ("no edge", {"Fn::GetAtt": ["HttpApi", "ApiEndpoint"]}, None),
    ],
)
def test_the_functions_know_where_they_are_reached_and_by_which_lanes(choice: str, url: Json, lanes: str | None) -> None:
    variables = resource("ApiFunction", choice)["Environment"]["Variables"]
    assert variables["SLIPWAY_PUBLIC_URL"] == url == chosen(choice)["Outputs"]["Url"]["Value"]
    assert variables.get("SLIPWAY_LANES") == lanes
    assert chosen(choice)["Outputs"]["Lanes"]["Value"] == (lanes or "none")
    assert ("SLIPWAY_RELAY_SECRET" in variables) == (lanes == "direct,relay")


@pytest.mark.parametrize(("choice", "mode"), [("defaults", "PassThrough"), ("traced", "Active")])
def test_traces_where_asked_for(choice: str, mode: str) -> None:
    for name, function in of_type("AWS::Lambda::Function", choice).items():
        if name == "RotateFunction":
            continue
        assert function["Properties"]["TracingConfig"] == {"Mode": mode}
        (policy,) = resource(name.replace("Function", "Role"), choice)["Policies"]
        actions = [action for each in policy["PolicyDocument"]["Statement"] for action in each["Action"]]
        assert ("xray:PutTraceSegments" in actions) == (mode == "Active")


def test_without_an_edge_nothing_of_it_is_there() -> None:
    assert not [name for name, each in chosen("no edge")["Resources"].items() if "CloudFront" in each["Type"]]
    assert "NotificationConfiguration" not in resource("Bucket", "no edge")
    assert {"KeyValueStore", "Distribution", "DistributionDomain", "RelaySecret"}.isdisjoint(chosen("no edge")["Outputs"])
    assert not [name for name in chosen("no edge, all asked for")["Resources"] if name.startswith(("Relay", "Rotate"))]
