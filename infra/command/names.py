"""What arguments must look like before they become part of a path; whether a name exists is the registry's to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

LEVELS = ("read-only", "read-write", "admin")


class _Name(click.ParamType[Any]):
    """A name of ``parts`` parts, each fit to be a segment of a path."""

    def _parts(self, value: str, separator: str, example: str) -> list[str]:
        parts = value.split(separator)
        if not all(_is_segment(part) for part in parts):
            self.fail(f"{value!r} is not a name such as {example}")
        return parts


class AccountType(_Name):
    """A user, an organization, a robot, a team's last part: one segment."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        """The name itself."""
        if "/" in value or not _is_segment(value):
            self.fail(f"{value!r} is not a name such as acme")
        return str(value)


@dataclass(frozen=True, slots=True)
class Team:
    """An organization's team."""

    org: str
    name: str

    def __str__(self) -> str:
        return f"{self.org}/{self.name}"


class TeamType(_Name):
    """ORG/TEAM."""

    name = "org/team"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Team:  # noqa: ARG002
        """The two parts."""
        if isinstance(value, Team):
            return value
        parts = self._parts(value, "/", "acme/developers")
        if len(parts) != 2:
            self.fail(f"{value!r} is not a name such as acme/developers")
        return Team(*parts)


@dataclass(frozen=True, slots=True)
class Robot:
    """An organization's robot; ``name`` is the part after the plus sign."""

    org: str
    name: str

    def __str__(self) -> str:
        return f"{self.org}+{self.name}"


class RobotType(_Name):
    """ORG+ROBOT."""

    name = "org+robot"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Robot:  # noqa: ARG002
        """The two parts."""
        if isinstance(value, Robot):
            return value
        parts = self._parts(value, "+", "acme+ci")
        if len(parts) != 2 or "/" in value:
            self.fail(f"{value!r} is not a name such as acme+ci")
        return Robot(*parts)


@dataclass(frozen=True, slots=True)
class Place:
    """A repository, or with ``repository`` "" a whole namespace."""

    namespace: str
    repository: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.repository}"


class PlaceType(_Name):
    """NS/REPO, and where ``namespaces`` are allowed also NS/. Everything after the first slash is the repository."""

    def __init__(self, *, namespaces: bool = False) -> None:
        self._namespaces = namespaces
        self.name = "ns/repo-or-ns/" if namespaces else "ns/repo"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Place:  # noqa: ARG002
        """The two parts."""
        if isinstance(value, Place):
            return value
        if self._namespaces and value.endswith("/") and value.count("/") == 1:
            (namespace,) = self._parts(value.removesuffix("/"), "/", "acme/")
            return Place(namespace, "")
        first, *rest = self._parts(value, "/", "acme/app" + (" or acme/" if self._namespaces else ""))
        if not rest:
            hint = f"; all of it is {value}/" if self._namespaces else ""
            self.fail(f"{value!r} is not a repository such as acme/app{hint}")
        return Place(first, "/".join(rest))


ACCOUNT = AccountType()
TEAM = TeamType()
ROBOT = RobotType()
REPOSITORY = PlaceType()
PLACE = PlaceType(namespaces=True)


def _is_segment(text: str) -> bool:
    """Whether a text can be a path's segment as it is: a client or a proxy would take dots for a way up."""
    return bool(text) and text not in {".", ".."} and text.isprintable()
