"""Each call of AWS of everything that is done to a registry fails, once and twice: whoever asked is told so or succeeds, and
succeeds when trying again; and whether or not anybody does, in the end nothing disagrees and nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import pytest

from chalicelib.registry.errors import Busy, RegistryError
from chalicelib.registry.events import Actor
from chalicelib.registry.names import Digest, RepositoryName, parse_reference
from chalicelib.registry.ports import Conflict
from tests.agreement import DAY, assert_agreement, assert_settled, collect, settle, sweep
from tests.auditing import audit
from tests.faulty import Failed, Fault
from tests.life_cycle.world import ONE, OTHER, Flow, Seen, Site, World
from tests.surface import CONFIG, image, index

APP = RepositoryName.parse(ONE)
HOUR = 3600
ADMIN = Actor("admin")
SETTLED = 22
"""Days after which all is over, by the settings that hold here."""

REFUSED = frozenset({429, 500, 507})
"""How everything may fail."""

MANY = 40
SAMPLED = 3
"""Calls of a flow that fail from its beginning on; of one that makes more, which then are the same for each of many layers, the
last ones besides."""

LAYERS = tuple(f"layer {number}".encode() for number in range(60))
IMAGE, SECOND = image(b"layer"), image(b"second", annotations={"which": "second"})
LARGE = image(*LAYERS)
LONG = image(b"layer", annotations={"fill": "x" * 300_000})
INDEX = index(IMAGE, SECOND)
DELETED = (frozenset({202}), frozenset({202, 404}), frozenset({404}))
"""What deleting answers: that it is gone, or that there was nothing, to who is not told of his own success."""


def named(content: bytes) -> str:
    return str(Digest.of(content))


def about(subject: bytes) -> bytes:
    fields = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": named(subject), "size": len(subject)}
    return image(b"signature", subject=fields)


# --------------------------------------------------------------------------------------------------------------- what is there


def nothing(_: World) -> None:
    pass


def blobs(world: World, *contents: bytes, where: str = ONE) -> None:
    for content in (CONFIG, *contents):
        assert world.push_blob(where, content) == 201


def layered(world: World) -> None:
    blobs(world, b"layer")


def layered_elsewhere(world: World) -> None:
    blobs(world, b"layer", where=OTHER)


def pushed(world: World) -> None:
    layered(world)
    assert world.put(ONE, "1.0", IMAGE) == 201


def two(world: World) -> None:
    pushed(world)
    blobs(world, b"second")
    assert world.put(ONE, "2.0", SECOND) == 201


def indexed(world: World) -> None:
    two(world)
    assert world.put(ONE, "all", INDEX) == 201
    for tag in ("1.0", "2.0"):
        assert world.delete(ONE, f"manifests/{tag}") == 202


def referred(world: World) -> None:
    pushed(world)
    blobs(world, b"signature")
    assert world.put(ONE, "", about(IMAGE)) == 201


def large(world: World) -> None:
    blobs(world, *LAYERS)


def large_pushed(world: World) -> None:
    large(world)
    assert world.put(ONE, "large", LARGE) == 201


def large_shared(world: World) -> None:
    """Most of it is that of another image."""
    large(world)
    assert world.put(ONE, "most", image(*LAYERS[:55])) == 201


def long_pushed(world: World) -> None:
    blobs(world, b"layer")
    assert world.put(ONE, "long", LONG) == 201


def many_tags(world: World) -> None:
    pushed(world)
    for start in range(0, 45, 15):
        tags = tuple(f"t{start + number}" for number in range(15))
        assert world.put(ONE, tags[0], IMAGE, tags=tags) == 201


def after(prepare: Callable[[World], object], days: float, *deeds: Callable[[World], object]) -> Callable[[World], None]:
    """And then something is done, and time passes."""

    def prepared(world: World) -> None:
        prepare(world)
        for deed in deeds:
            deed(world)
        world.clock.advance(days * DAY)

    return prepared


def deleted(what: str) -> Callable[[World], None]:
    def delete(world: World) -> None:
        assert world.delete(ONE, what) == 202

    return delete


def collected(days: float) -> Callable[[World], None]:
    def collecting(world: World) -> None:
        world.clock.advance(days * DAY)
        collect(world.surface)

    return collecting


def without_repository(world: World) -> None:
    world.surface.registry.repositories.delete(APP)


def given_up(world: World) -> None:
    """Uploads of which nothing more comes, and a push that died."""
    large_shared(world)
    world.clock.advance(5 * DAY)
    world.call("PATCH", world.call("POST", f"/v2/{ONE}/blobs/uploads/").headers["Location"], b"some")
    world.put_directly(ONE, b"named by nobody")
    world.faults.arm(Fault.BROKEN, 6)
    assert world.put(ONE, "large", LARGE) == 500
    assert world.faults.rest()


def policy(world: World) -> None:
    world.surface.configuration.change(untagged_days=1)
    audit(world.surface)  # it notes what was untagged when nobody waited for it


# --------------------------------------------------------------------------------------------------------------- what is done


def first_wrong(*steps: Callable[[], int]) -> int:
    """The status of the first step that fails, or of the last one."""
    status = 0
    for step in steps:
        status = step()
        if status >= 400:
            break
    return status


def push_image(world: Site) -> int:
    steps = [partial(world.push_blob, ONE, content) for content in (CONFIG, b"layer")]
    return first_wrong(*steps, partial(world.put, ONE, "1.0", IMAGE))


def push_in_chunks(world: Site) -> int:
    return world.push_in_chunks(ONE, b"layer in chunks")


def push_directly(world: Site, *, told: bool) -> int:
    """The store tells of it now, as often as it has to, or never."""
    key = world.put_directly(ONE, b"layer")
    for _ in range(3 if told else 0):
        try:
            world.adopt(key)
        except (Busy, Conflict, Failed):
            continue
        break
    return first_wrong(partial(world.push_blob, ONE, CONFIG), partial(world.put, ONE, "1.0", IMAGE))


def put(content: bytes, reference: str = "", tags: tuple[str, ...] = ()) -> Callable[[Site], int]:
    return lambda world: world.put(ONE, reference, content, tags=tags)


def delete(what: str) -> Callable[[Site], int]:
    return lambda world: world.delete(ONE, what)


def mount(source: str) -> Callable[[Site], int]:
    return lambda world: world.call("POST", f"/v2/{ONE}/blobs/uploads/?mount={named(b'layer')}{source}").status


def head(what: str) -> Callable[[Site], int]:
    return lambda world: world.call("HEAD", f"/v2/{ONE}/{what}").status


def told(deed: Callable[[], object]) -> int:
    """What would be answered to who asked for it."""
    try:
        deed()
    except Busy:
        return 429
    except RegistryError as error:
        return 404 if "Unknown" in type(error).__name__ or "NotRestorable" in type(error).__name__ else 409
    except (Failed, Conflict):
        return 500
    return 201


def restore(reference: str) -> Callable[[Site], int]:
    return lambda world: told(lambda: world.surface.trash.restore(APP, parse_reference(reference), ADMIN))


def collecting(world: Site) -> int:
    return told(lambda: collect(world.surface))


def sweeping(world: Site) -> int:
    return told(lambda: sweep(world.surface))


def delete_repository(world: Site) -> int:
    return told(lambda: world.surface.registry.repositories.delete(APP))


def settings(world: Site) -> int:
    return told(lambda: world.surface.configuration.change(grace_hours=5))


FLOWS: dict[str, Flow] = {
    "push an image": Flow(nothing, push_image, told=(b"layer",)),
    "push an image again": Flow(pushed, push_image, told=(b"layer",)),
    "push a blob in chunks": Flow(nothing, push_in_chunks, refused=frozenset({404, 416}), told=(b"layer in chunks",)),
    "push a blob that another has": Flow(
        partial(blobs, where=OTHER), lambda world: world.push_blob(ONE, CONFIG), told=(CONFIG,)
    ),
    "direct lane, told": Flow(nothing, partial(push_directly, told=True)),
    "direct lane, never told": Flow(nothing, partial(push_directly, told=False)),
    "push by digest": Flow(layered, put(IMAGE)),
    "push several tags": Flow(two, put(IMAGE, tags=("2.0", "3.0", "4.0"))),
    "move a tag": Flow(two, put(SECOND, "1.0")),
    "push a large manifest": Flow(large, put(LARGE, "large")),
    "push a large manifest again": Flow(large_pushed, put(LARGE, "large")),
    "push a large manifest of shared layers": Flow(large_shared, put(LARGE, "large")),
    "push a long manifest": Flow(layered, put(LONG, "long")),
    "push a long manifest again": Flow(long_pushed, put(LONG, "long")),
    "push an index": Flow(two, put(INDEX, "all")),
    "push a referrer": Flow(after(pushed, 0, lambda world: blobs(world, b"signature")), put(about(IMAGE))),
    "untag": Flow(pushed, delete("manifests/1.0"), *DELETED),
    "delete a manifest": Flow(pushed, delete(f"manifests/{named(IMAGE)}"), *DELETED),
    "delete a manifest of many tags": Flow(many_tags, delete(f"manifests/{named(IMAGE)}"), *DELETED),
    "delete a long manifest": Flow(long_pushed, delete(f"manifests/{named(LONG)}"), *DELETED),
    "delete a long manifest once more": Flow(
        after(long_pushed, 1, deleted(f"manifests/{named(LONG)}"), long_pushed),
        delete(f"manifests/{named(LONG)}"),
        *DELETED,
    ),
    "delete a referrer": Flow(referred, delete(f"manifests/{named(about(IMAGE))}"), *DELETED),
    "delete a subject": Flow(referred, delete(f"manifests/{named(IMAGE)}"), *DELETED),
    "delete an index": Flow(indexed, delete(f"manifests/{named(INDEX)}"), *DELETED),
    "delete a blob": Flow(blobs, delete(f"blobs/{named(CONFIG)}"), *DELETED),
    "delete a blob of a removed manifest": Flow(
        after(pushed, 1, deleted(f"manifests/{named(IMAGE)}")),
        delete(f"blobs/{named(CONFIG)}"),
        *DELETED,
    ),
    "mount": Flow(layered_elsewhere, mount(f"&from={OTHER}"), told=(b"layer",)),
    "mount from any": Flow(layered_elsewhere, mount(""), told=(b"layer",)),
    "mount what is there": Flow(layered, mount(f"&from={ONE}"), told=(b"layer",)),
    "find a blob there": Flow(
        after(layered, 1),
        head(f"blobs/{named(b'layer')}"),
        frozenset({307}),
        frozenset({307}),
        told=(b"layer",),
    ),
    "find an untagged manifest there": Flow(
        after(pushed, 0.5, deleted("manifests/1.0")),
        head(f"manifests/{named(IMAGE)}"),
        frozenset({200}),
        frozenset({200}),
    ),
    "restore a manifest": Flow(
        after(pushed, 2, deleted(f"manifests/{named(IMAGE)}")), restore(named(IMAGE)), again=frozenset({201, 404})
    ),
    "restore a tag": Flow(after(pushed, 2, deleted("manifests/1.0")), restore("1.0"), again=frozenset({201, 404, 409})),
    "restore a tag and its manifest": Flow(
        after(pushed, 2, deleted("manifests/1.0"), deleted(f"manifests/{named(IMAGE)}")),
        restore("1.0"),
        again=frozenset({201, 404, 409}),
    ),
    "restore a large manifest": Flow(
        after(large_pushed, 2, deleted(f"manifests/{named(LARGE)}")), restore(named(LARGE)), again=frozenset({201, 404})
    ),
    "restore a long manifest": Flow(
        after(long_pushed, 2, deleted(f"manifests/{named(LONG)}")), restore(named(LONG)), again=frozenset({201, 404})
    ),
    "collect links": Flow(after(blobs, 1.1), collecting),
    "collect blobs": Flow(after(blobs, 1.1, collected(1.1)), collecting),
    "collect blobs of the direct lane": Flow(
        after(nothing, 1.1, lambda world: world.adopt(world.put_directly(ONE, b"layer")), collected(1.1)), collecting
    ),
    "collect links that are needed": Flow(after(pushed, 1.1, layered), collecting),
    "collect what was untagged": Flow(after(indexed, 1.1, policy, collected(1)), collecting),
    "collect an untagged manifest": Flow(after(pushed, 1.1, policy, deleted("manifests/1.0")), collecting),
    "collect an untagged referrer": Flow(
        after(referred, 1.1, policy, deleted(f"manifests/{named(IMAGE)}"), collected(8)), collecting
    ),
    "expire": Flow(after(pushed, 7.1, deleted(f"manifests/{named(IMAGE)}")), collecting),
    "expire a tag": Flow(after(pushed, 7.1, deleted("manifests/1.0")), collecting),
    "expire an index": Flow(after(indexed, 7.1, deleted(f"manifests/{named(INDEX)}")), collecting),
    "expire a subject": Flow(after(referred, 7.1, deleted(f"manifests/{named(IMAGE)}")), collecting),
    "expire a large manifest": Flow(after(large_pushed, 7.1, deleted(f"manifests/{named(LARGE)}")), collecting),
    "expire a long manifest": Flow(after(long_pushed, 7.1, deleted(f"manifests/{named(LONG)}")), collecting),
    "delete a repository": Flow(referred, delete_repository, again=frozenset({201, 404}), refused=frozenset({404})),
    "clear a repository": Flow(
        after(referred, 0.1, long_pushed, deleted(f"manifests/{named(LONG)}"), without_repository), collecting
    ),
    "sweep": Flow(after(given_up, 2), sweeping),
    "change the settings": Flow(blobs, settings),
}


# ----------------------------------------------------------------------------------------------------------------- the matrix


@cache
def prepared(flow: str) -> World:
    world = World()
    FLOWS[flow].prepare(world)
    return world


def assert_told(world: World, contents: tuple[bytes, ...]) -> None:
    """What somebody was told to be there stays for as long as the grace."""
    world.clock.advance(DAY - 1)
    collect(world.surface)
    for content in contents:
        assert f"blob/{named(content)}" in world.seen()[f"name/{ONE}"][2]


@cache
def as_it_should_be(flow: str) -> tuple[int, tuple[Seen, Seen]]:
    """How many calls the flow makes, and what is to be seen when none fails."""
    world = prepared(flow).copied()
    world.faults.arm(Fault.BROKEN, 0)
    assert FLOWS[flow].act(world) in FLOWS[flow].done, flow
    calls = world.faults.calls
    seen = world.seen()
    assert_settled(world.surface, SETTLED)
    return calls, (seen, world.seen())


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("kind", Fault, ids=lambda kind: kind.name)
@pytest.mark.parametrize("flow", FLOWS)
def test_every_call_fails(flow: str, kind: Fault, times: int) -> None:
    """And then the caller tries again, or does not."""
    what, (calls, seen) = FLOWS[flow], as_it_should_be(flow)
    every = SAMPLED if calls > MANY else 1  # the batches of a large flow are much alike
    for nth in (*range(1, MANY, every), *range(max(MANY, calls - MANY // 2), calls + 20, every)):
        world = prepared(flow).copied()
        world.faults.arm(kind, nth, times)
        status = what.act(world)
        if world.faults.calls < nth:
            break
        assert status in what.done | what.refused | REFUSED, (nth, world.faults.log)
        with world.spared():
            assert_agreement(world.surface)
        given_up = world.copied()
        tries = [status]
        while tries[-1] not in what.done | (what.again if len(tries) > 1 else frozenset()):
            assert len(tries) <= times, (nth, tries, world.faults.log)
            tries.append(what.act(world))
        world.faults.rest()
        assert world.seen() == seen[0], (nth, tries, world.faults.log)
        assert_told(world, what.told)
        assert_settled(world.surface, SETTLED)
        assert world.seen() == seen[1]
        assert_settled(given_up.surface, SETTLED)
    assert nth > 1


def test_what_speaks_of_a_subject_that_never_came_is_not_spared() -> None:
    """The subject was on its way when the collector looked."""
    world = World()
    large(world)
    blobs(world, b"signature")
    assert world.put(ONE, "", about(LARGE)) == 201
    world.clock.advance(1.1 * DAY)
    world.faults.arm(Fault.BROKEN, 6)
    assert world.put(ONE, "large", LARGE) == 500
    assert world.faults.rest()
    collect(world.surface)
    policy(world)
    settle(world.surface)
    assert_agreement(world.surface)
    assert world.seen()[f"name/{ONE}"][0] == frozenset()
