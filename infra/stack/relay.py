"""The relay as a container service: Fargate behind a load balancer that only CloudFront reaches, inside a VPC that is given.

A relay has no permission of AWS at all: no task role. It asks the API for presigned links. What it holds is the key by which
it attests hashes (chalicelib knows it by SLIPWAY_RELAY_SECRET), handed over by the service that starts it.
"""

from __future__ import annotations

from infra.stack.language import Resource, Resources, Value, attribute, chosen, ref, text

PORT = 8080
HEALTH = "/_relay/health"

CPU, MEMORY = "1024", "2048"
"""Of Fargate: a core, and the least memory that goes with it. A relay needs a few parts for each upload, and no disk."""

PARTS = 120
"""Of 8 MiB, in a relay's memory at once: half of it."""

IDLE_SECONDS = 185
"""Longer than the edge waits, so that the balancer is never the one who ends a connection that is in use."""

_SUBNETS: Value = {"Fn::Split": [",", ref("SubnetIds")]}

DRAIN_SECONDS = 900
"""How long uploads that are under way may go on in a relay that is replaced. What takes longer is taken up by the next."""

STOP_SECONDS = 120


def secret() -> Resources:
    """The attestation key: also for a relay that runs elsewhere."""
    return {
        "RelaySecret": {
            "Type": "AWS::SecretsManager::Secret",
            "Condition": "HasRelay",
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",  # a relay and the API take up another one as they start
            "Properties": {
                "Description": text("${AWS::StackName}: the key by which relays attest hashes"),
                "GenerateSecretString": {"PasswordLength": 48, "ExcludePunctuation": True},
            },
        }
    }


def resources() -> Resources:
    made: Resources = {**_network(), **_balancer(), **_service()}
    for resource in made.values():
        resource["Condition"] = "RunsRelay"
    return {**secret(), **made}


def _network() -> Resources:
    """Traffic of a VPC origin comes from CloudFront's prefix list, not from the VPC's own addresses."""
    return {
        "RelayBalancerGroup": _group(
            "who reaches the balancer of the relays - CloudFront",
            {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "SourcePrefixListId": ref("EdgePrefixList")},
        ),
        "RelayGroup": _group(
            "who reaches a relay - its balancer",
            {
                "IpProtocol": "tcp",
                "FromPort": PORT,
                "ToPort": PORT,
                "SourceSecurityGroupId": attribute("RelayBalancerGroup", "GroupId"),
            },
        ),
    }


def _group(purpose: str, rule: dict[str, Value]) -> Resource:
    return {
        "Type": "AWS::EC2::SecurityGroup",
        "Properties": {
            "GroupDescription": text("${AWS::StackName}: " + purpose),
            "VpcId": ref("VpcId"),
            "SecurityGroupIngress": [rule],
        },
    }


def _balancer() -> Resources:
    return {
        "RelayBalancer": {
            "Type": "AWS::ElasticLoadBalancingV2::LoadBalancer",
            "Properties": {
                "Type": "application",
                "Scheme": "internal",
                "Subnets": _SUBNETS,
                "SecurityGroups": [attribute("RelayBalancerGroup", "GroupId")],
                "LoadBalancerAttributes": [
                    {"Key": "idle_timeout.timeout_seconds", "Value": str(IDLE_SECONDS)},
                    {"Key": "routing.http.drop_invalid_header_fields.enabled", "Value": "true"},
                ],
            },
        },
        "RelayTargets": {
            "Type": "AWS::ElasticLoadBalancingV2::TargetGroup",
            "Properties": {
                "TargetType": "ip",
                "Protocol": "HTTP",
                "Port": PORT,
                "VpcId": ref("VpcId"),
                "HealthCheckPath": HEALTH,
                "HealthCheckIntervalSeconds": 10,
                "HealthyThresholdCount": 2,
                "TargetGroupAttributes": [
                    {"Key": "deregistration_delay.timeout_seconds", "Value": str(DRAIN_SECONDS)},
                    {"Key": "load_balancing.algorithm.type", "Value": "least_outstanding_requests"},
                ],
            },
        },
        "RelayListener": {
            "Type": "AWS::ElasticLoadBalancingV2::Listener",
            "Properties": {
                "LoadBalancerArn": ref("RelayBalancer"),
                "Protocol": "HTTP",  # from CloudFront's interfaces in the VPC to the balancer in the same VPC
                "Port": 80,
                "DefaultActions": [{"Type": "forward", "TargetGroupArn": ref("RelayTargets")}],
            },
        },
        "RelayOrigin": {
            "Type": "AWS::CloudFront::VpcOrigin",
            "DependsOn": "RelayListener",
            "Properties": {
                "VpcOriginEndpointConfig": {
                    "Name": text("${AWS::StackName}-${AWS::Region}"),
                    "Arn": ref("RelayBalancer"),
                    "HTTPPort": 80,
                    "HTTPSPort": 443,
                    "OriginProtocolPolicy": "http-only",
                    "OriginSSLProtocols": ["TLSv1.2"],
                }
            },
        },
    }


def _service() -> Resources:
    return {
        "RelayCluster": {"Type": "AWS::ECS::Cluster", "Properties": {"CapacityProviders": ["FARGATE"]}},
        "RelayLogs": {
            "Type": "AWS::Logs::LogGroup",
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",
            "Properties": {"RetentionInDays": 30},
        },
        "RelayStarter": _starter(),
        "RelayTask": {
            "Type": "AWS::ECS::TaskDefinition",
            "Properties": {
                "RequiresCompatibilities": ["FARGATE"],
                "NetworkMode": "awsvpc",
                "Cpu": CPU,
                "Memory": MEMORY,
                "RuntimePlatform": {
                    "OperatingSystemFamily": "LINUX",
                    "CpuArchitecture": chosen("IsArm", "ARM64", "X86_64"),
                },
                "ExecutionRoleArn": attribute("RelayStarter", "Arn"),
                "ContainerDefinitions": [_container()],
            },
        },
        "RelayService": {
            "Type": "AWS::ECS::Service",
            "DependsOn": "RelayListener",
            "Properties": {
                "Cluster": ref("RelayCluster"),
                "TaskDefinition": ref("RelayTask"),
                "LaunchType": "FARGATE",
                "DesiredCount": ref("RelayTasks"),
                "HealthCheckGracePeriodSeconds": 30,
                "DeploymentConfiguration": {
                    "MinimumHealthyPercent": 100,
                    "MaximumPercent": 200,
                    "DeploymentCircuitBreaker": {"Enable": True, "Rollback": True},
                },
                "LoadBalancers": [{"ContainerName": "relay", "ContainerPort": PORT, "TargetGroupArn": ref("RelayTargets")}],
                "NetworkConfiguration": {
                    "AwsvpcConfiguration": {
                        "Subnets": _SUBNETS,
                        "SecurityGroups": [attribute("RelayGroup", "GroupId")],
                        "AssignPublicIp": chosen("SubnetsArePublic", "ENABLED", "DISABLED"),
                    }
                },
            },
        },
    }


def _container() -> Value:
    """Its API is the HTTP API's own endpoint: through the edge a request would come round again."""
    return {
        "Name": "relay",
        "Image": ref("RelayImage"),
        "Essential": True,
        "ReadonlyRootFilesystem": True,
        "StopTimeout": STOP_SECONDS,
        "PortMappings": [{"ContainerPort": PORT, "Protocol": "tcp"}],
        "Environment": [
            {"Name": "SLIPWAY_RELAY_UPSTREAM", "Value": attribute("HttpApi", "ApiEndpoint")},
            {"Name": "SLIPWAY_RELAY_HOST", "Value": "0.0.0.0"},  # noqa: S104  # its security group decides who gets there
            {"Name": "SLIPWAY_RELAY_PORT", "Value": str(PORT)},
            {"Name": "SLIPWAY_RELAY_PARTS", "Value": str(PARTS)},
        ],
        "Secrets": [{"Name": "SLIPWAY_RELAY_KEY", "ValueFrom": attribute("RelaySecret", "Id")}],
        "LogConfiguration": {
            "LogDriver": "awslogs",
            "Options": {
                "awslogs-group": ref("RelayLogs"),
                "awslogs-region": ref("AWS::Region"),
                "awslogs-stream-prefix": "relay",
            },
        },
    }


def _starter() -> Resource:
    """Who starts a relay: fetches the image (from this account's ECR, if it is there) and hands over the key."""
    repositories = text("arn:${AWS::Partition}:ecr:${AWS::Region}:${AWS::AccountId}:repository/*")
    pull: list[Value] = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    statements: list[Value] = [
        _allowed(["ecr:GetAuthorizationToken"], "*"),  # AWS knows no resource for it
        _allowed(pull, repositories),
        _allowed(["logs:CreateLogStream", "logs:PutLogEvents"], attribute("RelayLogs", "Arn")),
        _allowed(["secretsmanager:GetSecretValue"], attribute("RelaySecret", "Id")),
    ]
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                        "Condition": {"StringEquals": {"aws:SourceAccount": ref("AWS::AccountId")}},
                    }
                ],
            },
            "Policies": [{"PolicyName": "starts", "PolicyDocument": {"Version": "2012-10-17", "Statement": statements}}],
        },
    }


def _allowed(actions: list[Value], resource: Value) -> Value:
    return {"Effect": "Allow", "Action": actions, "Resource": resource}
