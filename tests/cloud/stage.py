"""A stage of Slipway packaged and deployed into an emulator from nothing, with all that stands in front of it on AWS.

    with deployed(folder) as cloud:
        cloud.registry.url  # the edge's

What the emulator lacks are fronts of this process: API Gateway's limits (ApiFront), CloudFront (EdgeFront, which runs the
functions with what ``make deploy`` wrote into the key-value store), S3's strictness (S3Front). The relay is a child process.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from chalicelib.aws.dynamo_table import DynamoTable
from infra.deploy.account import Account
from infra.deploy.deployment import Deployment, deploy
from infra.local.distribution import ttls_of
from infra.local.edge_front import ApiFront, ApiOrigin, EdgeFront, Origins, StorageOrigin
from infra.local.front import serving
from infra.local.signing import Signer
from infra.package import Package, package
from tests.cloud.calls import Seen
from tests.cloud.relay import RelayProcess
from tests.cloud.s3_front import S3Front, s3_front
from tests.conformance.management import SETTINGS as SETTINGS_PATH
from tests.conformance.management import Administrator
from tests.conformance.registry_process import CACHE, RunningRegistry
from tests.emulator import Emulator, start
from tests.infra import ARCHITECTURE

STAGE = "dev"
SERVICES = (
    "apigateway", "cloudformation", "cloudfront", "cloudfront-keyvaluestore", "cloudwatch", "dynamodb", "events", "iam", "kms",
    "lambda", "logs", "s3", "secretsmanager", "sqs", "sts",
)  # fmt: skip
RELAY_DOMAIN = "relay.slipway.test"
"""Named in the template only: the fronts know where the relay is."""

NOTED = {"removed", "condemned", "untagged", "restorable"}
"""Partitions of notes whose keys begin with a time."""

TIMES = {"cleared_at", "condemned_at", "removed_at"}
"""What in records is the time of something done."""

SETTINGS = {"SparseManifests": "all", "RequestLog": "all", "RelayDomain": RELAY_DOMAIN}


@dataclass(slots=True)
class Cloud:
    """The emulated account with the stage in it. ``registry`` is the edge's address, ``api`` the HTTP API's own. ``seen``
    grows with every call that a function makes, all of them through ``services``. ``store`` is the edge's key-value store as it
    was after the last deployment: what is written into it counts at once, for the front alone."""

    emulator: Emulator
    account: Account
    packaged: Package
    deployment: Deployment
    registry: RunningRegistry
    api: RunningRegistry
    services: S3Front
    edge: EdgeFront
    relay: RelayProcess
    store: dict[str, str] = field(repr=False)
    seconds: float
    seen: list[Seen] = field(default_factory=list, repr=False)
    defaults: dict[str, Any] = field(default_factory=dict)
    """The registry's settings as they were before anybody chose."""

    def client(self, service: str) -> Any:  # noqa: ANN401  # there are no types of clients
        return boto3.client(service, **self.emulator.client_arguments())

    def physical(self, logical: str) -> str:
        """The id of a resource of the template."""
        found = self.client("cloudformation").describe_stack_resource(StackName=self.account.stack, LogicalResourceId=logical)
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    # ------------------------------------------------------------------------------------------------------- deployments

    def deploy(self, **parameters: str) -> None:
        """Again, with other parameters; the edge then knows what this deployment wrote into the key-value store."""
        self.deployment = deploy(self.account, self.packaged.template.parent, parameters, ARCHITECTURE)
        self.rest()
        self.read_store()

    def read_store(self) -> None:
        """Take over what is in the key-value store, as CloudFront does within seconds."""
        there = self.account.edge_store(self.deployment.key_value_store).items()
        self.store.update(there)
        for name in self.store.keys() - there.keys():
            del self.store[name]

    @contextmanager
    def without_relay(self) -> Iterator[None]:
        """The stage deployed with no relay; the relay's process does not run."""
        self.relay.stop()
        self.edge.origins.relay = ""
        self.deploy(RelayDomain="")
        try:
            yield
        finally:
            self.deploy(RelayDomain=RELAY_DOMAIN)
            self.start_relay()

    def start_relay(self, **settings: str) -> None:
        """With the key that the stage has now, as a service would be started (infra/stack/relay.py): its requests go to the
        HTTP API. It must not run."""
        self.relay.key = _secret(self.account, self.physical("RelaySecret"))
        self.relay.start(self.api.url, **settings)
        self.edge.origins.relay = self.relay.url

    # ----------------------------------------------------------------------------------------------------------- storage

    @contextmanager
    def late_events(self, seconds: float) -> Iterator[None]:
        """The storage's events reach the adoption function so much later; those under way still come when the block ends."""
        events, rule = self.client("events"), self.physical("StoredRule").rpartition("/")[2]
        adopt, caller = self.physical("AdoptAlias"), self.client("lambda")

        def told(_bucket: str, key: str) -> None:
            if key.startswith("direct/"):
                caller.invoke(FunctionName=adopt, InvocationType="Event", Payload=json.dumps(stored_event(key)))

        events.disable_rule(Name=rule)
        self.services.event_delay, self.services.on_stored = seconds, told
        try:
            yield
        finally:
            self.services.event_delay, self.services.on_stored = 0.0, None
            events.enable_rule(Name=rule)

    def objects(self, prefix: str = "") -> list[str]:
        """Keys in the bucket, the deleted ones' versions left out."""
        return list(self.sizes(prefix))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """The same with the bytes of each."""
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=self.deployment.bucket, Prefix=prefix)
        return {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", ())}

    def multipart_uploads(self) -> list[str]:
        """Keys of those that were neither completed nor given up."""
        return [
            each["Key"] for each in self.client("s3").list_multipart_uploads(Bucket=self.deployment.bucket).get("Uploads", ())
        ]

    def items(self, beginning: str) -> list[dict[str, Any]]:
        """The table's items whose partition begins so."""
        found: list[dict[str, Any]] = []
        asked: dict[str, Any] = {"ConsistentRead": True}
        table = self.table()
        while True:
            page = table.scan(**asked)
            found += page["Items"]
            if "LastEvaluatedKey" not in page:
                return [each for each in found if str(each["partition"]).startswith(beginning)]
            asked["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def table(self) -> Any:  # noqa: ANN401  # there are no types of resources
        return boto3.resource("dynamodb", **self.emulator.client_arguments()).Table(self.physical("Table"))

    def records(self) -> DynamoTable:
        """The same as the program sees it."""
        emulator = self.emulator
        credentials = (emulator.access_key, emulator.secret_key)
        return DynamoTable(self.physical("Table"), region=emulator.region, endpoint=emulator.url, credentials=credentials)

    def unfinished(self) -> list[dict[str, Any]]:
        """The records of uploads that hold something, and neither were finished nor have ended."""
        return [each for each in self.items("upload/") if "account" in each and not each.keys() & {"digest", "ended"}]

    # -------------------------------------------------------------------------------------------------------------- jobs

    def make_job(self, kind: str, **parameters: int) -> str:
        """An administrator asks for it: its id."""
        asked = {"action": kind, "parameters": parameters}
        return str(Administrator(self.registry).ask("POST", "/api/v0/jobs", asked)["id"])

    def job(self, job: str) -> dict[str, Any]:
        """What the API tells of it."""
        told: dict[str, Any] = Administrator(self.registry).ask("GET", f"/api/v0/jobs/{job}")
        return told

    def log_of(self, job: str) -> list[str]:
        """The lines of its log."""
        told = Administrator(self.registry).ask("GET", f"/api/v0/jobs/{job}/logs?limit=100")
        return [line["text"] for line in told["lines"]]

    def tick(self) -> int:
        """The scheduled function is started: how many jobs it worked on."""
        return int(self.invoke("RunJobsAlias")["run"])

    def run_job(self, kind: str, **parameters: int) -> dict[str, Any]:
        """A job that is asked for and run by the scheduled function until it has ended: what the API then tells of it. Raises
        AssertionError if it is not done."""
        job = self.make_job(kind, **parameters)
        until(lambda: self.tick() >= 0 and self.job(job)["status"] not in {"waiting", "running"}, f"{kind} does not end")
        told = self.job(job)
        assert told["status"] == "done", (told, self.log_of(job))
        return told

    @contextmanager
    def on_schedule(self) -> Iterator[None]:
        """The rule starts the function, which it does not otherwise: jobs would be run while a test looks away."""
        self.client("events").enable_rule(Name=self.physical("RunJobsRule").rpartition("/")[2])
        try:
            yield
        finally:
            self.rest()

    @contextmanager
    def without_schedules(self) -> Iterator[None]:
        """No job is made but those that somebody asks for."""
        admin = Administrator(self.registry)
        crons = admin.ask("GET", "/api/v0/crons")["crons"]
        for cron in crons:
            admin.ask("DELETE", f"/api/v0/crons/{cron['action']}")
        try:
            yield
        finally:
            for cron in crons:
                admin.ask("PUT", f"/api/v0/crons/{cron['action']}", {"schedule": cron["defaultSchedule"]})

    def rest(self) -> None:
        """The rule starts the function no more."""
        self.client("events").disable_rule(Name=self.physical("RunJobsRule").rpartition("/")[2])

    def expire_uploads(self) -> dict[str, int]:
        """Make all uploads look old that nobody finished, and have them dropped: what was counted."""
        table = self.table()
        for item in self.unfinished():
            table.put_item(Item={**item, "expires_at": 1})
        counts: dict[str, int] = self.run_job("expire-uploads")["counts"]
        return counts

    def pass_time(self, hours: float) -> None:
        """What was condemned or removed was so much earlier, in the records and in the notes: the time of functions cannot be
        moved. Nobody may be at work meanwhile."""
        seconds, table = int(3600 * hours), self.table()
        for item in self.items(""):
            aged = {name: value - seconds if name in TIMES else value for name, value in item.items()}
            partition, sort = str(item["partition"]), str(item["sort"])
            if partition in NOTED:
                at, _, rest = sort.partition("/")
                aged["sort"] = f"{int(at) - seconds:012d}/{rest}"
            elif sort.startswith("removed/tag/"):
                rest, _, at = sort.rpartition("/")
                aged["sort"] = f"{rest}/{int(at) - seconds:012d}"
            if aged != item:
                table.put_item(Item=aged)
            if aged["sort"] != sort:
                table.delete_item(Key={"partition": partition, "sort": sort})

    # --------------------------------------------------------------------------------------------------------- functions

    def invoke(self, alias: str, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the function behind a template's alias answers to an event, by default a schedule's. Raises AssertionError if it
        fails."""
        answer = self.client("lambda").invoke(FunctionName=self.physical(alias), Payload=json.dumps(event or self.scheduled()))
        payload = answer["Payload"].read()
        assert not answer.get("FunctionError"), payload
        said: dict[str, Any] = json.loads(payload) or {}
        return said

    def scheduled(self) -> dict[str, Any]:
        """The event of a schedule."""
        told = {"version": "0", "id": "1", "detail-type": "Scheduled Event", "source": "aws.events", "resources": []}
        return {
            **told, "account": self.account.id, "region": self.account.region, "time": "2026-01-01T00:00:00Z", "detail": {},
        }  # fmt: skip

    def requests(self, repository: str) -> list[dict[str, Any]]:
        """The API's log, a line per request to the repository: ``method``, ``path``, ``status``, ``received`` and ``bytes``,
        which are the bodies that the function saw."""
        lines = (line for line in self.logged("ApiLogs", f"/v2/{repository}/") if line.startswith("{"))
        found = [each for each in map(json.loads, lines) if "path" in each]
        return [each for each in found if each["path"].removeprefix("/_relay").startswith(f"/v2/{repository}/")]

    def logged(self, group: str, words: str) -> list[str]:
        """The lines in a log group of the template, of events with these words: of all, the emulator tells the first 10,000."""
        asked = {"logGroupName": self.physical(group), "filterPattern": f'"{words}"'}
        pages = self.client("logs").get_paginator("filter_log_events").paginate(**asked)
        return [line for page in pages for event in page["events"] for line in event["message"].splitlines()]


def stored_event(key: str) -> dict[str, Any]:
    """What S3 tells by EventBridge of an object, as far as anybody reads it."""
    return {"source": "aws.s3", "detail-type": "Object Created", "detail": {"object": {"key": key}}}


def carried(calls: Iterable[Seen]) -> dict[str, int]:
    """Bytes that S3 was sent, by who sent them."""
    found: Counter[str] = Counter()
    for seen in calls:
        if seen.service == "s3" and seen.status == 200:
            found[seen.sender] += seen.received
    return found


def until(condition: Callable[[], bool], told: str, seconds: float = 60.0) -> None:
    """Waits for what is done in the background. Raises AssertionError if it never is."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, told
        time.sleep(0.1)  # the poll's own interval


@contextmanager
def deployed(folder: Path, **parameters: str) -> Iterator[Cloud]:
    """A short folder: the emulator unpacks functions below it. ``parameters`` are further ones of the template."""
    with ExitStack() as stack:
        emulator = stack.enter_context(start(folder, services=SERVICES))
        stack.callback(_keep_logs, emulator, folder)
        stack.enter_context(emulator.as_environment())
        seen: list[Seen] = []
        reader = Signer(emulator.region, emulator.access_key, emulator.secret_key)
        services = stack.enter_context(s3_front(emulator.url, reader, seen.append))
        packaged = package(STAGE, ARCHITECTURE, folder / "package")
        store: dict[str, str] = {}
        api = ApiFront()
        api_url = stack.enter_context(serving(api))
        edge = EdgeFront(store, Origins(ApiOrigin(emulator.url)), ttls=_ttls(packaged))
        url = stack.enter_context(serving(edge))
        account = Account(STAGE, emulator.url)
        begun = time.monotonic()
        given = {"PublicUrl": url, "EndpointUrl": services.url, **SETTINGS, **parameters}
        made = deploy(account, packaged.template.parent, given, ARCHITECTURE)
        seconds = time.monotonic() - begun
        api.origin = edge.origins.api = ApiOrigin(f"{emulator.url}/_aws/execute-api/{_api_id(made)}/$default")
        edge.origins.storage = StorageOrigin(services.url, made.bucket, _cloudfront(emulator, made.bucket))
        password = _secret(account, made.admin_secret)
        registry, behind = (RunningRegistry(each.removeprefix("http://"), "admin", password) for each in (url, api_url))
        relay = RelayProcess(folder, "")
        stack.callback(relay.stop)
        cloud = Cloud(
            emulator, account, packaged, made, registry, behind, services, edge, relay, store, seconds, seen
        )  # fmt: skip
        cloud.read_store()
        if "relay" in made.lanes.split(","):
            cloud.start_relay()
        cloud.rest()
        cloud.defaults.update(Administrator(registry).ask("GET", SETTINGS_PATH))
        Administrator(registry).let_pushes_create()
        yield cloud


def _cloudfront(emulator: Emulator, bucket: str) -> Signer:
    """A principal that may do what the bucket's policy allows CloudFront, as it was deployed."""
    client = boto3.client("s3", **emulator.client_arguments())
    policy = json.loads(client.get_bucket_policy(Bucket=bucket)["Policy"])
    service = {"Service": "cloudfront.amazonaws.com"}
    statements = [
        {name: each[name] for name in ("Effect", "Action", "Resource")}
        for each in policy["Statement"]
        if each["Effect"] == "Allow" and each["Principal"] == service
    ]
    edge = emulator.user("cloudfront", statements)
    return Signer(edge.region, edge.access_key, edge.secret_key)


def _ttls(packaged: Package) -> dict[int, float]:
    return ttls_of(json.loads(packaged.template.read_text())["Resources"]["Distribution"])


def _api_id(made: Deployment) -> str:
    return made.api_endpoint.partition("://")[2].partition(".")[0]


def _secret(account: Account, name: str) -> str:
    """As the command that `make deploy` prints reads it."""
    content: str = account.client("secretsmanager").get_secret_value(SecretId=name)["SecretString"]
    return content


def _keep_logs(emulator: Emulator, folder: Path) -> None:
    """The emulator's log, the relay's and those of the functions that are still there, for whoever looks for a cause."""
    kept_in = CACHE / "cloud"
    kept_in.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(emulator.log, kept_in / "emulator.log")
    if (folder / "relay.log").exists():
        shutil.copyfile(folder / "relay.log", kept_in / "relay.log")
    logs = boto3.client("logs", **emulator.client_arguments())
    with (kept_in / "functions.log").open("w") as kept:
        for group in logs.describe_log_groups()["logGroups"]:
            for event in logs.filter_log_events(logGroupName=group["logGroupName"])["events"]:
                print(group["logGroupName"], event["message"].rstrip(), file=kept)
