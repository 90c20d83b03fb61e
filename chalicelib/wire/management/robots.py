"""An organization's robots: ``/api/v0/accounts/{org}/robots``."""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET, Struct, UnsetType

from chalicelib.registry import accounts as domain
from chalicelib.registry.accounts import Changes, Kind
from chalicelib.registry.errors import AccountUnknown, VersionMismatch
from chalicelib.registry.names import ROBOT_SIGN
from chalicelib.wire.management.bodies import Input
from chalicelib.wire.management.call import NOTHING_THERE, Answer, Call
from chalicelib.wire.management.words import AccountName, Label, moment

FIRST_LABEL = "first"
"""The label of the access token that a robot is made with."""


class Robot(Struct, frozen=True, rename="camel"):
    """An account for a machine; it belongs to an organization and has access tokens, but no password."""

    name: str
    description: str
    is_active: bool
    created_at: datetime


class Robots(Struct, frozen=True, rename="camel"):
    """A page of robots, in order of name."""

    robots: list[Robot]


class NewRobot(Input, frozen=True):
    """A robot; its full name becomes ``<organization>+<name>``."""

    name: AccountName
    description: Label = ""


class NewlyMade(Robot, frozen=True, rename="camel"):
    """A robot and its first access token, which is shown this once."""

    token: str


class RobotChange(Input, frozen=True):
    """What to change of a robot."""

    description: Label | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET


def list_robots(call: Call) -> Answer:
    read = call.services.organizations.robots(call.account, call.page.after, call.page.one_more)
    found, more = call.page.cut(read, lambda robot: robot.name)
    return Answer(Robots([shown(robot) for robot in found]), next=more)


def create_robot(call: Call) -> Answer:
    """With an access token that is as good as the robot. Raises AccountNameInvalid, AccountExists, AccountUnknown, Busy."""
    body = call.given(NewRobot)
    robot = call.services.accounts.create_robot(call.account, body.name, body.description)
    _, secret = call.services.access_tokens.create(robot, FIRST_LABEL)
    told = shown(robot)
    made = NewlyMade(told.name, told.description, told.is_active, told.created_at, secret)
    return Answer(made, version=robot.version, object=robot.name)


def read_robot(call: Call) -> Answer:
    """Raises AccountUnknown."""
    robot = robot_in(call)
    return Answer(shown(robot), version=robot.version)


def change_robot(call: Call) -> Answer:
    """Raises AccountUnknown, VersionMismatch, Busy."""
    body = call.given(RobotChange)
    changes = Changes(
        full_name=None if body.description is UNSET else body.description,
        is_active=None if body.is_active is UNSET else body.is_active,
    )
    robot = call.services.accounts.change(robot_in(call).name, changes, call.version)
    return Answer(shown(robot), version=robot.version)


def delete_robot(call: Call) -> Answer:
    """With its places in teams. Raises VersionMismatch, Busy."""
    found = _find(call)
    if found is None:
        if call.version is not None:
            raise VersionMismatch
        return NOTHING_THERE
    try:
        call.services.organizations.delete_account(found.name, call.version)
    except AccountUnknown:
        return NOTHING_THERE
    return Answer()


def robot_in(call: Call) -> domain.Account:
    """The robot of the organization that the path names, as ``ci`` or as ``acme+ci``. Raises AccountUnknown."""
    robot = _find(call)
    if robot is None or robot.is_deleting:
        raise AccountUnknown(call.names["robot"])
    return robot


def _find(call: Call) -> domain.Account | None:
    """The same, also one that is being deleted; never one of another organization."""
    given = call.names["robot"]
    login = given if ROBOT_SIGN in given else f"{call.account.name}{ROBOT_SIGN}{given}"
    robot = call.services.accounts.read(login)
    is_own = robot is not None and robot.kind is Kind.ROBOT and robot.organization == call.account.id
    return robot if is_own else None


def shown(robot: domain.Account) -> Robot:
    """A robot as the API tells of it."""
    return Robot(robot.name, robot.full_name, robot.is_active, moment(robot.created_at))
