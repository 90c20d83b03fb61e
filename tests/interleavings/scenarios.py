"""Who meets whom, in which world: what the walks go over.

A *family* is a world and what may be done there at once. Of each family all pairs are walked to the end, also with each of the
two dying before each of its calls, and (``loose``) with reads of several items that come apart; and all triples, and some
fours, as far as ``most`` lets them. Whoever collects does so once more with a clock that is a month *ahead*.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from itertools import chain, combinations

from chalicelib.registry.manifests import Manifest
from chalicelib.registry.names import Tag
from tests.interleavings import actors as do
from tests.interleavings.actors import Act
from tests.interleavings.stage import Scenario
from tests.interleavings.worlds import (
    APP,
    BASE,
    CONFIG,
    HUGE,
    IMAGE,
    LAYER,
    MANY,
    OTHER,
    SECOND,
    WIDE,
    Building,
    World,
    adopted,
    arrived,
    blob,
    choosing,
    chunk,
    collected,
    image,
    index,
    later,
    removed,
    stored,
    ticket,
    unlinked,
    untagged,
    world,
)

DAY = timedelta(days=1)

CHILDREN = index(IMAGE, note="of one")
SHARED = index(IMAGE, SECOND, note="of two")
SIGNATURE = image(CONFIG, subject=IMAGE, note="speaks of the image")
LARGE = image(note="large", fill=300_000)

ABANDONED_FOR = timedelta(hours=30)
"""How long ago an upload began that nobody goes on with."""

PUSH, TAGGED = do.push(IMAGE), do.push(IMAGE, "t")
RUNNING, OLD = ticket(7, begun=ABANDONED_FOR), ticket(5, begun=ABANDONED_FOR)
TAIL = b"and the rest"


@dataclass(frozen=True)
class Family:
    """``rare``: who is met in pairs, but not in triples; ``fours``: who is met in fours as well. ``most``: traces of each of
    those, at most. ``pairs_die`` is left out where an order takes long."""

    name: str
    buildings: Sequence[Building]
    actors: Mapping[str, Act]
    manifests: Sequence[Manifest]
    age: timedelta = timedelta(days=3)
    rare: frozenset[str] = field(default_factory=frozenset)
    fours: Sequence[str] = ()
    most: int = 1_500
    loose: bool = True
    pairs_die: bool = True

    def world(self) -> World:
        return _world_of(self.name)

    def scenarios(self) -> Iterator[Scenario]:
        """Pairs, triples and fours, and what is said of them above."""
        for pair in self._together(2, self.actors):
            yield replace(pair, dies=tuple(pair.actors) if self.pairs_die else ())
            if self.loose:
                yield replace(pair, name=f"{pair.name} loose", loose=True)
            yield from self._ahead(pair)
        common = {name: act for name, act in self.actors.items() if name not in self.rare}
        for more in (*self._together(3, common), *self._of(4, {name: self.actors[name] for name in self.fours})):
            yield more
            yield from self._ahead(more)

    def _ahead(self, scenario: Scenario) -> Iterator[Scenario]:
        if "collect" in scenario.actors:
            yield replace(scenario, name=f"{scenario.name} ahead", skews={"collect": 30 * DAY})

    def _together(self, number: int, acts: Mapping[str, Act]) -> Iterator[Scenario]:
        for scenario in self._of(number, {**acts, **{f"{name}'": act for name, act in acts.items()}}):
            if all(name.removesuffix("'") in scenario.actors for name in scenario.actors):
                yield scenario  # the second of one kind comes only with the first

    def _of(self, number: int, acts: Mapping[str, Act]) -> Iterator[Scenario]:
        for chosen in combinations(acts, number):
            named = {name: acts[name] for name in chosen}
            yield Scenario(f"{self.name}/{'+'.join(chosen)}", self.world, named, self.manifests, most=self.most)


@cache
def _world_of(family: str) -> World:
    found = families()[family]
    return world(*found.buildings, age=found.age)


def _of_blobs() -> Iterator[Family]:
    yield Family(
        "link",  # a blob that came long ago, and that no manifest has named
        [blob(BASE)],
        {
            "push": TAGGED,
            "head": do.after_each_other(do.head(BASE), TAGGED),
            "delete": do.delete_blob(BASE),
            "collect": do.collect,
            "mount": do.mount(BASE, APP, OTHER),
            "upload": do.upload(BASE, ticket(1)),
            "elsewhere": do.upload(BASE, ticket(2, OTHER)),
            "drop": do.drop(APP),
        },
        [IMAGE],
        most=3_600,
        fours=("head", "delete", "collect", "mount", "upload", "elsewhere"),
    )
    yield Family(
        "blob",  # bytes that no repository holds any more
        [blob(BASE), unlinked(BASE)],
        {
            "send": do.send_image(IMAGE, {BASE: ticket(1)}, "t"),
            "upload": do.upload(BASE, ticket(2)),
            "elsewhere": do.upload(BASE, ticket(3, OTHER)),
            "collect": do.collect,
            "mount": do.after_each_other(do.upload(BASE, ticket(4, OTHER)), do.mount(BASE, OTHER), TAGGED),
            "delete": do.delete_blob(BASE),
        },
        [IMAGE],
        age=timedelta(days=8),
        most=2_300,
    )
    yield Family(
        "held",  # bytes that one repository let go and another one holds
        [blob(BASE), blob(BASE, OTHER), unlinked(BASE, OTHER)],
        {
            "delete": do.delete_blob(BASE),
            "collect": do.collect,
            "push": TAGGED,
            "mount": do.mount(BASE, APP, OTHER),
            "upload": do.upload(BASE, ticket(3, OTHER)),
            "drop": do.drop(APP),
        },
        [IMAGE],
        age=timedelta(days=8),
        most=2_300,
    )
    yield Family(
        "again",  # a blob that was sent once more after its image was there
        [stored(IMAGE, "t"), blob(BASE, number=1)],
        {
            "delete": do.delete(IMAGE),
            "back": do.after_each_other(do.delete(IMAGE), do.restore(IMAGE.digest, IMAGE)),
            "collect": do.collect,
            "second": do.push(SECOND, "s"),
            "push": TAGGED,
            "head": do.head(BASE),
            "unlink": do.delete_blob(BASE),
        },
        [IMAGE, SECOND],
        most=600,
    )
    yield Family(
        "shared",  # bytes that two repositories hold, one of them for an image
        [stored(IMAGE, "t"), blob(BASE, OTHER)],
        {
            "mount": do.mount(BASE, OTHER),
            "any": do.mount_from_any(BASE, OTHER),
            "unlink": do.delete_blob(BASE, OTHER),
            "delete": do.delete(IMAGE),
            "collect": do.collect,
            "push": do.push(SECOND, "o", name=OTHER),
            "drop": do.drop(APP),
            "leave": do.drop(OTHER),
        },
        [IMAGE, SECOND],
    )


def _of_images() -> Iterator[Family]:
    yield Family(
        "image",  # one that is TAGGED; what is removed is not kept
        [choosing(restorable_days=0), stored(IMAGE, "t")],
        {
            "push": PUSH,
            "again": TAGGED,
            "switch": do.push(SECOND, "t"),
            "delete": do.delete(IMAGE),
            "untag": do.untag("t"),
            "unlink": do.delete_blob(BASE),
            "collect": do.collect,
            "index": do.push(CHILDREN, "i"),
            "head": do.head_manifest(IMAGE),
            "drop": do.drop(APP),
        },
        [IMAGE, SECOND, CHILDREN],
        rare=frozenset({"head", "drop"}),
    )
    yield Family(
        "trash",  # a removed image whose time is over
        [stored(IMAGE, "t"), removed(IMAGE)],
        {
            "restore": do.restore(IMAGE.digest, IMAGE, "t"),
            "push": TAGGED,
            "second": do.push(SECOND, "s"),
            "collect": do.collect,
            "delete": do.after_each_other(do.push(IMAGE, "u"), do.delete(IMAGE)),
            "head": do.after_each_other(do.head(BASE), do.push(SECOND, "h")),
            "unlink": do.delete_blob(BASE),
            "drop": do.drop(APP),
        },
        [IMAGE, SECOND],
        age=timedelta(days=8),
        rare=frozenset({"drop"}),
        most=500,
    )
    yield Family(
        "fresh trash",  # a removed image that may be restored, and a removed tag
        [stored(IMAGE, "t"), stored(SECOND, "s"), untagged("s"), removed(IMAGE)],
        {
            "restore": do.restore(IMAGE.digest, IMAGE, "t"),
            "tag": do.restore(Tag("s"), SECOND, "s"),
            "push": TAGGED,
            "delete": do.delete(SECOND),
            "collect": do.collect,
            "unlink": do.delete_blob(BASE),
            "upload": do.upload(BASE, ticket(1)),
        },
        [IMAGE, SECOND],
    )
    yield Family(
        "untagged",  # one that nothing needs, where such are collected
        [choosing(untagged_days=3, restorable_days=0), stored(IMAGE), later(DAY + timedelta(hours=2)), collected],
        {
            "push": TAGGED,
            "head": do.after_each_other(do.head_manifest(IMAGE), do.push(CHILDREN, "i")),
            "index": do.push(CHILDREN, "i"),
            "signature": do.after_each_other(do.upload(CONFIG, ticket(1)), do.push(SIGNATURE)),
            "collect": do.collect,
            "delete": do.delete(IMAGE),
            "same": PUSH,
        },
        [IMAGE, CHILDREN, SIGNATURE],
        age=timedelta(days=4),
    )
    yield Family(
        "index",  # two indexes that share an image
        [choosing(untagged_days=1, restorable_days=0), stored(IMAGE), stored(SECOND), stored(CHILDREN, "i")],
        {
            "delete": do.delete(CHILDREN),
            "child": do.delete(IMAGE),
            "second": do.delete(SECOND),
            "share": do.push(SHARED, "s"),
            "again": do.push(CHILDREN, "i"),
            "untag": do.untag("i"),
            "switch": do.push(IMAGE, "i"),
            "collect": do.collect,
        },
        [IMAGE, SECOND, CHILDREN, SHARED],
    )
    yield Family(
        "referrer",  # what speaks of an image
        [choosing(untagged_days=1, restorable_days=0), stored(IMAGE, "t"), blob(CONFIG)],
        {
            "sign": do.push(SIGNATURE),
            "delete": do.delete(IMAGE),
            "unsign": do.delete(SIGNATURE),
            "untag": do.untag("t"),
            "push": TAGGED,
            "collect": do.collect,
        },
        [IMAGE, SIGNATURE],
    )


def _of_uploads() -> Iterator[Family]:
    yield Family(
        "upload",  # one that has come in part
        [
            later(timedelta(days=3) - ABANDONED_FOR),
            chunk(ticket(8, begun=ABANDONED_FOR), LAYER),
            later(timedelta(hours=26)),
            chunk(ticket(9), BASE),
        ],
        {
            "finish": do.finish(BASE, ticket(9)),
            "last": do.finish(BASE + TAIL, ticket(9), TAIL),
            "cancel": do.cancel(ticket(9)),
            "append": do.append(ticket(9), TAIL),
            "expire": do.sweep_uploads,
            "old": do.finish(LAYER, ticket(8, begun=ABANDONED_FOR)),
            "sweep": do.sweep_store,
            "late": do.upload(CONFIG, RUNNING),
            "collect": do.collect,
            "same": do.upload(BASE, ticket(3)),
        },
        [IMAGE],
        rare=frozenset({"late", "collect"}),
        most=2_300,
        fours=("finish", "last", "cancel", "append", "expire"),
    )
    yield Family(
        "direct",  # bytes that came by the direct lane, of which nobody has heard
        [later(timedelta(days=3) - ABANDONED_FOR), arrived(BASE, OLD)],
        {
            "adopt": do.adopt(BASE, OLD),
            "push": do.push(IMAGE, "t", direct=True),
            "sweep": do.sweep_store,
            "upload": do.upload(BASE, ticket(1)),
            "unlink": do.delete_blob(BASE),
            "collect": do.collect,
            "drop": do.drop(APP),
        },
        [IMAGE],
    )
    yield Family(
        "adopted",  # a blob that lies where the direct lane brought it, and is garbage; the store tells of it once more
        [arrived(BASE, OLD), adopted(BASE, OLD), unlinked(BASE)],
        {
            "adopt": do.adopt(BASE, OLD),
            "unlink": do.delete_blob(BASE),
            "collect": do.collect,
            "upload": do.upload(BASE, ticket(1)),
            "elsewhere": do.upload(BASE, ticket(2, OTHER)),
            "sweep": do.sweep_store,
            "push": do.push(IMAGE, "t", direct=True),
        },
        [IMAGE],
        most=2_300,
        fours=("adopt", "unlink", "collect", "upload", "sweep"),
    )


def _of_large_ones() -> Iterator[Family]:
    yield Family(
        "large",  # a manifest whose bytes lie in the store
        [choosing(restorable_days=0), stored(LARGE, "t")],
        {
            "push": do.push(LARGE, "u"),
            "delete": do.delete(LARGE),
            "restore": do.after_each_other(do.delete(LARGE), do.restore(LARGE.digest, LARGE)),
            "collect": do.collect,
            "sweep": do.sweep_store,
            "drop": do.drop(APP),
        },
        [LARGE],
        age=timedelta(hours=27),
        most=250,
    )
    yield Family(
        "huge",  # one that needs more than a transaction holds
        [stored(IMAGE, "t"), *map(blob, MANY)],
        {
            "push": do.push(HUGE, "h"),
            "delete": do.delete(HUGE),
            "unlink": do.delete_blob(MANY[-1]),
            "sweep": do.sweep_pushes,
        },
        [IMAGE, HUGE],
        most=40,
        loose=False,
        pairs_die=False,
    )
    yield Family(
        "wide",  # an image of two blobs that came long ago
        [blob(BASE), blob(CONFIG)],
        {
            "push": do.push(WIDE, "t"),
            "head": do.after_each_other(do.head(CONFIG), do.head(BASE), do.push(WIDE, "t")),
            "unlink": do.delete_blob(BASE),
            "unlink config": do.delete_blob(CONFIG),
            "collect": do.collect,
        },
        [WIDE],
        most=600,
    )


@cache
def families() -> Mapping[str, Family]:
    """All of them, by name."""
    return {family.name: family for family in chain(_of_blobs(), _of_images(), _of_uploads(), _of_large_ones())}


def scenarios() -> Iterator[Scenario]:
    """Everything that is walked, without the variants in which somebody dies."""
    for family in families().values():
        yield from family.scenarios()


@cache
def by_name() -> Mapping[str, Scenario]:
    return {scenario.name: scenario for scenario in scenarios()}


def find(title: str) -> Scenario:
    """A scenario, or a variant of it, by its title. Raises KeyError."""
    name = title.partition("~")[0]
    return next(variant for variant in by_name()[name].variants() if variant.title == title)
