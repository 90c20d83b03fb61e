"""What is done to a registry that collection has to do with, as a client or a schedule does it, to be done on AWS while calls
fail. Most flows are those of tests/life_cycle; here are besides the jobs, which that does without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException

from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.exceptions import PynamoDBException

from chalicelib.aws.json_service import ServiceError
from chalicelib.local.cron_times import CronTimes
from chalicelib.registry.condemned import Link, note_key
from chalicelib.registry.errors import Busy
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.ports import Conflict, Delete, Update
from chalicelib.registry.records import CONDEMNED_AT, blob_key, holder_key, link_key, number
from chalicelib.registry.upkeep import work
from chalicelib.registry.upkeep.crons import Crons
from chalicelib.registry.upkeep.job_runner import LEASE_SECONDS, Runner
from chalicelib.registry.upkeep.jobs import DONE, Jobs, Kind, Parameter
from chalicelib.registry.upkeep.leftovers import Leftovers
from chalicelib.registry.upkeep.pairing import Pairing
from chalicelib.registry.upkeep.scrub import DAMAGED_AT, Scrub
from tests.agreement import DAY, collect
from tests.auditing import audit
from tests.counts import Run
from tests.frozen_clock import FrozenClock
from tests.life_cycle import test_faults as life
from tests.life_cycle.world import ONE, Flow, Site, World
from tests.surface import CONFIG

AWS_FAILED = (ServiceError, PynamoDBException, BotoCoreError, ClientError, HTTPException, OSError)
"""How the adapters say that AWS failed; within the program only the log is told."""

LAYER, GIVEN_UP, SPOILT = b"layer", b"given up", b"to be spoilt"


def nothing(_: Site) -> None:
    pass


@dataclass(frozen=True)
class Upkeep(Flow):
    """A flow on AWS. ``arrange`` is what only AWS can be prepared with, ``then`` what is to follow before ``proof`` says what
    is not as it should be. ``mends``: until it is done what is kept need not agree."""

    arrange: Callable[[Site], object] = nothing
    then: Callable[[Site], object] = nothing
    proof: Callable[[World], object] = nothing
    mends: bool = False


def job(flow_work: Callable[[Site, Run], object], **parameters: int) -> Callable[[Site], int]:
    """What a schedule does: the work of a kind of job, told by its status."""
    return lambda site: life.told(lambda: flow_work(site, Run(parameters=parameters)))


def attempted(flow: Flow, site: Site) -> int:
    """The status of one try."""
    try:
        return flow.act(site)
    except (*AWS_FAILED, Busy, Conflict):
        return 500


# ----------------------------------------------------------------------------------------------------------- garbage


def unheld(world: World) -> None:
    """Blobs of an image that was deleted, its links gone as well: too old for the sweep, nobody but the collector comes upon
    what is left of them."""
    life.pushed(world)
    assert world.delete(ONE, f"manifests/{life.named(life.IMAGE)}") == 202
    for days in (7.1, 1.1):  # the trash, and the links that it leaves
        world.clock.advance(days * DAY)
        collect(world.surface)
    world.clock.advance(1.1 * DAY)


# ------------------------------------------------------------------------------------------------------------ sweeps


def given_up(world: World) -> None:
    """What is nobody's: a piece of an upload that ended, bytes sent past the program, those of a manifest that was not put."""
    life.blobs(world)
    world.put_directly(ONE, b"named by nobody")
    upload = f"{int(world.clock.now().timestamp()):08x}{'0' * 24}"
    world.store.put(f"data/{upload}/0", GIVEN_UP)
    repository = world.surface.registry.repositories.get(life.APP).id
    world.store.put(f"manifests/{repository}/{Digest.of(GIVEN_UP)}/0", GIVEN_UP)
    world.clock.advance(2 * DAY)


def sweep_staging(site: Site, run: Run) -> None:
    surface = site.surface
    leftovers = Leftovers(surface.table, surface.store, surface.clock, surface.multipart)
    work.sweep_staging(leftovers, Pairing(surface.table, surface.store), run)


def uploading(world: World) -> None:
    """A small push that stopped after a piece."""
    life.pushed(world)
    assert world.call("PATCH", world.call("POST", f"/v2/{ONE}/blobs/uploads/").headers["Location"], GIVEN_UP).status == 202


def sending_parts(site: Site) -> None:
    """A large one whose relay died when it had begun to send; then a day passes, and nobody goes on."""
    location = site.call("POST", f"/v2/{ONE}/blobs/uploads/").headers["Location"]
    begin = f"/_relay{location.replace('?', '/begin?', 1)}"
    assert site.call("POST", begin, b'{"content_range":null,"content_length":null}').status == 200
    site.clock.advance(1.1 * DAY)


def expire_uploads(site: Site, run: Run) -> None:
    work.expire_uploads(site.surface.registry.uploads, site.surface.registry.pushes, run)


def nothing_begun(world: World) -> None:
    assert world.table.query("unfinished") == []
    assert not [stored for stored in world.store.list("data/") if world.store._objects[stored.key].content == GIVEN_UP]


def nothing_given_up(world: World) -> None:
    nothing_begun(world)
    assert not [*world.store.list("direct/"), *world.store.list("manifests/")]


# ------------------------------------------------------------------------------------------------------ audit, scrub


def drifted(world: World) -> None:
    """As no flow leaves it: a blob that does not know of a link, one without a record, and one that nothing needs, and that
    nobody waits to take away."""
    life.pushed(world)
    life.blobs(world, b"unneeded")
    repository = world.surface.registry.repositories.get(RepositoryName.parse(ONE)).id
    layer, config, unneeded = (Digest.of(content) for content in (LAYER, CONFIG, b"unneeded"))
    link = link_key(repository, unneeded)
    condemned = number(world.table.get(link) or {}, CONDEMNED_AT)
    world.table.transact(
        [
            Delete(holder_key(layer, repository)),
            Delete(blob_key(config)),
            Update(link, remove=(CONDEMNED_AT,)),
            Delete(note_key(condemned, Link(repository, unneeded))),
        ]
    )


def damaged(world: World) -> None:
    """Beside an image that is sound."""
    life.pushed(world)
    life.blobs(world, SPOILT)
    world.store.put(str((world.table.get(blob_key(Digest.of(SPOILT))) or {})["key"]), b"other bytes")


def scrub(site: Site, run: Run) -> None:
    surface = site.surface
    Scrub(surface.table, surface.store, surface.clock, surface.registry.events).work(run)


def told_of_damage(world: World) -> None:
    assert DAMAGED_AT in (world.table.get(blob_key(Digest.of(SPOILT))) or {})
    events = world.surface.registry.events.page("", 100)
    assert [event.object for event in events if event.type == "BLOB_DAMAGED"] == [life.named(SPOILT)]


# -------------------------------------------------------------------------------------------------------------- jobs


def runner_of(site: Site) -> tuple[Jobs, Runner]:
    """A runner of one kind of job, which collects."""
    surface = site.surface
    minutes = Parameter("Minutes at most", 0, 0, 1_440)
    collects = Kind(
        "collect", "Collects", lambda run: work.collect_garbage(surface.garbage, surface.clock, run), "", {"minutes": minutes}
    )
    jobs = Jobs(surface.table, surface.clock, (collects,))
    return jobs, Runner(surface.table, surface.clock, jobs, Crons(surface.table, surface.clock, jobs, CronTimes()))


def to_be_collected(world: World) -> None:
    """A job that is due, with something to take away."""
    life.after(life.blobs, 1.1)(world)
    runner_of(world)[0].create("collect", {}, "admin")


def run_job(site: Site) -> int:
    """One tick, and time until the next: whoever died in it is taken for dead by then, and what failed is tried again."""
    jobs, runner = runner_of(site)
    runner.tick(lambda: 900.0)
    with site.spared():
        (found,) = jobs.page("", 10)
    if found.status == DONE:
        return 201
    site.clock.advance(LEASE_SECONDS)
    return 500


def job_is_over(world: World) -> None:
    (found,) = runner_of(world)[0].page("", 10)
    assert found.status == DONE
    assert world.table.query("open") == []


def history(world: World) -> None:
    """Jobs that ended long ago, one with a log of several items."""
    life.pushed(world)
    for kind, parameters in (("climb", {"steps": 120}), ("stumble", {})):
        world.surface.jobs.create(kind, parameters, "admin")
        world.surface.run_jobs()
    world.clock.advance(31 * DAY)


def trim_history(site: Site, run: Run) -> None:
    work.trim_history(site.surface.jobs, site.clock, run)


def nothing_remembered(world: World) -> None:
    assert not [item.key for item in world.table.walk(None, 1000).items if item.key.partition.startswith("job")]


FLOWS: dict[str, Flow] = {
    **{
        name: life.FLOWS[name]
        for name in (
            "push an image",
            "push a blob in chunks",
            "push a long manifest",
            "untag",
            "delete a manifest",
            "restore a manifest",
            "restore a tag",
            "expire",
            "expire a long manifest",
            "collect links",
        )
    },
    "collect blobs": Flow(unheld, life.collecting),
    "sweep staging": Upkeep(given_up, job(sweep_staging), proof=nothing_given_up),
    # An upload ends before its bytes go. Whoever fails between leaves those to the sweep.
    "expire uploads": Upkeep(
        uploading, job(expire_uploads), arrange=sending_parts, then=job(sweep_staging), proof=nothing_begun
    ),
    "audit": Upkeep(drifted, lambda site: life.told(lambda: audit(site.surface)), mends=True),
    "scrub": Upkeep(damaged, job(scrub, gigabytes=1), proof=told_of_damage),
    "run a job": Upkeep(to_be_collected, run_job, proof=job_is_over),
    "trim history": Upkeep(history, job(trim_history, days=30, keep=100), proof=nothing_remembered),
}


def prepared(flow: Flow) -> World:
    """In memory; the present is when it began: objects get the time at which they are poured."""
    world = World(FrozenClock(datetime.now(UTC)))
    flow.prepare(world)
    world.call("GET", "/v2/")  # whoever acts on a copy has a token
    return world
