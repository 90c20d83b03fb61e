"""A process of the registry: domain objects of its own, with memories of their own, on adapters that others share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Generic, TypeVar

from chalicelib.registry.adoption import Adoption
from chalicelib.registry.blobs import Blobs
from chalicelib.registry.configuration import Choices, Configuration
from chalicelib.registry.errors import RegistryError
from chalicelib.registry.events import Event, Events
from chalicelib.registry.images import Images
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.ports import BlobStore, Put, Table
from chalicelib.registry.pushes import Pushes
from chalicelib.registry.removals import Removals
from chalicelib.registry.repositories import Repositories
from chalicelib.registry.times import seconds
from chalicelib.registry.trash import Trash
from chalicelib.registry.upkeep.expiry import Expiry
from chalicelib.registry.upkeep.garbage import Garbage
from chalicelib.registry.upkeep.leftovers import Leftovers
from chalicelib.registry.uploads import Uploads
from tests.counts import Counts
from tests.frozen_clock import FrozenClock


class Silent(Events):
    """Nothing is written of what happened: an event is read by no decision."""

    def writes(self, event: Event, repository: str = "") -> list[Put]:
        return []


@dataclass(frozen=True)
class Program:
    """Which classes a process runs: the real ones, unless a mutant replaces some."""

    repositories: type[Repositories] = Repositories
    blobs: type[Blobs] = Blobs
    images: type[Images] = Images
    uploads: type[Uploads] = Uploads
    adoption: type[Adoption] = Adoption
    pushes: type[Pushes] = Pushes
    removals: type[Removals] = Removals
    expiry: type[Expiry] = Expiry
    garbage: type[Garbage] = Garbage
    trash: type[Trash] = Trash
    leftovers: type[Leftovers] = Leftovers


REAL = Program()


@dataclass(slots=True)
class Deed:
    """What somebody asked for, and what came of it. ``kind`` and ``subject`` say what; ``tags`` were pushed along, ``needs``
    are a manifest's blobs, ``adopts`` those that its push may bring in from the direct lane. ``began`` and ``ended`` count the
    steps of all; one that was never answered ends never. ``answer``: DONE, or the error's name."""

    kind: str
    subject: tuple[str, str]
    began: int
    tags: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    adopts: tuple[str, ...] = ()
    ended: float = inf
    answer: str = ""

    @property
    def is_done(self) -> bool:
        return self.answer == DONE

    @property
    def may_count(self) -> bool:
        """Was it done, or may it have been?"""
        return self.answer in {DONE, ""}


DONE = "done"
STORE, KEEP, REMOVE = "store manifest", "keep manifest", "remove manifest"
PRESENT, UNLINK = "have blob", "delete blob"
UNTAG, DROP = "delete tag", "delete repository"


@dataclass
class Ledger:
    """What clients asked for, and were told. ``now`` is the number of steps that all made."""

    now: int = 0
    deeds: list[Deed] = field(default_factory=list)

    @contextmanager
    def deed(
        self, kind: str, subject: tuple[RepositoryName, object], tags: tuple[str, ...] = (), needs: tuple[str, ...] = ()
    ) -> Iterator[Deed]:
        """A refusal is an answer; whoever dies is told nothing."""
        deed = Deed(kind, (str(subject[0]), str(subject[1])), self.now, tags, needs)
        self.deeds.append(deed)
        try:
            yield deed
            deed.answer = DONE
        except RegistryError as refusal:
            deed.answer = type(refusal).__name__
        deed.ended = self.now


Built = TypeVar("Built")


class cached_property(Generic[Built]):  # noqa: N801 (a decorator)
    """That of functools, without its lock: a process is nobody else's."""

    def __init__(self, build: Callable[[Process], Built]) -> None:
        self._build = build
        self._name = build.__name__

    def __get__(self, process: Process, _owner: type[Process]) -> Built:
        built = process.__dict__[self._name] = self._build(process)
        return built


class Process:
    """What a request or a job of the registry works with."""

    def __init__(self, table: Table, store: BlobStore, clock: FrozenClock, ledger: Ledger, program: Program = REAL) -> None:
        self.table = table
        self.store = store
        self.clock = clock
        self.ledger = ledger
        self.program = program

    @cached_property
    def repositories(self) -> Repositories:
        return self.program.repositories(self.table, self.clock)

    @cached_property
    def configuration(self) -> Configuration:
        return Configuration(self.table, self.clock, Choices(create_repository_on_push=True))

    @cached_property
    def events(self) -> Events:
        return Silent(self.table, self.clock, self.configuration)

    @cached_property
    def blobs(self) -> Blobs:
        return self.program.blobs(self.table, self.store, self.repositories, self.clock)

    @cached_property
    def images(self) -> Images:
        return self.program.images(self.table, self.store, self.repositories)

    @cached_property
    def uploads(self) -> Uploads:
        return self.program.uploads(self.table, self.store, self.blobs, self.clock)

    @cached_property
    def adoption(self) -> Adoption:
        return self.program.adoption(self.store, self.blobs, self.repositories, self.clock)

    @cached_property
    def pushes(self) -> Pushes:
        return self.program.pushes(self.table, self.store, self.repositories, self.events, self.clock)

    @cached_property
    def pushes_after_the_direct_lane(self) -> Pushes:
        """Those of the deployed registry, which look for what came without them."""
        return self.program.pushes(self.table, self.store, self.repositories, self.events, self.clock, adoption=self.adoption)

    @cached_property
    def removals(self) -> Removals:
        return self.program.removals(self.table, self.repositories, self.events, self.clock)

    @cached_property
    def trash(self) -> Trash:
        return self.program.trash(
            self.table,
            configuration=self.configuration,
            repositories=self.repositories,
            images=self.images,
            pushes=self.pushes,
        )

    @cached_property
    def garbage(self) -> Garbage:
        return self.program.garbage(
            self.table,
            self.store,
            self.clock,
            configuration=self.configuration,
            removals=self.removals,
            expiry=self.program.expiry(self.table, self.clock, self.images),
        )

    @cached_property
    def leftovers(self) -> Leftovers:
        return self.program.leftovers(self.table, self.store, self.clock)

    def maintain(self) -> None:
        """All that runs by schedule, once."""
        self.uploads.sweep(1_000)
        self.pushes.sweep(1_000)
        self.leftovers.sweep(Counts())
        self.garbage.collect(Counts())

    def seconds(self) -> int:
        return seconds(self.clock)

    def repository_id(self, name: RepositoryName) -> str:
        return self.repositories.get(name).id

    def digest_of(self, content: bytes) -> Digest:
        return Digest.of(content)
