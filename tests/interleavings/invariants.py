"""What must hold when all have done what they wanted, in whatever order.

Complete: a manifest that is there has all it needs, bytes included; one whose client was told that it is stored is there,
unless somebody deleted it meanwhile or later. Kept: a blob that a pusher was told is there outlives the grace, unless somebody
deleted it. Gone: when the registry has worked alone for long enough, nothing is left that nobody needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from chalicelib.registry.manifests import Manifest
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import EXPIRES, Attributes, Key
from chalicelib.registry.records import number_or, text
from tests.interleavings.ports import Kept
from tests.interleavings.process import DROP, KEEP, PRESENT, REMOVE, STORE, UNLINK, UNTAG, Deed, Process

GRACE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Promises:
    """What clients may rely on: manifests and blobs that are there, by repository's name and digest; manifests that may be
    restored, where that is kept at all; what is not there; where tags point. ``broken``: what was said that contradicts
    itself."""

    manifests: frozenset[tuple[str, str]]
    blobs: frozenset[tuple[str, str]]
    restorable: frozenset[tuple[str, str]]
    gone_manifests: frozenset[tuple[str, str]]
    gone_blobs: frozenset[tuple[str, str]]
    tags: frozenset[tuple[str, str, str]]
    broken: frozenset[str]


def promises(deeds: Iterable[Deed], *, is_skewed: bool = False) -> Promises:
    """What follows from what was asked and answered. Of two that went on at once either may have been the last. Where a clock
    is wrong (``is_skewed``) no grace is promised, and so only what a tag holds."""
    all_deeds = list(deeds)
    by_kind: dict[str, list[Deed]] = {}
    for deed in all_deeds:
        by_kind.setdefault(deed.kind, []).append(deed)
    drops = by_kind.get(DROP, [])

    def undone(deed: Deed, *kinds: str) -> bool:
        """May it have been undone since, by one of these? A repository's name is remembered for some seconds, and for so long
        what is told of one that was deleted is told in vain: all of this happens in less."""
        others = [other for kind in kinds for other in by_kind.get(kind, ()) if other.subject == deed.subject]
        if any(drop.may_count and drop.subject[0] == deed.subject[0] for drop in drops):
            return True
        return any(other is not deed and other.may_count and other.ended > deed.began for other in others)

    def standing(kinds: tuple[str, ...], *undoing: str) -> frozenset[tuple[str, str]]:
        return frozenset(
            deed.subject for kind in kinds for deed in by_kind.get(kind, ()) if deed.is_done and not undone(deed, *undoing)
        )

    tags = _tags(by_kind, drops)
    tagged = frozenset((name, digest) for name, _, digest in tags)
    return Promises(
        manifests=tagged if is_skewed else standing((STORE, KEEP), REMOVE),
        blobs=frozenset() if is_skewed else standing((PRESENT,), UNLINK),
        restorable=frozenset() if UNLINK in by_kind or is_skewed else standing((REMOVE,), STORE),
        gone_manifests=standing((REMOVE,), STORE),
        gone_blobs=frozenset(
            (name, digest)
            for name, digest in standing((UNLINK,), PRESENT, "adopt")
            if not any(deed.subject[0] == name and digest in deed.adopts for deed in by_kind.get(STORE, ()))
        ),
        tags=tags,
        broken=frozenset() if is_skewed else frozenset(_broken(all_deeds, by_kind, undone)),
    )


def _tags(by_kind: Mapping[str, list[Deed]], drops: list[Deed]) -> frozenset[tuple[str, str, str]]:
    found = set()
    stores = by_kind.get(STORE, [])
    for deed in stores:
        for tag in deed.tags if deed.is_done else ():
            name = deed.subject[0]
            others = [other for other in stores if other.subject[0] == name and tag in other.tags]
            others += [other for other in by_kind.get(UNTAG, ()) if other.subject == (name, tag)]
            others += [other for other in by_kind.get(REMOVE, ()) if other.subject == deed.subject]
            if any(drop.may_count and drop.subject[0] == name for drop in drops):
                continue
            if not any(other is not deed and other.may_count and other.ended > deed.began for other in others):
                found.add((name, tag, deed.subject[1]))
    return frozenset(found)


def _broken(deeds: Iterable[Deed], by_kind: Mapping[str, list[Deed]], undone: Callable[..., bool]) -> Iterator[str]:
    for deed in deeds:
        if deed.answer == "Busy":
            yield f"{deed.kind} {deed.subject} gave up as busy"
        if deed.kind == STORE and deed.answer == "ManifestBlobUnknown" and deed.needs:
            told = {
                had.subject[1]
                for had in by_kind.get(PRESENT, ())
                if had.is_done and had.subject[0] == deed.subject[0] and had.ended <= deed.began and not undone(had, UNLINK)
            }
            if told >= set(deed.needs):
                yield f"a manifest was refused though its client was told that all its blobs are there: {deed.subject}"


@dataclass(frozen=True)
class State:
    """A table and a store as they are."""

    items: Mapping[Key, Attributes]
    objects: Mapping[str, Kept]


class Judge:
    """Looks at states. ``manifests`` are all there may be, by digest."""

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        self._manifests = {str(manifest.digest): manifest for manifest in manifests}

    def visible(self, state: State) -> Iterator[tuple[str, str]]:
        """The manifests that are there: repository's id and digest; of repositories that are there, too."""
        for key, attributes in state.items.items():
            if key[1].startswith("manifest/") and "pending" not in attributes:
                repository = key[0].removeprefix("repository/")
                if Key(key[0], "repository") in state.items:
                    yield repository, key[1].removeprefix("manifest/")

    def wrong(self, state: State) -> list[str]:
        """What no state may show: a manifest that lacks something, a link without bytes, a tag without a manifest."""
        found = []
        for repository, digest in self.visible(state):
            found += [f"manifest {digest[:15]} lacks {what}" for what in self._lacking(state, repository, digest)]
        for key, attributes in state.items.items():
            partition, sort = key
            if sort.startswith("blob/") and Key(partition, "repository") in state.items:
                found += [f"the link to {sort[5:20]} has {what}" for what in _broken_link(state, sort[5:], attributes)]
            elif sort.startswith("tag/"):
                manifest = state.items.get(Key(partition, f"manifest/{text(attributes, 'digest')}"))
                if (manifest is None or "pending" in manifest) and Key(partition, "repository") in state.items:
                    found.append(f"{sort} points to a manifest that is not there")
        return found

    def _lacking(self, state: State, repository: str, digest: str) -> Iterator[str]:
        manifest = self._manifests[digest]
        partition = f"repository/{repository}"
        content = state.items.get(Key(partition, f"content/{digest}"))
        if content is None or ("key" in content and str(content["key"]) not in state.objects):
            yield "its content"
        for blob in manifest.blobs:
            link = state.items.get(Key(partition, f"blob/{blob.digest}"))
            if link is None:
                yield f"the link to {str(blob.digest)[:15]}"
            else:
                yield from _broken_link(state, str(blob.digest), link)
        for child in manifest.manifests:
            record = state.items.get(Key(partition, f"manifest/{child.digest}"))
            if record is None or "pending" in record:
                yield f"the manifest {str(child.digest)[:15]}"

    def unrestorable(self, state: State, promised: Promises) -> list[str]:
        """Which manifests that were removed cannot be restored."""
        if not promised.restorable or not _setting(state, "restorable_days", 7):
            return []
        ids = _ids(state)
        return [
            f"manifest {digest[:15]} of {name} cannot be restored: {what}"
            for name, digest in promised.restorable
            for what in self._unrestorable(state, f"repository/{ids.get(name, '')}", digest)
        ]

    def _unrestorable(self, state: State, partition: str, digest: str) -> Iterator[str]:
        removed = state.items.get(Key(partition, f"removed/manifest/{digest}"))
        if removed is None or "expired" in removed:
            yield "it is not in the trash"
        for blob in self._manifests[digest].blobs:
            if Key(partition, f"blob/{blob.digest}") not in state.items:
                yield f"no link to {str(blob.digest)[:15]}"

    def unkept(self, state: State, promised: Promises) -> list[str]:
        """Which promises this state breaks."""
        ids = _ids(state)
        found = sorted(promised.broken)
        visible = set(self.visible(state))
        links = {
            (key[0].removeprefix("repository/"), key[1].removeprefix("blob/"))
            for key in state.items
            if key[0].startswith("repository/") and key[1].startswith("blob/")
        }
        for kind, there, wanted in (("manifest", visible, promised.manifests), ("blob", links, promised.blobs)):
            found += [
                f"a client was told that {kind} {digest[:15]} is in {name}, and it is not"
                for name, digest in wanted
                if (ids.get(name, ""), digest) not in there
            ]
        for kind, there, refused in (("manifest", visible, promised.gone_manifests), ("blob", links, promised.gone_blobs)):
            found += [
                f"a client was told that {kind} {digest[:15]} is gone from {name}, and it is not"
                for name, digest in refused
                if (ids.get(name, ""), digest) in there
            ]
        found += self.unrestorable(state, promised)
        for name, tag, digest in promised.tags:
            pointed = state.items.get(Key(f"repository/{ids.get(name, '')}", f"tag/{tag}"))
            if pointed is None or pointed["digest"] != digest:
                found.append(f"tag {tag} of {name} does not point where its last push pointed it")
        return found

    # ---------------------------------------------------------------------------------------------------------- in the end

    def end(self, process: Process, state: State, promised: Promises, skew: timedelta) -> list[str]:
        """Let time pass, and the registry work alone: what that breaks, and what it leaves. The process works on the state.
        ``skew``: how far ahead a clock was."""
        found: list[str] = []
        start = process.clock.moment
        process.clock.moment = start + GRACE - timedelta(seconds=1)
        process.maintain()
        found += [f"within the grace: {each}" for each in self.wrong(state)]
        found += [f"within the grace: {each}" for each in self.unkept(state, promised)]
        before: object = None
        while not found:
            process.clock.advance(_ROUND.total_seconds())
            process.maintain()
            found += [f"in the end: {each}" for each in self.wrong(state)]
            if process.clock.moment < start + _RESTORABLE:
                found += [f"before its time is over: {each}" for each in self.unrestorable(state, promised)]
            now = (dict(state.items), dict(state.objects))
            if now == before and process.clock.moment > start + skew + _LONGEST:
                break
            before = now
            if process.clock.moment > start + skew + 3 * _LONGEST:
                found.append("it does not come to rest")
        return found or [f"left in the end: {each}" for each in self.left(state, process.seconds())]

    def left(self, state: State, now: int) -> Iterator[str]:
        """What is there that no repository needs."""
        needed, named = self._needed(state), set[str]()
        yield from self._useless(state)
        for key, attributes in state.items.items():
            expires = attributes.get(EXPIRES)
            if isinstance(expires, int) and expires <= now:
                continue  # a store drops it by itself
            if "key" in attributes and not key[0].startswith("upload/"):
                named.add(str(attributes["key"]))
            if not self._is_needed(key, attributes, state, needed):
                yield f"{key.partition} {key.sort}"
        yield from (f"object {key}" for key in state.objects if key not in named)

    def _useless(self, state: State) -> Iterator[str]:
        """Manifests without a tag that no index names, and that speak of nothing there, where such are collected."""
        if not _setting(state, "untagged_days", 0):
            return
        visible = set(self.visible(state))
        named = {(where, str(child.digest)) for where, digest in visible for child in self._manifests[digest].manifests}
        for repository, digest in visible - named:
            tags = [
                key for key in state.items if key[0] == f"repository/{repository}" and key[1].startswith(f"tagged/{digest}/")
            ]
            if not tags and (repository, str(self._manifests[digest].subject)) not in visible:
                yield f"manifest {digest[:15]}, which nothing needs"

    def _needed(self, state: State) -> set[Key]:
        """The items that the manifests which are there account for, and the blobs behind them."""
        needed: set[Key] = set()
        for repository, digest in self.visible(state):
            manifest, partition = self._manifests[digest], f"repository/{repository}"
            needed |= {Key(partition, f"{kind}/{digest}") for kind in ("manifest", "content")}
            if manifest.subject is not None:
                needed.add(Key(partition, f"referrer/{manifest.subject}/{digest}"))
            for blob in manifest.blobs:
                needed |= {
                    Key(partition, f"blob/{blob.digest}"),
                    Key(partition, f"needed/blob/{blob.digest}/{digest}"),
                    Key(f"blob/{blob.digest}", "blob"),
                    Key(f"blob/{blob.digest}", f"link/{repository}"),
                }
            needed |= {Key(partition, f"needed/manifest/{child.digest}/{digest}") for child in manifest.manifests}
        return needed

    def _is_needed(self, key: Key, attributes: Attributes, state: State, needed: set[Key]) -> bool:
        partition, sort = key
        if key in needed:
            return "condemned_at" not in attributes or sort.startswith("manifest/")
        if partition.startswith("repository/"):
            return Key(partition, "repository") in state.items and _belongs(key, attributes, state)
        if partition == "untagged":
            at, repository, digest = sort.split("/")
            record = state.items.get(Key(f"repository/{repository}", f"manifest/{digest}"), {})
            return record.get("condemned_at") == int(at)
        return partition.startswith("name/") or partition in {"catalog", "public", "configuration"}


def _belongs(key: Key, attributes: Attributes, state: State) -> bool:
    """Has this item of a repository what it is for?"""
    partition, sort = key
    kind, _, rest = sort.partition("/")
    if kind == "repository":
        return Key(f"name/{text(attributes, 'name')}", "repository") in state.items
    if kind == "tag":
        return Key(partition, f"tagged/{text(attributes, 'digest')}/{rest}") in state.items
    if kind == "tagged":
        digest, _, tag = rest.partition("/")
        return state.items.get(Key(partition, f"tag/{tag}"), {}).get("digest") == digest
    if kind == "needed" and rest.startswith("blob/"):
        link = state.items.get(Key(partition, f"blob/{rest.split('/')[1]}"))
        return link is not None and "condemned_at" not in link  # whoever gives the blob up clears it
    return False


def _ids(state: State) -> Mapping[str, str]:
    """The repositories' ids by their names."""
    return {
        key[0].removeprefix("name/"): text(record, "id") for key, record in state.items.items() if key[0].startswith("name/")
    }


def _setting(state: State, name: str, otherwise: int) -> int:
    return number_or(state.items.get(Key("configuration", "settings"), {}), name, otherwise)


def _broken_link(state: State, digest: str, link: Attributes) -> Iterator[str]:
    """What is wrong with what a link names."""
    blob = state.items.get(Key(f"blob/{digest}", "blob"))
    if blob is None:
        yield f"no record of the blob {digest[:15]}"
    elif blob["key"] != link.get("key"):
        yield f"another key than the blob {digest[:15]}"
    if str(link.get("key")) not in state.objects:
        yield f"no bytes of {digest[:15]}"
    elif str(Digest.of(state.objects[str(link["key"])].content)) != digest:
        yield f"other bytes than those of {digest[:15]}"


_RESTORABLE = timedelta(days=7)
_ROUND = timedelta(hours=25, minutes=30)
_LONGEST = timedelta(days=11)


def answered(deeds: Iterable[Deed]) -> str:
    """What all were told, to print."""
    return "; ".join(
        f"{deed.kind} {deed.subject[0]} {deed.subject[1][:15]}: {deed.answer or 'no answer'}"
        for deed in deeds
        if deed.began >= 0
    )
