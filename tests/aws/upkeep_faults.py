"""Each call to AWS of a flow fails: whoever asked for it is told so or succeeds, and succeeds when trying again; nothing
disagrees meanwhile; and in the end, tried again or not, nothing is left.

What lies in the table and the bucket is brought into memory to be looked at, and to see what becomes of it in many days: that
costs nothing there, and says as much, the adapters keeping one contract. Days are lived through on AWS itself where all calls
fail once in one run.
"""

from __future__ import annotations

import hashlib
import json
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.agreement import DAY, assert_agreement, assert_settled, collect, live_state, sweep
from tests.auditing import audit
from tests.aws.upkeep_flows import FLOWS, Upkeep, attempted, prepared
from tests.aws.wired import Wired, Wires, brought
from tests.cloud.client import expected, sent
from tests.cloud.faults import Fault, Kind
from tests.cloud.json_front import TRANSACTION
from tests.life_cycle.test_faults import REFUSED, SETTLED, assert_told
from tests.life_cycle.world import Flow, Seen, World

NEVER = 1_000_000
READS = frozenset({"GetItem", "BatchGetItem", "Query", "Scan"})
TABLE_WRITES = frozenset({TRANSACTION, "PutItem", "UpdateItem", "DeleteItem"})
S3_READS = frozenset({"HeadObject", "GetObject", "ListObjectsV2", "ListMultipartUploads", "ListParts"})

UNDONE = (Kind.SLOW_DOWN, Kind.FAILED, Kind.RESET)
DONE = (Kind.DONE_THEN_500, Kind.DONE_THEN_RESET)

LEAPS = (1.1, 1.1, 1.1, 8, 1.1, 1.1, 1.1)
"""Days from one run of the schedules to the next until all is over: graces end, then the trash, then graces again."""

Strike = tuple[Kind, int]
"""What fails, and how often in a row."""


def undone(operation: str) -> Sequence[Kind]:
    """How a call may fail of which nothing is done. S3 is asked with a signature that may expire on its way."""
    if operation in TABLE_WRITES:
        return (*UNDONE, Kind.THROTTLED, Kind.CONFLICT)
    return (*UNDONE, Kind.THROTTLED if operation in READS else Kind.FORBIDDEN)


def done(operation: str) -> Sequence[Kind]:
    """And one that is done, which makes no difference to a read."""
    if operation in READS | S3_READS:
        return ()
    return (*DONE, Kind.UNDER_WAY) if operation == TRANSACTION else DONE


def sampled(nth: int, operation: str, turn: int, *, both: bool) -> Iterator[Strike]:
    """One kind of each sort, or of either, another one each turn. An idle connection that breaks is taken for one that was
    closed since, and a read goes by another one: only when that breaks, too, anybody is told."""
    sorts = [kinds for kinds in (undone(operation), done(operation)) if kinds]
    for kinds in sorts if both else [sorts[nth % len(sorts)]]:
        kind = kinds[(nth + turn) % len(kinds)]
        yield kind, 2 if kind is Kind.RESET and operation in READS else 1 + (nth // len(kinds) + turn) % 2


@dataclass(frozen=True)
class Clean:
    """What happens when nothing fails: the calls, by their operations, and what is to be seen then and in the end."""

    calls: Sequence[str]
    seen: tuple[Seen, Seen]


def begun(wires: Wires, flow: Flow, world: World) -> Wired:
    site = wires.poured(world)
    if isinstance(flow, Upkeep):
        flow.arrange(site)
    return site


def as_it_should_be(wires: Wires, flow: Flow, world: World) -> Clean:
    site = begun(wires, flow, world)
    counting = Fault(Kind.FAILED, nth=NEVER)
    wires.faults.append(counting)
    assert flow.act(site) in flow.done
    wires.faults.clear()
    return Clean(counting.met, in_the_end(flow, site))


def in_the_end(flow: Flow, site: Wired) -> tuple[Seen, Seen]:
    """What is to be seen after the flow has succeeded, and when all is over."""
    if isinstance(flow, Upkeep):
        flow.then(site)
    after = brought(site)
    if isinstance(flow, Upkeep):
        flow.proof(after)
    assert site.wires.unfinished() == []
    assert_agreement(after.surface)
    seen = after.seen()
    assert_told(after, flow.told)
    assert_settled(after.surface, SETTLED)
    return seen, after.seen()


def each_call_fails(wires: Wires, name: str, turn: int = 0, *, step: int = 1, both: bool = False) -> int:
    """Every call of a flow, or each of so many, the flow begun anew each time; how often that was. Turns have other kinds, and
    ``both`` is for writes: nothing done, and done without an answer."""
    flow = FLOWS[name]
    world = prepared(flow)
    clean = as_it_should_be(wires, flow, world)
    runs = 0
    for nth, operation in [*enumerate(clean.calls, 1)][::step]:
        for kind, times in sampled(nth, operation, turn, both=both):
            site, fault = begun(wires, flow, world), Fault(kind, nth=nth, times=times)
            try:
                fails(site, flow, clean, fault)
            except AssertionError as failure:
                failure.add_note(f"{name}: {fault}")
                raise
            runs += 1
    assert runs > 3
    assert_pulls(site)
    return runs


def each_call_fails_once(wires: Wires, name: str, kind: Kind) -> int:
    """All of them, and the adapters repeat them: nobody notices. How many they were. In the end days pass on AWS itself."""
    flow = FLOWS[name]
    world = prepared(flow)
    clean = as_it_should_be(wires, flow, world)
    site = begun(wires, flow, world)
    fault = Fault(kind, once_each=True)
    wires.faults.append(fault)
    status = attempted(flow, site)
    assert status in flow.done, (status, fault.met)
    assert fault.hits >= len(clean.calls) // 2  # reads that are the same fail once together
    wires.faults.clear()
    assert in_the_end(flow, site) == clean.seen
    assert_pulls(site)
    live_through(site)
    return fault.hits


def fails(site: Wired, flow: Flow, clean: Clean, fault: Fault) -> None:
    """Do it with this fault, and again until it succeeds: as often again as there are faults, at most."""
    site.wires.faults.append(fault)
    told = [attempted(flow, site)]
    assert fault.hits, clean.calls
    if fault.kind is Kind.CONFLICT:
        assert told[-1] in flow.done, told  # whoever meets somebody else tries again by himself
    if told[-1] not in flow.done:
        assert told[-1] in flow.refused | REFUSED, told
        assert_can_be_left(flow, brought(site))
    while told[-1] not in flow.done | (flow.again if len(told) > 1 else frozenset()):
        assert len(told) <= fault.times, told
        told.append(attempted(flow, site))
    site.wires.faults.clear()
    assert in_the_end(flow, site) == clean.seen, told


def assert_can_be_left(flow: Flow, world: World) -> None:
    """Nobody tries again. What the audit has begun to put right, another one does."""
    if isinstance(flow, Upkeep) and flow.mends:
        audit(world.surface)
    assert_agreement(world.surface)
    assert_settled(world.surface, SETTLED)


# ------------------------------------------------------------------------------------------------------------- on AWS itself


def assert_pulls(site: Wired) -> None:
    """All that is to be seen comes as it went in, by the links that the program gives."""
    for name, (manifests, tags, _) in brought(site).seen().items():
        repository = name.removeprefix("name/")
        for reference in (sort.partition("/")[2] for sort in (*tags, *manifests)):
            manifest = fetched(site, f"/v2/{repository}/manifests/{reference}")
            told = json.loads(manifest)
            for blob in (told["config"], *told["layers"]):
                content = fetched(site, f"/v2/{repository}/blobs/{blob['digest']}")
                assert blob["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"


def fetched(site: Wired, path: str) -> bytes:
    answer = site.call("GET", path)
    if answer.status == 307:
        link = urllib.request.Request(answer.headers["Location"])  # noqa: S310  # a front of ours
        return expected(sent(link), 200).body
    assert answer.status == 200
    return bytes(answer.body)


def live_through(site: Wired) -> None:
    """Days pass, with the schedules, and nothing fails any more: nothing is left beyond what is live."""
    for days in LEAPS:
        sweep(site.surface)
        collect(site.surface)
        site.clock.advance(days * DAY)
    collect(site.surface)
    state = live_state(brought(site).surface)
    assert [*state.disagreements(), *state.leavings(), *site.wires.unfinished()] == []
