"""The function that runs jobs, as Lambda runs it: by its rule, several at once, until its time is over, killed.

The work is to delete objects that nothing needs, which S3 can be made to take its time for. What would take a function 15
minutes is shown by one of 33 seconds, which is the unpublished version of the same function.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from chalicelib.registry.upkeep.job_runner import RESERVE_SECONDS
from tests.cloud.client import Client
from tests.cloud.faults import Fault, Kind
from tests.cloud.stage import Cloud, until
from tests.conformance.management import Administrator

OBJECTS = 6
HOURS = 26
"""More than the grace of what nothing needs, which is a day and an hour."""

CRON = "trim-history"


@pytest.fixture(scope="module", autouse=True)
def unscheduled(cloud: Cloud) -> Iterator[None]:
    """No jobs but those that are asked for."""
    with cloud.without_schedules():
        yield


def garbage(cloud: Cloud, name: str) -> list[str]:
    """Keys of objects that the next job is to delete; nothing else is."""
    for _ in range(3):  # what other tests left: links of repositories, then what nobody holds
        cloud.pass_time(HOURS)
        cloud.run_job("collect-garbage")
    client = Client(cloud.registry, f"admin/jobs/{name}")
    digests = [client.push_blob(f"{name} {number}".encode()) for number in range(OBJECTS)]
    held = {item["partition"]: str(item["key"]) for item in cloud.items("blob/") if item["sort"] == "blob"}
    cloud.pass_time(HOURS)
    assert cloud.run_job("collect-garbage")["counts"] == {"links": OBJECTS}
    cloud.pass_time(HOURS)
    return [held[f"blob/{digest}"] for digest in digests]


@contextmanager
def slow_deletions(cloud: Cloud, seconds: float) -> Iterator[Fault]:
    fault = Fault(Kind.SLOW, "DeleteObject", agent="run_jobs", seconds=seconds)
    cloud.services.faults.append(fault)
    try:
        yield fault
    finally:
        cloud.services.faults.remove(fault)


@contextmanager
def function_of(cloud: Cloud, seconds: int) -> Iterator[str]:
    """The name of the function with so much time."""
    name, caller = cloud.physical("RunJobsFunction"), cloud.client("lambda")
    before = caller.get_function_configuration(FunctionName=name)["Timeout"]
    assert before == 900
    caller.update_function_configuration(FunctionName=name, Timeout=seconds)
    try:
        yield name
    finally:
        caller.update_function_configuration(FunctionName=name, Timeout=before)


def is_gone(cloud: Cloud, keys: Sequence[str]) -> bool:
    return set(cloud.objects()).isdisjoint(keys)


def deletions(cloud: Cloud, keys: Sequence[str]) -> int:
    """How often objects were deleted by those who run jobs."""
    return sum(seen.function == "run_jobs" and seen.method == "DELETE" and seen.key in keys for seen in cloud.seen)


def test_what_a_start_costs(cloud: Cloud) -> None:
    """One that finds nothing to do asks twice; a job that finds nothing to do is made, taken up and ended besides."""
    assert calls_of(cloud, cloud.tick) == {"dynamodb:Query": 2}
    job = cloud.make_job("expire-uploads")
    asked = calls_of(cloud, cloud.tick)
    assert (cloud.job(job)["status"], cloud.job(job)["counts"]) == ("done", {})
    print(f"\na job that finds nothing to do: {dict(asked)}")
    assert sum(asked.values()) <= 12


def calls_of(cloud: Cloud, run: Callable[[], object]) -> Counter[str]:
    """How often each call was made; those of a transaction count one by one."""
    before = len(cloud.seen)
    run()
    made = [seen for seen in cloud.seen[before:] if seen.function == "run_jobs"]
    found: Counter[str] = Counter()
    for seen in made:
        document = json.loads(seen.body or b"{}")
        found.update(
            [f"dynamodb:{kind}Item" for item in document["TransactItems"] for kind in item]
            if "TransactItems" in document
            else seen.actions()
        )
    return found


def test_the_rule_starts_the_function_which_makes_what_is_due(cloud: Cloud) -> None:
    """The time of one schedule is made to have come."""
    admin = Administrator(cloud.registry)

    def made() -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = admin.ask("GET", f"/api/v0/jobs?action={CRON}&status=done")["jobs"]
        return jobs

    before = made()
    admin.ask("PUT", f"/api/v0/crons/{CRON}", {"schedule": "0 0 0 1 1 *"})
    (cron,) = [item for item in cloud.items("crons") if item["sort"] == CRON]
    cloud.table().put_item(Item={**cron, "next_at": 1})
    with cloud.on_schedule():
        until(lambda: len(made()) > len(before), "the rule starts nothing", seconds=120)
    (job, *others) = made()
    assert others == before
    assert (job["createdBy"], job["attempts"], job["error"]) == ("", 1, "")
    admin.ask("DELETE", f"/api/v0/crons/{CRON}")


def test_of_functions_that_come_at_once_one_runs_a_job(cloud: Cloud) -> None:
    keys = garbage(cloud, "at-once")
    job = cloud.make_job("collect-garbage")
    with slow_deletions(cloud, 1.0) as held, ThreadPoolExecutor(5) as threads:
        asked = [threads.submit(cloud.tick) for _ in range(4)]
        until(lambda: held.hits > 0, "nobody runs it")
        assert cloud.job(job)["status"] == "running"
        assert cloud.tick() == 0
        assert sorted(each.result(60) for each in asked) == [0, 0, 0, 1]
    told = cloud.job(job)
    assert (told["status"], told["attempts"], told["counts"]) == ("done", 1, {"objects": OBJECTS})
    assert cloud.log_of(job) == []
    assert deletions(cloud, keys) == OBJECTS
    assert is_gone(cloud, keys)


def test_a_function_whose_time_is_nearly_over_hands_its_job_over(cloud: Cloud) -> None:
    """And one that begins with less takes none up: the time is the context's, which Chalice hands on in the event."""
    keys = garbage(cloud, "handed-over")
    job = cloud.make_job("collect-garbage")
    with function_of(cloud, RESERVE_SECONDS - 10) as name:
        assert run(cloud, name) == (0, "")
    assert (cloud.job(job)["status"], cloud.job(job)["attempts"]) == ("waiting", 0)
    with function_of(cloud, RESERVE_SECONDS + 3) as name, slow_deletions(cloud, 1.0):
        assert run(cloud, name) == (1, "")
    told = cloud.job(job)
    assert (told["status"], told["attempts"]) == ("waiting", 1)
    assert 0 < told["counts"]["objects"] < OBJECTS
    assert cloud.tick() == 1
    told = cloud.job(job)
    assert (told["status"], told["attempts"], told["counts"]) == ("done", 1, {"objects": OBJECTS})
    assert deletions(cloud, keys) == OBJECTS
    assert is_gone(cloud, keys)


def test_what_a_killed_function_left_is_finished_by_another(cloud: Cloud) -> None:
    """S3 does not answer until Lambda ends the function. The minutes after which it is taken for dead are over at once."""
    keys = garbage(cloud, "killed")
    job = cloud.make_job("collect-garbage")
    with function_of(cloud, RESERVE_SECONDS + 3) as name, slow_deletions(cloud, 60.0):
        _, failure = run(cloud, name)
    assert "timed out" in failure
    assert (cloud.job(job)["status"], cloud.tick()) == ("running", 0)
    (lease,) = [item for item in cloud.items("open") if item["sort"] == "collect-garbage"]
    cloud.table().put_item(Item={**lease, "until": 1})
    assert cloud.tick() == 1
    told = cloud.job(job)
    assert (told["status"], told["attempts"], told["error"]) == ("done", 2, "")
    assert cloud.log_of(job) == ["taken up: whoever made attempt 1 ended without a word"]
    assert told["counts"] == {"objects": OBJECTS}
    assert is_gone(cloud, keys)
    assert cloud.items("retired") == cloud.items("open") == []


def run(cloud: Cloud, function: str) -> tuple[int, str]:
    """How many jobs it worked on, and how it failed."""
    answer = cloud.client("lambda").invoke(FunctionName=function, Payload=json.dumps(cloud.scheduled()))
    told = json.loads(answer["Payload"].read())
    return (0, str(told)) if answer.get("FunctionError") else (told["run"], "")


def test_a_job_that_is_under_way_is_cancelled(cloud: Cloud) -> None:
    garbage(cloud, "cancelled")
    job = cloud.make_job("collect-garbage")
    with (
        slow_deletions(cloud, 6.0) as held,
        ThreadPoolExecutor(1) as threads,
    ):  # longer than until the next write of a checkpoint
        running = threads.submit(cloud.tick)
        until(lambda: held.hits > 0, "nobody runs it")
        Administrator(cloud.registry).ask("POST", f"/api/v0/jobs/{job}/cancel")
        assert running.result(60) == 1
    told = cloud.job(job)
    assert told["status"] == "cancelled"
    assert told["counts"]["objects"] < OBJECTS
    cloud.run_job("collect-garbage")
