"""What a registry may hold after a crash: what it acknowledged, and what it may have done when its answer got lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

Value: TypeAlias = "str | None"
"""The digest that a name stands for; None for nothing."""


class Name(NamedTuple):
    """Something in a repository; ``kind`` is blob, manifest or tag."""

    kind: str
    reference: str


class Ledger:
    """The values that each name of one repository may have: one where the last write was acknowledged, more where its answer
    got lost. What is then seen settles it: a registry may not change its mind afterwards."""

    def __init__(self) -> None:
        self._may: dict[Name, set[Value]] = {}
        self._fresh: set[Name] = set()
        self.acknowledged = 0

    def attempt(self, name: Name, value: Value) -> None:
        """A request goes out that would give the name this value."""
        self._may.setdefault(name, {None}).add(value)
        self._fresh.add(name)

    def settle(self, name: Name, value: Value) -> None:
        """That was acknowledged."""
        self._may[name] = {value}
        self._fresh.add(name)
        self.acknowledged += 1

    def attempt_removal(self, digest: str) -> None:
        """A request goes out that would take a manifest away, and every tag that points to it."""
        self.attempt(Name("manifest", digest), None)
        for name in self._pointing(digest):
            self.attempt(name, None)

    def settle_removal(self, digest: str) -> None:
        """That was acknowledged."""
        self.settle(Name("manifest", digest), None)
        for name in self._pointing(digest):
            self._may[name] = {None if value == digest else value for value in self._may[name]}

    def attempt_return(self, digest: str) -> None:
        """A request goes out that would bring back a manifest that is surely gone, with tags that it had and that stand for
        nothing."""
        self.attempt(Name("manifest", digest), digest)
        for name in self.names("tag"):
            if None in self._may[name]:
                self.attempt(name, digest)

    def settle_return(self, digest: str, tags: Sequence[str] | None) -> None:
        """That was acknowledged, with these tags; or, None, refused. Fails if one of them stands for something else."""
        self.settle(Name("manifest", digest), digest if tags is not None else None)
        for name in self._pointing(digest):
            self._may[name] -= {digest}
        for tag in tags or ():
            may = self._may.get(Name("tag", tag), set())
            assert None in may, f"{tag} came back to {digest}, and may be {may}"
            self.settle(Name("tag", tag), digest)

    def observe(self, name: Name, value: Value) -> None:
        """This is what the registry answers now. Fails if it may not."""
        may = self._may.get(name, {None})
        assert value in may, f"{name} is {value}, and may be {may}"
        self._may[name] = {value}

    def take_fresh(self) -> list[Name]:
        """The names written since the last call."""
        fresh, self._fresh = sorted(self._fresh), set()
        return fresh

    def names(self, kind: str = "") -> list[Name]:
        """All names ever written, or those of one kind."""
        return [name for name in self._may if kind in {"", name.kind}]

    def standing(self, kind: str) -> list[str]:
        """The references of a kind that surely stand for something."""
        return [name.reference for name, may in self._may.items() if name.kind == kind and None not in may]

    def may_stand(self, kind: str) -> set[str]:
        """The references of a kind that may stand for something."""
        return {name.reference for name, may in self._may.items() if name.kind == kind and may != {None}}

    def _pointing(self, digest: str) -> list[Name]:
        return [name for name, may in self._may.items() if name.kind == "tag" and digest in may]
