"""The relay's service in the template: who reaches it, what it may do, how long it may take."""

from __future__ import annotations

import pytest

from infra.stack.relay import HEALTH, MEMORY, PARTS, PORT
from tests.infra.templates import Json, chosen, resource

LONGEST_HOLD = 110


def container() -> Json:
    (found,) = resource("RelayTask", "relay")["ContainerDefinitions"]
    return found


@pytest.mark.parametrize("choice", ["defaults", "relay elsewhere", "no edge, all asked for"])
def test_it_is_there_only_where_asked_for(choice: str) -> None:
    assert {name for name in chosen(choice)["Resources"] if name.startswith("Relay")} <= {"RelaySecret"}


def test_it_has_no_permission_at_all() -> None:
    assert "TaskRoleArn" not in resource("RelayTask", "relay")
    assert not [each for each in container()["Environment"] if each["Name"].startswith("AWS_")]


def test_its_key_is_handed_over_and_in_no_environment() -> None:
    secret = {"Fn::GetAtt": ["RelaySecret", "Id"]}
    assert container()["Secrets"] == [{"Name": "SLIPWAY_RELAY_KEY", "ValueFrom": secret}]
    assert {each["Name"] for each in container()["Environment"]} == {
        "SLIPWAY_RELAY_UPSTREAM",
        "SLIPWAY_RELAY_HOST",
        "SLIPWAY_RELAY_PORT",
        "SLIPWAY_RELAY_PARTS",
    }
    api = resource("ApiRole", "relay")["Policies"][0]["PolicyDocument"]["Statement"]
    assert secret in [each["Resource"] for each in api]
    starter = resource("RelayStarter", "relay")["Policies"][0]["PolicyDocument"]["Statement"]
    assert [each["Action"] for each in starter if each["Resource"] == secret] == [["secretsmanager:GetSecretValue"]]


def test_its_requests_do_not_come_round_again() -> None:
    upstream = {each["Name"]: each["Value"] for each in container()["Environment"]}["SLIPWAY_RELAY_UPSTREAM"]
    assert upstream == {"Fn::GetAtt": ["HttpApi", "ApiEndpoint"]}


def test_only_the_edge_reaches_its_balancer_and_only_that_the_relay() -> None:
    assert resource("RelayBalancer", "relay")["Scheme"] == "internal"
    (edge,) = resource("RelayBalancerGroup", "relay")["SecurityGroupIngress"]
    assert edge == {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "SourcePrefixListId": {"Ref": "EdgePrefixList"}}
    (balancer,) = resource("RelayGroup", "relay")["SecurityGroupIngress"]
    assert balancer["SourceSecurityGroupId"] == {"Fn::GetAtt": ["RelayBalancerGroup", "GroupId"]}
    assert balancer["FromPort"] == balancer["ToPort"] == PORT


def test_the_edge_finds_it_inside_the_vpc() -> None:
    config = resource("RelayOrigin", "relay")["VpcOriginEndpointConfig"]
    assert config["Arn"] == {"Ref": "RelayBalancer"}
    assert config["OriginProtocolPolicy"] == "http-only"
    origins = resource("Distribution", "relay")["DistributionConfig"]["Origins"]
    (relay,) = [each for each in origins if each["Id"] == "relay"]
    assert relay["VpcOriginConfig"]["VpcOriginId"] == {"Fn::GetAtt": ["RelayOrigin", "Id"]}
    assert relay["DomainName"] == {"Fn::GetAtt": ["RelayBalancer", "DNSName"]}


def test_nobody_on_the_way_gives_up_before_the_relay_does() -> None:
    attributes = {each["Key"]: each["Value"] for each in resource("RelayBalancer", "relay")["LoadBalancerAttributes"]}
    idle = int(attributes["idle_timeout.timeout_seconds"])
    assert idle > chosen("relay")["Parameters"]["OriginTimeout"]["MaxValue"] > LONGEST_HOLD
    targets = {each["Key"]: each["Value"] for each in resource("RelayTargets", "relay")["TargetGroupAttributes"]}
    assert int(targets["deregistration_delay.timeout_seconds"]) >= 900
    assert container()["StopTimeout"] >= LONGEST_HOLD


def test_it_is_replaced_without_a_gap() -> None:
    told = resource("RelayService", "relay")["DeploymentConfiguration"]
    assert (told["MinimumHealthyPercent"], told["MaximumPercent"]) == (100, 200)
    assert told["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert resource("RelayTargets", "relay")["HealthCheckPath"] == HEALTH


def test_parts_take_no_more_than_half_of_its_memory() -> None:
    assert int(MEMORY) // 2 >= PARTS * 8


def test_it_keeps_nothing_on_its_disk() -> None:
    assert container()["ReadonlyRootFilesystem"]
    assert "Volumes" not in resource("RelayTask", "relay")
