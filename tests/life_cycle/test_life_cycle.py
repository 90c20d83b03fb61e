"""Whatever is pushed, removed, restored and collected in whatever order: what a simple model says is there pulls whole, what a
pusher was told of outlives the grace, and in the end nothing is left of what nobody needs. Over HTTP, with hypothesis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chalicelib.registry.errors import ManifestBlobUnknown, NameUnknown, NotRestorable, TagExists
from chalicelib.registry.events import Actor
from chalicelib.registry.names import Digest, RepositoryName, parse_reference
from tests.agreement import DAY, assert_agreement, assert_settled, collect, sweep
from tests.life_cycle.world import ONE, OTHER, World
from tests.surface import CONFIG, image, index

HOUR = 3600
ADMIN = Actor("admin")


def named(content: bytes) -> str:
    return str(Digest.of(content))


def about(subject: bytes, layer: bytes) -> bytes:
    media_type = "application/vnd.oci.image.manifest.v1+json"
    return image(layer, subject={"mediaType": media_type, "digest": named(subject), "size": len(subject)})


LAYERS = (b"first", b"second", b"third", b"fourth")
MANY = tuple(f"one of many {number}".encode() for number in range(52))
IMAGES = (
    image(b"first"),
    image(b"first", b"second"),
    image(b"third", annotations={"fill": "x" * 300_000}),
    image(b"fourth", *MANY),
)
SIGNATURES = (about(IMAGES[0], b"second"), about(IMAGES[1], b"fourth"))
INDEXES = (index(*IMAGES[:2]), index(IMAGES[2], SIGNATURES[0]))
BLOBS = {named(content): content for content in (CONFIG, *LAYERS, *MANY)}


@dataclass(frozen=True)
class Form:
    """What a manifest needs, by digest."""

    content: bytes
    blobs: frozenset[str] = frozenset()
    children: frozenset[str] = frozenset()
    subject: str = ""


def form(content: bytes, *layers: bytes, subject: bytes = b"") -> Form:
    return Form(content, frozenset(map(named, (CONFIG, *layers))), subject=named(subject) if subject else "")


FORMS = {
    named(each.content): each
    for each in (
        form(IMAGES[0], b"first"),
        form(IMAGES[1], b"first", b"second"),
        form(IMAGES[2], b"third"),
        form(IMAGES[3], b"fourth", *MANY),
        form(SIGNATURES[0], b"second", subject=IMAGES[0]),
        form(SIGNATURES[1], b"fourth", subject=IMAGES[1]),
        Form(INDEXES[0], children=frozenset(map(named, IMAGES[:2]))),
        Form(INDEXES[1], children=frozenset(map(named, (IMAGES[2], SIGNATURES[0])))),
    )
}
TAGS = ("a", "b", "c")

repositories = st.sampled_from((ONE, OTHER))
layers = st.sampled_from([named(layer) for layer in (CONFIG, *LAYERS)])
manifests = st.sampled_from([*FORMS])
tags = st.sampled_from(TAGS)


@dataclass
class Removed:
    """A manifest in the trash."""

    at: float
    tags: frozenset[str]


@dataclass
class Contents:
    """What a repository should hold. ``blobs`` and ``manifests``: until when each was needed, or somebody was told of it."""

    blobs: dict[str, float] = field(default_factory=dict)
    manifests: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    trash: dict[str, Removed] = field(default_factory=dict)
    removed_tags: dict[tuple[str, float], str] = field(default_factory=dict)

    def lacks(self, digest: str) -> bool:
        """Is something not there that this manifest needs?"""
        return not (FORMS[digest].blobs <= self.blobs.keys() and FORMS[digest].children <= self.manifests.keys())

    def known(self) -> set[str]:
        """Manifests that are there or may be restored: what they need stays."""
        return self.manifests.keys() | self.trash.keys()

    def standing(self, digest: str) -> bool:
        """Does an index that is there need it?"""
        return any(digest in FORMS[each].children for each in self.manifests)

    def is_needed(self, digest: str) -> bool:
        """By a tag, an index or a subject, be it in the trash?"""
        if digest in self.tags.values() or FORMS[digest].subject in self.known():
            return True
        return any(digest in FORMS[each].children for each in self.known())

    def renew(self, now: float) -> None:
        """What is needed now was needed until now."""
        self.blobs.update({blob: now for each in self.known() for blob in FORMS[each].blobs if blob in self.blobs})
        self.manifests.update({each: now for each in self.manifests if self.is_needed(each)})

    def push(self, digest: str, tags: frozenset[str], now: float) -> None:
        """A manifest comes, or comes again."""
        self.manifests[digest] = now
        self.tags.update(dict.fromkeys(tags, digest))

    def remove(self, digest: str, now: float) -> None:
        """It goes into the trash, with its tags."""
        self.trash[digest] = Removed(now, frozenset(tag for tag, each in self.tags.items() if each == digest))
        self.tags = {tag: each for tag, each in self.tags.items() if each != digest}
        del self.manifests[digest]


@cache
def base() -> World:
    """A registry without a repository, whose client has a token."""
    world = World()
    world.call("GET", "/v2/")
    return world


class LifeCycle(RuleBasedStateMachine):
    """Everything that is done to what is stored, in any order."""

    @initialize()
    def begin(self) -> None:
        self.world = base().copied()
        self.model = {ONE: Contents(), OTHER: Contents()}
        self.there: set[str] = set()
        self.grace, self.restorable, self.untagged = 24 * HOUR, 7 * DAY, 0
        self.swept_at = self.now

    @property
    def now(self) -> float:
        return self.world.clock.now().timestamp()

    def contents(self, name: str) -> Contents:
        """What a repository should hold that exists from now on."""
        self.there.add(name)
        return self.model[name]

    # ---------------------------------------------------------------------------------------------------------- pushing

    @rule(name=repositories, digest=layers)
    def push_blob(self, name: str, digest: str) -> None:
        assert self.world.push_blob(name, BLOBS[digest]) == 201
        self.contents(name).blobs[digest] = self.now

    @rule(name=repositories, digest=layers)
    def push_in_chunks(self, name: str, digest: str) -> None:
        assert self.world.push_in_chunks(name, BLOBS[digest]) == 201
        self.contents(name).blobs[digest] = self.now

    @rule(name=repositories, digest=layers, told=st.booleans())
    def push_directly(self, name: str, digest: str, told: bool) -> None:
        """If the store does not tell of it, a manifest that names it may find it."""
        key = self.world.put_directly(name, BLOBS[digest])
        self.contents(name)
        if told:
            self.world.adopt(key)
            self.model[name].blobs[digest] = self.now
        else:
            self.world.store.delete(key)

    @rule(name=repositories)
    def give_up_an_upload(self, name: str) -> None:
        self.contents(name)
        location = self.world.call("POST", f"/v2/{name}/blobs/uploads/").headers["Location"]
        assert self.world.call("PATCH", location, b"some").status == 202

    @rule(name=repositories, digest=layers)
    def mount(self, name: str, digest: str) -> None:
        source = OTHER if name == ONE else ONE
        answer = self.world.call("POST", f"/v2/{name}/blobs/uploads/?mount={digest}&from={source}")
        assert answer.status == (201 if digest in self.model[source].blobs else 202)
        self.contents(name)
        if answer.status == 201:
            self.model[name].blobs[digest] = self.now

    @rule(name=repositories, digest=manifests, tags=st.frozensets(tags, max_size=2), whole=st.booleans())
    def push(self, name: str, digest: str, tags: frozenset[str], whole: bool) -> None:
        """``whole``: with all that it needs, as clients do; else it may be refused."""
        if whole:
            self.bring(name, digest)
        content = self.model[name]
        lacks = content.lacks(digest)
        status = self.world.put(name, digest, FORMS[digest].content, tags=tuple(sorted(tags)))
        assert status == (404 if lacks else 201)
        if not lacks:
            self.contents(name).push(digest, tags, self.now)

    def bring(self, name: str, digest: str) -> None:
        """What a manifest needs and the repository lacks."""
        for blob in FORMS[digest].blobs - self.model[name].blobs.keys():
            self.push_blob(name, blob)
        for child in FORMS[digest].children - self.model[name].manifests.keys():
            self.push(name, child, frozenset(), whole=True)

    @rule(name=repositories, digest=layers)
    def find_blob(self, name: str, digest: str) -> None:
        status = self.world.call("HEAD", f"/v2/{name}/blobs/{digest}").status
        assert status == (307 if digest in self.model[name].blobs else 404)
        if status == 307:
            self.model[name].blobs[digest] = self.now

    @rule(name=repositories, digest=manifests)
    def find_manifest(self, name: str, digest: str) -> None:
        status = self.world.call("HEAD", f"/v2/{name}/manifests/{digest}").status
        assert status == (200 if digest in self.model[name].manifests else 404)
        if status == 200:
            self.model[name].manifests[digest] = self.now

    # --------------------------------------------------------------------------------------------------------- removing

    @rule(name=repositories, tag=tags)
    def untag(self, name: str, tag: str) -> None:
        content = self.model[name]
        assert self.world.delete(name, f"manifests/{tag}") == (202 if tag in content.tags else 404)
        if tag in content.tags:
            content.removed_tags[tag, self.now] = content.tags.pop(tag)

    @rule(name=repositories, digest=manifests)
    def delete_manifest(self, name: str, digest: str) -> None:
        content = self.model[name]
        expected = 404 if digest not in content.manifests else 405 if content.standing(digest) else 202
        assert self.world.delete(name, f"manifests/{digest}") == expected
        if expected == 202:
            content.remove(digest, self.now)

    @rule(name=repositories, digest=layers)
    def delete_blob(self, name: str, digest: str) -> None:
        content = self.model[name]
        standing = any(digest in FORMS[each].blobs for each in content.manifests)
        expected = 404 if digest not in content.blobs else 405 if standing else 202
        assert self.world.delete(name, f"blobs/{digest}") == expected
        if expected == 202:
            del content.blobs[digest]

    @rule(name=repositories)
    def delete_repository(self, name: str) -> None:
        if name in self.there:
            self.world.surface.registry.repositories.delete(RepositoryName.parse(name))
            self.there.discard(name)
            self.model[name] = Contents()

    @rule(name=repositories, digest=manifests)
    def restore(self, name: str, digest: str) -> None:
        content = self.model[name]
        removed = content.trash.get(digest)
        free = frozenset(tag for tag in (removed.tags if removed else ()) if tag not in content.tags)
        refusal = NotRestorable if removed is None else ManifestBlobUnknown if content.lacks(digest) else None
        if self._restored(name, digest, refusal):
            content.push(digest, free, self.now)
            del content.trash[digest]

    @rule(name=repositories, tag=tags)
    def restore_tag(self, name: str, tag: str) -> None:
        content = self.model[name]
        last = max((at for each, at in content.removed_tags if each == tag), default=None)
        refusal: type[Exception] | None = None
        digest = "" if last is None else content.removed_tags[tag, last]
        if last is None:
            refusal = NotRestorable
        elif tag in content.tags:
            refusal = TagExists
        elif digest not in content.known():
            refusal = NotRestorable
        elif content.lacks(digest):
            refusal = ManifestBlobUnknown
        if self._restored(name, tag, refusal) and last is not None:
            content.push(digest, frozenset({tag}), self.now)
            content.trash.pop(digest, None)
            del content.removed_tags[tag, last]

    def _restored(self, name: str, reference: str, refusal: type[Exception] | None) -> bool:
        """Whether it was; as it should be."""
        if name not in self.there:
            refusal = NameUnknown
        with nullcontext() if refusal is None else pytest.raises(refusal):
            self.world.surface.trash.restore(RepositoryName.parse(name), parse_reference(reference), ADMIN)
        return refusal is None

    # ------------------------------------------------------------------------------------------------------ what goes on

    @rule(seconds=st.sampled_from((60, HOUR // 2, 5 * HOUR, 12 * HOUR, DAY, 30 * HOUR, 3 * DAY, 8 * DAY)))
    def time_passes(self, seconds: int) -> None:
        """The store is swept at least every other day, or less is found (``leftovers.WINDOW``)."""
        for contents in self.model.values():
            contents.renew(self.now)
        while seconds > 0:
            if self.now - self.swept_at >= 2 * DAY:
                self.sweep()
            self.world.clock.advance(min(seconds, DAY))
            seconds -= DAY
        for contents in self.model.values():
            contents.renew(self.now)

    @rule()
    def sweep(self) -> None:
        sweep(self.world.surface)
        self.swept_at = self.now

    @rule()
    def collect(self) -> None:
        collect(self.world.surface)
        for name in sorted(self.there):
            self._collected(name, self.model[name])

    def _collected(self, name: str, content: Contents) -> None:
        """What has had its time may have gone; what has not is there."""
        content.trash = {each: removed for each, removed in content.trash.items() if removed.at > self.now - self.restorable}
        kept = {key: each for key, each in content.removed_tags.items() if key[1] > self.now - self.restorable}
        content.removed_tags = kept
        manifests, _, blobs = self.world.seen()[f"name/{name}"]
        for digest, until in [*content.manifests.items()]:
            if f"manifest/{digest}" not in manifests:
                assert self.untagged, "no policy"
                assert until <= self.now - max(self.untagged, self.grace), "before its time"
                content.remove(digest, self.now)
        for digest, until in [*content.blobs.items()]:
            if f"blob/{digest}" not in blobs:
                assert until <= self.now - self.grace, "before its time"
                del content.blobs[digest]

    @rule(hours=st.sampled_from((1, 24, 48)), restorable=st.sampled_from((0, 1, 7, 12)), untagged=st.sampled_from((0, 1, 3)))
    def choose(self, hours: int, restorable: int, untagged: int) -> None:
        self.world.surface.configuration.change(grace_hours=hours, restorable_days=restorable, untagged_days=untagged)
        self.grace, self.restorable, self.untagged = hours * HOUR, restorable * DAY, untagged * DAY

    # ---------------------------------------------------------------------------------------------------- what always holds

    @invariant()
    def everything_agrees(self) -> None:
        if hasattr(self, "world"):
            assert_agreement(self.world.surface)
            self.assert_seen()

    def assert_seen(self) -> None:
        """Just what the model says is there."""
        seen = self.world.seen()
        assert seen.keys() == {f"name/{name}" for name in self.there}
        for name in self.there:
            content = self.model[name]
            manifests = frozenset(f"manifest/{digest}" for digest in content.manifests)
            blobs = frozenset(f"blob/{digest}" for digest in content.blobs)
            pointing = {f"tag/{tag}": digest for tag, digest in content.tags.items()}
            assert seen[f"name/{name}"] == (manifests, pointing, blobs)

    def assert_pulls(self) -> None:
        """All that is there comes whole, and what may be restored is listed."""
        for name in sorted(self.there):
            content = self.model[name]
            for reference, digest in [*content.tags.items(), *((each, each) for each in content.manifests)]:
                answer = self.world.call("GET", f"/v2/{name}/manifests/{reference}")
                assert (answer.status, answer.body) == (200, FORMS[digest].content)
            needed = {blob for digest in content.manifests for blob in FORMS[digest].blobs}
            assert {*self.pulled(name, needed)} == needed
            page = self.world.surface.trash.page(RepositoryName.parse(name), "", 1000)
            listed = {str(removed.digest) for removed in page if not removed.tag}
            assert listed == content.trash.keys() - content.manifests.keys()
            assert {(each.tag, each.removed_at) for each in page if each.tag} == {
                (tag, int(at)) for tag, at in content.removed_tags
            }

    def pulled(self, name: str, digests: set[str]) -> Iterator[str]:
        """The digests of what is really behind them."""
        for digest in sorted(digests):
            answer = self.world.call("GET", f"/v2/{name}/blobs/{digest}")
            linked = self.world.store.linked("GET", answer.headers["Location"])
            assert linked is not None
            with self.world.store.open(linked.key) as stream:
                yield named(stream.read())

    def teardown(self) -> None:
        """In the end: what is needed, and nothing else. First by no policy about what is untagged, then by one."""
        if not hasattr(self, "world"):
            return
        self.assert_pulls()
        for untagged in (0, 1):
            self.choose(24, 7, untagged)
            for contents in self.model.values():
                contents.renew(self.now)
            assert_settled(self.world.surface)
            self.collect()
            for contents in self.model.values():
                contents.trash.clear()  # whatever went by the policy went weeks ago
            self.assert_seen()
            self.assert_pulls()
        for name in self.there:
            content = self.model[name]
            assert all(content.is_needed(digest) for digest in content.manifests)
            assert content.blobs.keys() == {blob for digest in content.manifests for blob in FORMS[digest].blobs}


TestLifeCycle = LifeCycle.TestCase
TestLifeCycle.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
