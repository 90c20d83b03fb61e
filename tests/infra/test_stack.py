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

STAGES = ("dev", "prod")
DATA = ("Table", "Bucket", "SigningKey", "WrappingKey", "ContentKey", "AdminSecret", "UploadSecret")


def made(stage: str = "dev") -> dict[str, Any]:
    """The template as CloudFormation reads it."""
    parsed: dict[str, Any] = json.loads(json.dumps(template(declarations(stage), "slipway-0.zip")))
    return parsed


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
        "expire_uploads": ("app.expire_uploads", 512, 300),
        "ensure_admin": ("app.ensure_admin", 512, 60),
    }
    assert {each.function: each.expression for each in declarations("prod").schedules} == {"expire_uploads": "rate(5 minutes)"}


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


def test_the_bucket_takes_no_request_without_tls_unless_an_emulator_has_none() -> None:
    policy = made()["Resources"]["BucketPolicy"]
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert made()["Parameters"]["RequireTls"]["Default"] == "yes"
    assert made()["Conditions"][policy["Condition"]] == {"Fn::Equals": [{"Ref": "RequireTls"}, "yes"]}


def test_what_a_crash_leaves_is_dropped_later_than_uploads_live() -> None:
    rules = {each["Id"]: each for each in properties("Bucket")["LifecycleConfiguration"]["Rules"]}
    assert {each["Prefix"]: each["ExpirationInDays"] for each in rules.values() if "Prefix" in each} == {
        "~staged/": 3,
        "~parts/": 3,
    }
    assert rules["unfinished"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 3}
    assert not [each for each in rules.values() if "ExpirationInDays" in each and not each["Prefix"].startswith("~")]


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
    assert [each["Arn"] for each in properties("ExpireUploadsRule")["Targets"]] == [{"Ref": "ExpireUploadsAlias"}]
    for permission in of_type("AWS::Lambda::Permission").values():
        assert permission["Properties"]["FunctionName"]["Ref"].endswith("Alias")
        assert "SourceArn" in permission["Properties"]


def test_a_version_is_published_whenever_a_function_differs() -> None:
    """CloudFormation makes another version when its description changes, so that names all a function is made of."""
    one, other = declarations("dev"), declarations("prod")
    descriptions = {
        json.dumps(template(found, key)["Resources"]["ApiVersion"]["Properties"]["Description"])  # type: ignore[index]
        for found, key in ((one, "a.zip"), (one, "b.zip"), (other, "a.zip"))
    }
    assert len(descriptions) == 3
    function, described = json.dumps(properties("ApiFunction")), properties("ApiVersion")["Description"]["Fn::Sub"]
    for parameter in made()["Parameters"]:
        if f'{{"Ref": "{parameter}"}}' in function and parameter != "CodeBucket":
            assert f"${{{parameter}}}" in described
    longest = sum(each.get("MaxLength", 0) for each in made()["Parameters"].values())
    assert len(described) + longest < 256


def test_no_secret_stands_in_an_environment() -> None:
    for function in of_type("AWS::Lambda::Function").values():
        text = json.dumps(function["Properties"]["Environment"])
        assert "resolve:" not in text
        assert "SecretString" not in text


def test_each_function_has_a_role_of_its_own() -> None:
    roles = [json.dumps(each["Properties"]["Role"]) for each in of_type("AWS::Lambda::Function").values()]
    assert len(set(roles)) == len(roles) == len(of_type("AWS::IAM::Role"))


@pytest.mark.parametrize("role", ["ApiRole", "ExpireUploadsRole", "EnsureAdminRole"])
def test_a_role_allows_named_calls_on_named_things(role: str) -> None:
    for policy in properties(role)["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            assert not [action for action in statement["Action"] if "*" in action]
            assert statement["Resource"] != "*"
            assert statement["Effect"] == "Allow"


def test_the_content_key_serves_through_s3_alone() -> None:
    (statement,) = [
        each
        for each in properties("ApiRole")["Policies"][0]["PolicyDocument"]["Statement"]
        if each["Resource"] == {"Fn::GetAtt": ["ContentKey", "Arn"]}
    ]
    services = statement["Condition"]["StringEquals"]["kms:ViaService"]
    assert {each["Fn::Sub"].split(".")[0] for each in services} == {"s3"}


def test_every_function_s_calls_are_written_down() -> None:
    assert {each.name for each in declarations("dev").functions} == ALLOWED.keys()


def test_all_logs_end() -> None:
    groups = of_type("AWS::Logs::LogGroup")
    assert len(groups) == 4
    assert all(each["Properties"]["RetentionInDays"] for each in groups.values())
