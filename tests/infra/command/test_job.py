"""Jobs and schedules from the command line: each request, and watching a job until it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import pytest

from infra.command import job as command
from tests.infra.command.registry import served
from tests.infra.command.running import Done, Scripted, User
from tests.infra.command.test_commands import NO, run
from tests.surface import PASSWORD, Surface

JOBS, CRONS = "/api/v0/jobs", "/api/v0/crons"
Told: TypeAlias = Mapping[str, object]

WAITING: Told = {"id": "5f", "status": "waiting"}
RUNNING: Told = {"id": "5f", "status": "running"}
DONE_JOB: Told = {"id": "5f", "status": "done", "counts": {"steps": 2, "kept": 1}, "error": ""}
FAILED: Told = {"id": "5f", "status": "failed", "counts": {}, "error": "no \x1b way"}
CANCELLED: Told = {"id": "5f", "status": "cancelled", "counts": {}, "error": ""}


def lines(*texts: str, first: int = 0) -> Told:
    numbered = [{"offset": first + n, "at": "2026-01-01T00:00:00Z", "text": text} for n, text in enumerate(texts)]
    return {"lines": numbered, "next": first + len(texts)}


def say(server: Scripted, *answers: Told) -> None:
    for answer in answers:
        server.answer(200, answer)


# ------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    "line",
    [
        "job",
        "job run",
        "job run a/b",
        "job run x --parameter",
        "job run x --parameter minutes",
        "job run x --parameter =5",
        "job run x --parameter minutes=",
        "job run x --parameter minutes=long",
        "job run x --parameter minutes=1.5",
        "job run x --parameter minutes=-",
        "job run x --parameter minutes=\u0661",
        "job run x --parameter minutes=9999999999999999",
        "job run x --retries -1",
        "job run x --deadline 0",
        "job show",
        "job show ..",
        "job logs a/b",
        "job list --status over",
        "job list --action a/b",
        "cron set x",
        "cron set x 0 0 3 * * *",
        "cron set x @daily --parameter a",
        "cron unset",
    ],
)
def test_wrong_use(user: User, server: Scripted, line: str) -> None:
    server.answer(200, {})
    done = run(user, server, *line.split(" "))
    assert done.code == 2
    assert done.err
    assert server.asked == []


@pytest.mark.parametrize(
    "log", [{}, {"lines": 5, "next": 0}, {"lines": [5], "next": 1}, {"lines": [{}], "next": 0}, {"lines": [], "next": "0"}]
)
def test_what_is_no_log(user: User, server: Scripted, log: Told) -> None:
    server.answer(200, log)
    assert run(user, server, "job", "logs", "5f").code == 4


def test_a_job_that_is_refused_is_not_followed(user: User, server: Scripted) -> None:
    server.answer(403, NO)
    assert run(user, server, "job", "run", "x", "--follow") == Done(1, "", "slipway: denied: only admins may\n")
    assert len(server.asked) == 1
    assert user.waited == []


# ------------------------------------------------------------------------------------------------------------ requests


@pytest.mark.parametrize(
    ("line", "method", "path", "body"),
    [
        ("job show 5f", "GET", f"{JOBS}/5f", None),
        ("job run audit", "POST", JOBS, {"action": "audit"}),
        ("job run x --parameter a=10 --parameter b=-1", "POST", JOBS, {"action": "x", "parameters": {"a": 10, "b": -1}}),
        ("job run x --retries 0 --deadline 60", "POST", JOBS, {"action": "x", "retries": 0, "deadline": 60}),
        ("job cancel 5f", "POST", f"{JOBS}/5f/cancel", None),
        ("job delete 5f --yes", "DELETE", f"{JOBS}/5f", None),
        ("cron set scrub @daily", "PUT", f"{CRONS}/scrub", {"schedule": "@daily"}),
        ("cron unset scrub", "DELETE", f"{CRONS}/scrub", None),
    ],
)
def test_one_request(user: User, server: Scripted, *, line: str, method: str, path: str, body: object) -> None:
    server.answer(200, {"id": "5f"})
    done = run(user, server, *line.split())
    assert (done.code, done.err) == (0, "")
    assert [(each.method, each.path, each.body) for each in server.asked] == [(method, path, body)]
    assert done.out
    assert run(user, server, *line.split(), "--output", "json").json() == {"id": "5f"}


@pytest.mark.parametrize(("status", "ends"), [("cancelled", "is cancelled"), ("running", "will be cancelled at its next step")])
def test_cancelling_says_when(user: User, server: Scripted, status: str, ends: str) -> None:
    server.answer(200, {"id": "5f", "status": status})
    assert run(user, server, "job", "cancel", "5f").out == f"the job 5f {ends}\n"


def test_one_job_in_words(user: User, server: Scripted) -> None:
    server.answer(200, {"id": "5f", "parameters": {"steps": 2}, "counts": {}})
    assert run(user, server, "job", "show", "5f").out.splitlines() == ["id          5f", "parameters  steps=2", "counts      -"]


def test_a_schedule_with_all_that_can_be_said(user: User, server: Scripted) -> None:
    server.answer(200, {"nextAt": "2026-01-04T02:30:00Z"})
    done = run(user, server, "cron", "set", "scrub", "0 30 2 * * sun", "--parameter", "gigabytes=5", "--retries", "1")
    assert done.out == "scrub runs next at 2026-01-04T02:30:00Z\n"
    assert server.asked[0].body == {"schedule": "0 30 2 * * sun", "parameters": {"gigabytes": 5}, "retries": 1}


@pytest.mark.parametrize(
    ("line", "path", "member"),
    [
        ("job list", f"{JOBS}?", "jobs"),
        ("job list --action audit --status failed", f"{JOBS}?action=audit&status=failed&", "jobs"),
        ("job kinds", f"{CRONS}?", "crons"),
        ("cron list", f"{CRONS}?", "crons"),
    ],
)
def test_lists(user: User, server: Scripted, line: str, path: str, member: str) -> None:
    server.answer(200, {member: [{"action": "one"}]}, X_Next_Page_Start="next")
    server.answer(200, {member: [{"action": "two"}]})
    done = run(user, server, *line.split())
    assert (done.code, done.err, len(done.out.splitlines())) == (0, "", 3)
    assert server.asked[0].path == path + "pageSize=100"
    assert run(user, server, *line.split(), "--output", "json").json() == {member: [{"action": "two"}]}


def test_kinds_tell_their_parameters(user: User, server: Scripted) -> None:
    bounds = {"summary": "s", "default": 0, "least": 0, "most": 1440}
    server.answer(200, {"crons": [{"action": "audit", "accepts": {}}, {"action": "gc", "accepts": {"minutes": bounds}}]})
    assert "minutes=0 (0 to 1440)" in run(user, server, "job", "kinds").out


def test_numbers_stand_in_tables_in_words(user: User, server: Scripted) -> None:
    server.answer(200, {"all": [{"action": "x", "counts": {"blobs": 5, "bytes": 7}, "parameters": {"days": 30}}]})
    assert "blobs=5, bytes=7" in run(user, server, "job", "list").out
    assert "days=30" in run(user, server, "cron", "list").out


def test_a_log_is_read_to_its_end(user: User, server: Scripted) -> None:
    say(server, lines("a", "b\x1b"), lines("c", first=2), lines(first=3))
    done = run(user, server, "job", "logs", "5f")
    assert done == Done(0, "".join(f"2026-01-01T00:00:00Z  {text}\n" for text in ("a", "b\\x1b", "c")), "")
    assert [each.path.partition("?")[2] for each in server.asked] == [f"offset={n}&limit=1000" for n in (0, 2, 3)]
    server.plan.clear()
    say(server, lines("a"), lines(first=1))
    assert run(user, server, "job", "logs", "5f", "--output", "json").json() == {"lines": lines("a")["lines"]}


# ----------------------------------------------------------------------------------------------------------- following


def test_followed_until_it_is_done(user: User, server: Scripted) -> None:
    say(server, WAITING, WAITING, lines(), RUNNING, lines("a"), lines(first=1), DONE_JOB, lines("b", first=1), lines(first=2))
    say(server, DONE_JOB)
    done = run(user, server, "job", "run", "x", "-f")
    assert done.out == "2026-01-01T00:00:00Z  a\n2026-01-01T00:00:00Z  b\n"
    assert done.err == "slipway: started the job 5f\nslipway: the job 5f is done: steps 2, kept 1\n"
    assert (done.code, user.waited) == (0, [command.PAUSE, command.PAUSE])


@pytest.mark.parametrize(("ended", "told"), [(FAILED, "failed: no \\x1b way"), (CANCELLED, "was cancelled")])
@pytest.mark.parametrize("words", [("run", "x"), ("logs", "5f")])
def test_not_done_in_the_end(user: User, server: Scripted, words: tuple[str, str], ended: Told, told: str) -> None:
    say(server, *([WAITING] if words[0] == "run" else []), ended, lines("a"), lines(first=1), ended)
    done = run(user, server, "job", *words, "--follow")
    assert (done.code, user.waited) == (1, [])
    assert done.out == "2026-01-01T00:00:00Z  a\n"
    assert done.err.endswith(f"slipway: the job 5f {told}\n")


def test_followed_in_json(user: User, server: Scripted) -> None:
    say(server, WAITING, FAILED, lines("a"), lines(first=1), FAILED)
    done = run(user, server, "job", "run", "x", "--follow", "--output", "json")
    assert (done.code, done.json()) == (1, FAILED)
    server.plan.clear()
    say(server, DONE_JOB, lines("a"), lines(first=1), DONE_JOB)
    done = run(user, server, "job", "logs", "5f", "--follow", "--output", "json")
    assert (done.code, done.json()) == (0, {"lines": lines("a")["lines"]})


# ------------------------------------------------------------------------------------------------- the whole program


@pytest.fixture
def surface() -> Surface:
    return Surface()


@pytest.fixture
def admin(user: User, surface: Surface) -> Iterator[User]:
    """Who waits lets the registry's jobs run meanwhile."""

    class Waiting(list[float]):
        def append(self, seconds: float) -> None:
            super().append(seconds)
            surface.run_jobs()

    user.waited = Waiting()
    with served(surface) as host:
        assert user.run("login", "-u", "admin", "--password-stdin", host, stdin=PASSWORD).code == 0
        yield user


def test_run_and_watched(admin: User) -> None:
    done = admin.run("job", "run", "climb", "--parameter", "steps=2", "--follow")
    assert done.code == 0
    assert [line.partition("  ")[2] for line in done.out.splitlines()][:2] == ["step 0", "step 1"]
    assert done.err.endswith("is done: steps 2\n")
    done = admin.run("job", "run", "stumble", "--follow")
    assert done.code == 1
    assert "there is no way on" in done.err
    (failed,) = admin.run("job", "list", "--status", "failed", "--output", "json").json()["jobs"]
    assert "on the way" in admin.run("job", "logs", failed["id"]).out
    assert admin.run("job", "cancel", failed["id"]).code == 1
    assert admin.run("job", "delete", failed["id"], "--yes").code == 0
    assert admin.run("job", "show", failed["id"]).code == 1


def test_refused_in_words(admin: User) -> None:
    assert "from 0 to 2000" in admin.run("job", "run", "climb", "--parameter", "steps=5000").err
    assert admin.run("job", "run", "fly") == Done(1, "", "slipway: no such kind of job\n")
    assert admin.run("job", "run", "climb").code == 0
    assert admin.run("job", "run", "climb").code == 1
    assert admin.run("cron", "set", "climb", "daily").code == 1


def test_schedules(admin: User, surface: Surface) -> None:
    assert admin.run("cron", "set", "climb", "0 30 2 * * *", "--parameter", "steps=1").code == 0
    assert "0 30 2 * * *" in admin.run("cron", "list").out
    surface.clock.advance(86_400)
    surface.run_jobs()
    (job,) = admin.run("job", "list", "--output", "json").json()["jobs"]
    assert (job["status"], job["createdBy"], job["parameters"]) == ("done", "", {"steps": 1})
    assert admin.run("cron", "unset", "climb").code == 0
    crons = admin.run("cron", "list", "--output", "json").json()["crons"]
    assert [each["schedule"] for each in crons] == ["", ""]
    assert "steps=3 (0 to 2000)" in admin.run("job", "kinds").out
