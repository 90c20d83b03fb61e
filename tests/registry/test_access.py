"""Who may do what, against the matrix of permissions written out by hand; and what no decision may ever do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.registry import access
from chalicelib.registry.access import (
    Account,
    AccountOperation,
    Level,
    Limits,
    Membership,
    Operation,
    TeamGrant,
    Where,
    Whom,
)
from chalicelib.registry.names import RepositoryName

MATRIX = """
    operation            none  read-only  read-write  admin
    view                  -        x          x         x
    pull                  -        x          x         x
    push                  -        -          x         x
    scan                  -        -          x         x
    delete-tags           -        -          x         x
    edit-description      -        -          -         x
    set-visibility        -        -          -         x
    manage-access         -        -          -         x
    delete-repository     -        -          -         x
    create                -        -          -         x
"""
"""The permissions of the documentation, and that making a repository is for admins of the namespace."""

APP = RepositoryName.parse("acme/app")
USER = Account("ann", id="1")
ROBOT = Account("acme+ci", id="2")
ADMIN = Account("root-of-all", is_admin=True, id="3")
OWN = Account("acme", id="4")
PRIVATE, PUBLIC, MISSING = Where(APP), Where(APP, public=True), Where(APP, exists=False)


def matrix() -> list[tuple[Operation, Level, bool]]:
    head, *rows = [line.split() for line in MATRIX.strip().splitlines()]
    levels = {level.word: level for level in Level}
    return [
        (Operation(row[0]), levels[word], mark == "x") for row in rows for word, mark in zip(head[1:], row[1:], strict=True)
    ]


def granted(level: Level, *, on_namespace: bool = False) -> tuple[TeamGrant, ...]:
    return (TeamGrant("devs", level, on_namespace),) if level else ()


def test_the_matrix_has_every_operation_and_every_level() -> None:
    assert {(operation, level) for operation, level, _ in matrix()} == {(o, level) for o in Operation for level in Level}


@pytest.mark.parametrize(("operation", "level", "allowed"), matrix())
@pytest.mark.parametrize("account", [USER, ROBOT], ids=["user", "robot"])
@pytest.mark.parametrize("on_namespace", [False, True])
def test_the_matrix(operation: Operation, level: Level, allowed: bool, account: Account, on_namespace: bool) -> None:
    where = Where(APP, grants=granted(level, on_namespace=on_namespace))
    assert access.level(account, where).level is level
    assert access.decide(account, operation, where).allowed is allowed


LEVELS: list[tuple[str, Account | None, Where, Level]] = [
    ("anonymous, private", None, PRIVATE, Level.NONE),
    ("anonymous, public", None, PUBLIC, Level.READ_ONLY),
    ("anonymous, missing", None, MISSING, Level.NONE),
    ("anonymous, whatever was granted", None, Where(APP, grants=granted(Level.ADMIN)), Level.NONE),
    ("user, private", USER, PRIVATE, Level.NONE),
    ("user, public", USER, PUBLIC, Level.READ_ONLY),
    ("user, own namespace", OWN, PRIVATE, Level.ADMIN),
    ("user, own namespace, missing", OWN, MISSING, Level.ADMIN),
    ("user, namespace that begins as the name", replace(OWN, name="acm"), PRIVATE, Level.NONE),
    ("member with a grant on a public repository", USER, replace(PUBLIC, grants=granted(Level.READ_WRITE)), Level.READ_WRITE),
    ("admin of the organization", USER, replace(PRIVATE, owns=True), Level.ADMIN),
    ("admin of the organization, missing", USER, replace(MISSING, owns=True), Level.ADMIN),
    ("administrator", ADMIN, PRIVATE, Level.ADMIN),
    ("administrator, missing", ADMIN, MISSING, Level.ADMIN),
    ("robot of the organization", ROBOT, PRIVATE, Level.NONE),
    ("locked user, private", replace(OWN, is_active=False), PRIVATE, Level.NONE),
    ("locked administrator, public", replace(ADMIN, is_active=False), PUBLIC, Level.READ_ONLY),
    ("locked robot with a grant", replace(ROBOT, is_active=False), Where(APP, grants=granted(Level.ADMIN)), Level.NONE),
    ("locked admin of the organization", replace(USER, is_active=False), replace(PRIVATE, owns=True), Level.NONE),
]


@pytest.mark.parametrize(("account", "where", "level"), [row[1:] for row in LEVELS], ids=[row[0] for row in LEVELS])
def test_how_far_rights_reach(account: Account | None, where: Where, level: Level) -> None:
    assert access.level(account, where).level is level


def test_what_is_there_to_be_made_needs_admin_of_the_namespace() -> None:
    """Who may only write in a namespace pushes to what is there, and makes nothing by pushing."""
    for level in (Level.READ_ONLY, Level.READ_WRITE):
        missing = replace(MISSING, grants=granted(level, on_namespace=True))
        assert not [operation for operation in Operation if access.decide(USER, operation, missing).allowed]
    assert access.allowed_actions(USER, replace(MISSING, grants=granted(Level.ADMIN, on_namespace=True))) == {
        "pull",
        "push",
        "delete",
    }


# ---------------------------------------------------------------------------------------------------------------- always

names = st.sampled_from(["acme/app", "acme/x/y", "acme", "ann/app", "acmee/app"]).map(RepositoryName.parse)
grants = st.lists(
    st.builds(TeamGrant, st.sampled_from(["devs", "ops"]), st.sampled_from(list(Level)[1:]), st.booleans()), max_size=4
)
limits = st.builds(
    Limits,
    st.lists(st.sampled_from(["acme/app", "acme/*", "acme/x/*", "ann/*", "acme"]), max_size=2).map(tuple),
    st.frozensets(st.sampled_from(["pull", "push", "delete"])),
)
accounts = st.builds(
    Account,
    st.sampled_from(["ann", "acme", "acme+ci"]),
    is_admin=st.booleans(),
    is_active=st.booleans(),
    id=st.just("1"),
    limits=st.none() | limits,
)
wheres = st.builds(Where, names, exists=st.booleans(), public=st.booleans(), owns=st.booleans(), grants=grants)
operations = st.sampled_from(Operation)


@given(accounts, wheres, grants, operations)
def test_a_grant_more_never_takes_anything_away(
    account: Account, where: Where, more: list[TeamGrant], operation: Operation
) -> None:
    richer = replace(where, grants=[*where.grants, *more])
    assert access.level(account, richer).level >= access.level(account, where).level
    if access.decide(account, operation, where).allowed:
        assert access.decide(account, operation, richer).allowed


@given(accounts, wheres, operations)
def test_the_order_of_grants_is_nothing(account: Account, where: Where, operation: Operation) -> None:
    backward = replace(where, grants=[*reversed(where.grants)])
    assert access.level(account, where).level is access.level(account, backward).level
    assert access.decide(account, operation, where).allowed == access.decide(account, operation, backward).allowed


@given(accounts, wheres, operations, limits)
def test_a_narrowed_token_is_never_allowed_what_its_owner_is_not(
    account: Account, where: Where, operation: Operation, narrowed_to: Limits
) -> None:
    owner, narrowed = replace(account, limits=None), replace(account, limits=narrowed_to)
    if access.decide(narrowed, operation, where).allowed:
        assert access.decide(owner, operation, where).allowed or not account.is_active
    if account.is_active:
        assert access.allowed_actions(narrowed, where) == access.allowed_actions(owner, where) & (
            narrowed_to.actions if narrowed_to.cover_name(where.name) else frozenset()
        )
        for managing in (Operation.SCAN, Operation.DESCRIBE, Operation.SET_VISIBILITY, Operation.MANAGE_ACCESS):
            assert not access.decide(narrowed, managing, where).allowed
        assert not access.decide(narrowed, Operation.DELETE_REPOSITORY, where).allowed
    assert not access.may_list_catalog(narrowed)
    for each in AccountOperation:
        assert not access.decide_account(narrowed, each, Whom(account.name, Membership.OWNER)).allowed


@given(accounts, wheres, operations)
def test_a_locked_account_is_anonymous(account: Account, where: Where, operation: Operation) -> None:
    locked = replace(account, is_active=False, limits=None)
    assert access.level(locked, where) == access.level(None, where)
    assert access.decide(locked, operation, where) == access.decide(None, operation, where)
    assert not access.is_settled(locked, where.name)
    assert not access.may_list_catalog(locked)


@given(st.none() | accounts, wheres, operations)
def test_the_actions_of_a_token_are_what_is_decided_and_a_reason_is_always_there(
    account: Account | None, where: Where, operation: Operation
) -> None:
    verdict = access.decide(account, operation, where)
    assert verdict.reason
    assert access.level(account, where).reason
    of_action = {"pull": Operation.PULL, "push": Operation.PUSH, "delete": Operation.DELETE}
    allowed = {action for action, each in of_action.items() if access.decide(account, each, where).allowed}
    assert access.allowed_actions(account, where) == allowed
    for action in of_action:
        assert bool(access.refusal_reason(account, frozenset({action}), where)) == (action not in allowed)


@given(st.none() | accounts, names, operations)
def test_nobody_learns_whether_a_private_repository_exists(
    account: Account | None, name: RepositoryName, operation: Operation
) -> None:
    """Of one that nothing was granted on, the sentence is that of one that is not there."""
    there, missing = Where(name), Where(name, exists=False)
    if access.level(account, there).level is Level.NONE:
        assert access.decide(account, operation, there) == access.decide(account, operation, missing)


@given(st.none() | accounts, wheres, operations)
def test_a_reason_names_only_teams_of_the_account_and_the_namespace_asked_for(
    account: Account | None, where: Where, operation: Operation
) -> None:
    said = access.decide(account, operation, where).reason + access.level(account, where).reason
    if account is None or not account.is_active:
        assert "team" not in said
        assert where.name.namespace not in said.replace("namespace", "")
    for team in ("devs", "ops"):
        if team not in {grant.team for grant in where.grants}:
            assert team not in said


# -------------------------------------------------------------------------------------------------------------- accounts

ACCOUNT_MATRIX = """
    whoever                     view  edit  use  govern  administer
    anonymous                    -     -     -     -         -
    stranger                     -     -     -     -         -
    self                         x     x     x     -         -
    member                       x     -     -     -         -
    owner                        x     x     x     x         -
    administrator                x     x     x     x         x
    locked                       -     -     -     -         -
    narrowed                     -     -     -     -         -
"""

WHOEVER: dict[str, tuple[Account | None, Whom]] = {
    "anonymous": (None, Whom("acme", Membership.OWNER)),
    "stranger": (USER, Whom("acme")),
    "self": (USER, Whom("ann")),
    "member": (USER, Whom("acme", Membership.MEMBER)),
    "owner": (USER, Whom("acme", Membership.OWNER)),
    "administrator": (ADMIN, Whom("acme")),
    "locked": (replace(ADMIN, is_active=False), Whom(ADMIN.name, Membership.OWNER)),
    "narrowed": (replace(ADMIN, limits=Limits(("acme/*",), frozenset({"pull"}))), Whom(ADMIN.name, Membership.OWNER)),
}


@pytest.mark.parametrize("row", ACCOUNT_MATRIX.strip().splitlines()[1:], ids=lambda row: row.split()[0])
def test_the_matrix_of_accounts(row: str) -> None:
    who, *marks = row.split()
    account, whom = WHOEVER[who]
    words = ACCOUNT_MATRIX.split()[1:6]
    for word, mark in zip(words, marks, strict=True):
        verdict = access.decide_account(account, AccountOperation(word), whom)
        assert verdict.allowed is (mark == "x"), word
        assert verdict.reason


def test_a_refusal_about_an_account_says_the_same_whether_there_is_one() -> None:
    for operation in AccountOperation:
        reasons = {access.decide_account(USER, operation, Whom(name)).reason for name in ("acme", "nobody", "")}
        assert len(reasons) == 1


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("acme/*", "acme/app", True),
        ("acme/*", "acme/x/y", True),
        ("acme/*", "acme", False),
        ("acme/*", "acmee/app", False),
        ("acme/x/*", "acme/x", False),
        ("acme/x/*", "acme/xy", False),
        ("acme/app", "acme/app", True),
        ("acme/app", "acme/app2", False),
        ("acme/app", "acme/app/x", False),
        ("*", "acme/app", False),
        ("", "acme/app", False),
        ("acme/", "acme/app", False),
        ("acme*", "acme/app", False),
    ],
)
def test_patterns_of_a_narrowed_token(pattern: str, name: str, covered: bool) -> None:
    narrowed = Limits((pattern,), frozenset({"pull"}))
    assert narrowed.cover("pull", RepositoryName.parse(name)) is covered
    assert not narrowed.cover("push", RepositoryName.parse(name))
