"""The template: what the emulator does not enforce, and what must never be lost from it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.package import declarations
from infra.stack import template
from infra.stack.declared import StageUnknown
from infra.stack.roles import ALLOWED
from tests.infra.templates import CHOICES, STAGES, chosen, made, named

DATA = ("Table", "Bucket", "SigningKey", "WrappingKey", "ContentKey", "AdminSecret", "UploadSecret")


def properties(name: str) -> dict[str, Any]:
    found: dict[str, Any] = made()["Resources"][name]["Properties"]
    return found


def of_type(kind: str) -> dict[str, Any]:
    return {name: each for name, each in made()["Resources"].items() if each["Type"] == kind}


@pytest.mark.parametrize("stage", STAGES)
def test_cfn_lint_finds_nothing(stage: str, tmp_path: Path) -> None:
    path = tmp_path / "template.json"
    path.write_text(json.dumps(made(stage)))
    lint = Path(sys.executable).with_name("cfn-lint")
    run = subprocess.run([lint, "--include-checks", "I", "--", path], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def test_an_unknown_stage_is_told() -> None:
    with pytest.raises(StageUnknown, match=r"no stage 'test'.*dev, prod"):
        declarations("test")


def test_chalice_declares_the_functions_and_their_sizes() -> None:
    found = {each.name: (each.handler, each.memory, each.timeout) for each in declarations("prod").functions}
    assert found == {
        "api_handler": ("app.app", 1769, 30),
        "adopt": ("app.adopt", 1769, 900),
        "run_jobs": ("app.run_jobs", 512, 900),
        "ensure_admin": ("app.ensure_admin", 512, 60),
    }
    assert {each.function: each.expression for each in declarations("prod").schedules} == {"run_jobs": "rate(1 minute)"}


@pytest.mark.parametrize("choice", CHOICES)
def test_everything_that_is_named_is_there_and_nothing_goes_round(choice: str) -> None:
    whole = chosen(choice)
    resources = whole["Resources"]
    named_by = {name: set(named(each)) for name, each in resources.items()}
    outputs = {name for each in whole["Outputs"].values() for name in named(each)}
    known = whole["Parameters"].keys() | resources.keys()
    for names in (*named_by.values(), outputs):
        assert {name for name in names if not name.startswith("AWS::")} <= known
    waiting = {name: names & resources.keys() for name, names in named_by.items()}
    while waiting:
        ready = {name for name, names in waiting.items() if not names}
        assert ready, f"these name each other: {sorted(waiting)}"
        waiting = {name: names - ready for name, names in waiting.items() if name not in ready}


def test_the_template_is_one_that_cloudformation_takes_from_a_bucket() -> None:
    whole = made()
    assert len(json.dumps(whole)) < 1_000_000
    assert len(whole["Resources"]) < 500
    assert len(whole["Parameters"]) <= 200
    for parameter in whole["Parameters"].values():
        assert len(parameter["Description"]) < 4_000


def test_what_a_relay_needs_is_asked_for_first() -> None:
    rules = made()["Rules"]
    asked = json.dumps(rules["RelayService"]["Assertions"])
    for parameter in ("Edge", "VpcId", "SubnetIds", "RelayImage", "EdgePrefixList"):
        assert f'{{"Ref": "{parameter}"}}' in asked
    assert "go together" in rules["OwnDomain"]["Assertions"][0]["AssertDescription"]


def test_nothing_is_tied_to_a_region_a_partition_or_an_account() -> None:
    text = json.dumps(made())
    assert not re.search(r"arn:aws[:-]|\b[a-z]{2}-[a-z]+-[0-9]\b|\b[0-9]{12}\b", text)


def test_every_parameter_is_explained() -> None:
    assert all(len(each["Description"]) > 40 for each in made()["Parameters"].values())


def test_the_runtime_is_the_packaging_interpreter_s() -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    assert {each["Properties"]["Runtime"] for each in of_type("AWS::Lambda::Function").values()} == {version}


@pytest.mark.parametrize("name", DATA)
def test_no_update_replaces_data(name: str) -> None:
    assert made()["Resources"][name]["UpdateReplacePolicy"] == "Retain"


def test_the_table() -> None:
    table = properties("Table")
    assert table["DeletionProtectionEnabled"]
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert "StreamSpecification" in table


def test_the_bucket_is_private_and_encrypted() -> None:
    bucket = properties("Bucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["BucketKeyEnabled"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"] == {"Fn::GetAtt": ["ContentKey", "Arn"]}


def test_what_a_crash_leaves_is_dropped_later_than_uploads_live() -> None:
    rules = {each["Id"]: each for each in properties("Bucket")["LifecycleConfiguration"]["Rules"]}
    assert {each["Prefix"]: each["ExpirationInDays"] for each in rules.values() if "ExpirationInDays" in each} == {"proofs/": 2}
    assert rules["unfinished"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 3}
    assert "Prefix" not in rules["unfinished"]
    assert rules["versions"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}


def test_the_keys() -> None:
    signing = properties("SigningKey")
    assert (signing["KeySpec"], signing["KeyUsage"]) == ("ECC_NIST_P256", "SIGN_VERIFY")
    assert all(properties(name)["EnableKeyRotation"] for name in ("WrappingKey", "ContentKey"))


def test_the_http_api_serves_everything_at_its_root() -> None:
    assert properties("HttpApiStage")["StageName"] == "$default"
    assert properties("HttpApiRoute")["RouteKey"] == "$default"
    assert properties("HttpApiIntegration")["PayloadFormatVersion"] == "2.0"


def test_the_challenge_is_put_where_docker_looks_for_it() -> None:
    assert properties("HttpApiIntegration")["ResponseParameters"]["401"]["ResponseParameters"] == [
        {
            "Destination": "overwrite:header.WWW-Authenticate",
            "Source": "$response.header.x-slipway-www-authenticate",
        }
    ]


def test_neither_a_path_nor_a_query_is_logged() -> None:
    logged = properties("HttpApiStage")["AccessLogSettings"]["Format"]
    assert "path" not in logged.lower()
    assert "query" not in logged.lower()
    assert "authorization" not in logged.lower()


def test_everybody_calls_an_alias() -> None:
    assert "${ApiAlias}" in properties("HttpApiIntegration")["IntegrationUri"]["Fn::Sub"]
    rules = of_type("AWS::Events::Rule")
    assert {name: [each["Arn"]["Ref"] for each in rule["Properties"]["Targets"]] for name, rule in rules.items()} == {
        "RunJobsRule": ["RunJobsAlias"],
        "StoredRule": ["AdoptAlias"],
    }
    assert properties("RotateSchedule")["RotationLambdaARN"] == {"Ref": "RotateAlias"}
    assert properties("ApiFunction")["Environment"]["Variables"]["SLIPWAY_ADOPT_FUNCTION"] == {"Ref": "AdoptAlias"}
    for permission in of_type("AWS::Lambda::Permission").values():
        assert permission["Properties"]["FunctionName"]["Ref"].endswith("Alias")
        assert "SourceArn" in permission["Properties"]


def test_a_start_that_failed_is_not_repeated_but_kept() -> None:
    retries = properties("RunJobsRetries")
    assert (retries["Qualifier"], retries["MaximumRetryAttempts"], retries["MaximumEventAgeInSeconds"]) == ("live", 0, 60)
    queue = {"Fn::GetAtt": ["FailedRunJobs", "Arn"]}
    assert retries["DestinationConfig"]["OnFailure"]["Destination"] == queue
    statements = properties("RunJobsRole")["Policies"][0]["PolicyDocument"]["Statement"]
    assert [each["Resource"] for each in statements if each.get("Action") == ["sqs:SendMessage"]] == [queue]


def test_a_version_is_published_whenever_a_function_differs() -> None:
    """CloudFormation makes another version when its description changes, so that names all a function is made of."""
    one, other = declarations("dev"), declarations("prod")
    descriptions = {
        json.dumps(template(found, key, "rotation-0.zip")["Resources"]["ApiVersion"]["Properties"]["Description"])  # type: ignore[index]
        for found, key in ((one, "a.zip"), (one, "b.zip"), (other, "a.zip"))
    }
    assert len(descriptions) == 3
    described = set(named(properties("ApiVersion")))
    assert set(named(properties("ApiFunction"))) & made()["Parameters"].keys() - {"CodeBucket"} <= described


VERSIONS = sorted(of_type("AWS::Lambda::Version"))


@pytest.mark.parametrize("name", VERSIONS)
def test_no_version_is_published_of_an_unchanged_function(name: str) -> None:
    """Lambda would not, and the update would fail: what the description tells is all in the function."""
    _, *decided = properties(name)["Description"]["Fn::Join"][1]
    told = json.dumps(properties(name.replace("Version", "Function")))
    values = [each["Fn::If"][1] if each.get("Fn::If", ("",))[0] == "HasEdge" else each for each in decided]
    assert [value for value in values if json.dumps(value) not in told] == []


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("name", VERSIONS)
def test_the_reason_for_a_version_is_short_enough(choice: str, name: str) -> None:
    resources = chosen(choice)["Resources"]
    if name not in resources:
        assert name == "RotateVersion"
        return
    separator, parts = resources[name]["Properties"]["Description"]["Fn::Join"]
    assert sum(len(separator) + _longest(part) for part in parts) <= 256


def _longest(part: Any) -> int:  # noqa: ANN401  # a template's value
    """Characters of a value in a version's description at most."""
    if isinstance(part, str):
        return len(part)
    if "Ref" in part:
        parameter = made()["Parameters"][part["Ref"]]
        return int(parameter.get("MaxLength", 0)) or max(map(len, parameter["AllowedValues"]))
    return HOST


HOST = 100
"""Characters of an address that AWS makes, at most; or of a domain's, which is a parameter of 90."""


def test_no_secret_stands_in_an_environment() -> None:
    for function in of_type("AWS::Lambda::Function").values():
        text = json.dumps(function["Properties"]["Environment"])
        assert "resolve:" not in text
        assert "SecretString" not in text


def test_each_function_has_a_role_of_its_own() -> None:
    roles = {each["Properties"]["Role"]["Fn::GetAtt"][0] for each in of_type("AWS::Lambda::Function").values()}
    assert len(roles) == len(of_type("AWS::Lambda::Function"))
    assert of_type("AWS::IAM::Role").keys() - roles == {"RelayStarter"}


WITHOUT_RESOURCES = {"ecr:GetAuthorizationToken", "xray:PutTelemetryRecords", "xray:PutTraceSegments"}
"""Calls for which AWS knows no resource."""


@pytest.mark.parametrize("choice", CHOICES)
def test_roles_allow_named_calls_on_named_things(choice: str) -> None:
    roles = [each["Properties"] for each in chosen(choice)["Resources"].values() if each["Type"] == "AWS::IAM::Role"]
    assert roles
    for statement in (each for role in roles for policy in role["Policies"] for each in policy["PolicyDocument"]["Statement"]):
        assert not [action for action in statement["Action"] if "*" in action]
        assert statement["Resource"] != "*" or set(statement["Action"]) <= WITHOUT_RESOURCES
        assert statement["Effect"] == "Allow"


def test_whatever_writes_objects_is_kept_to_its_prefixes() -> None:
    for function in ALLOWED:
        for resource, actions in ALLOWED[function]:
            if any(action.endswith("Object") for action in actions):
                patterns = re.findall(r'"Fn::Sub": "(.*?)"', json.dumps(resource))
                assert patterns
                places = r"\$\{Bucket\.Arn\}/(data|direct|manifests|proofs|registry)/\*"
                assert all(re.fullmatch(places, each) for each in patterns)
                assert not [each for each in patterns if "direct" in each and "s3:PutObject" in actions]


def test_the_content_key_serves_through_s3_alone() -> None:
    statements = chosen()["Resources"]["ApiRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    (statement,) = [each for each in statements if each["Resource"] == {"Fn::GetAtt": ["ContentKey", "Arn"]}]
    services = statement["Condition"]["StringEquals"]["kms:ViaService"]
    assert {each["Fn::Sub"].split(".")[0] for each in services} == {"s3"}


def test_every_function_s_calls_are_written_down() -> None:
    assert {each.name for each in declarations("dev").functions} == ALLOWED.keys()


def test_all_logs_end() -> None:
    groups = of_type("AWS::Logs::LogGroup")
    assert len(groups) == len(of_type("AWS::Lambda::Function")) + 2  # the gateway's, the relays'
    assert all(each["Properties"]["RetentionInDays"] for each in groups.values())
