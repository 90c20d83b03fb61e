"""Tokens: what they grant, how long, and how large."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.registry.access import EVERY_ACTION, Account, Caller, Grant, Where, allowed_actions
from chalicelib.registry.errors import Unauthenticated
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.tokens import LEEWAY, LIFETIME, MAX_TOKEN, Asked, Decision, decide
from tests.issuing import Instance

ADMIN, USER = Account("admin", is_admin=True), Account("user")
NOTHING = Decision((), ())
APP, OTHER, OPEN = (RepositoryName.parse(name) for name in ("user/app", "other/app", "other/open"))


class Shelf:
    """Repositories of which some are public; others do not exist."""

    def __init__(self, **public: bool) -> None:
        self._public = {RepositoryName.parse(name.replace("__", "/")): value for name, value in public.items()}

    def everywhere(self, account: Account | None, names: Iterable[RepositoryName]) -> Mapping[RepositoryName, Where]:
        return {name: Where(name, name in self._public, self._public.get(name, False)) for name in names}


def grant(name: RepositoryName, *actions: str) -> Grant:
    return Grant("repository", str(name), frozenset(actions))


def refused(instance: Instance, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        instance.tokens.verify(token)
    return str(caught.value)


def with_claims(instance: Instance, **changed: object) -> str:
    """A token that the genuine key signed, with other claims than the service would write; None drops a claim."""
    token = instance.tokens.issue(USER, NOTHING).text
    claims = jwt.decode(token, options={"verify_signature": False}) | changed
    payload = {name: value for name, value in claims.items() if value is not None}
    return instance.ring.sign(json.dumps(payload).encode(), MAX_TOKEN)


# -------------------------------------------------------------------------------------------------------------- deciding


def test_everybody_gets_what_access_allows_and_hears_of_the_rest() -> None:
    asked = Asked({APP: frozenset({"pull", "push"}), OTHER: frozenset({"pull"}), OPEN: frozenset({"push", "pull"})})
    shelf = Shelf(other__open=True, other__app=False)
    assert decide(USER, asked, shelf) == Decision(
        (grant(APP, "pull", "push"), grant(OPEN, "pull")), (grant(OTHER, "pull"), grant(OPEN, "push"))
    )
    assert decide(None, asked, shelf) == Decision(
        (grant(OPEN, "pull"),), (grant(APP, "pull", "push"), grant(OTHER, "pull"), grant(OPEN, "push"))
    )
    assert decide(ADMIN, asked, shelf).refused == ()


def test_a_repository_that_does_not_exist_is_private() -> None:
    for shelf in (Shelf(), Shelf(other__app=False)):
        assert decide(None, Asked({OTHER: frozenset({"pull"})}), shelf) == Decision((), (grant(OTHER, "pull"),))


def test_a_star_is_all_that_is_allowed_and_says_so_only_if_that_is_all() -> None:
    asked = Asked({APP: frozenset("*"), OPEN: frozenset("*")})
    assert decide(USER, asked, Shelf(other__open=True)) == Decision(
        (grant(APP, "pull", "push", "delete", "*"), grant(OPEN, "pull")), (grant(OPEN, "push", "delete"),)
    )


def test_the_catalogue_is_for_administrators() -> None:
    catalog = Grant("registry", "catalog", frozenset("*"))
    assert decide(ADMIN, Asked({}, catalog=True), Shelf()) == Decision((catalog,), ())
    for account in (USER, None, Account("admin", is_admin=True, is_active=False)):
        assert decide(account, Asked({}, catalog=True), Shelf()) == Decision((), (catalog,))


@given(
    st.sampled_from([None, ADMIN, USER, Account("other"), Account("user", is_active=False)]),
    st.dictionaries(st.sampled_from([APP, OTHER, OPEN]), st.frozensets(st.sampled_from(["pull", "push", "delete", "*"]))),
    st.booleans(),
)
def test_a_token_never_grants_more_than_its_owner_holds(
    account: Account | None, asked: Mapping[RepositoryName, frozenset[str]], public: bool
) -> None:
    decision = decide(account, Asked(asked), Shelf(other__open=public))
    caller = Caller("", decision.granted, decision.refused)
    for name in (APP, OTHER, OPEN):
        allowed = allowed_actions(account, Where(name, name == OPEN, public and name == OPEN))
        for action in EVERY_ACTION:
            wanted = name in asked and bool(asked[name] & {action, "*"})
            assert caller.may(action, "repository", str(name)) == (wanted and action in allowed)
            assert caller.was_refused(action, "repository", str(name)) == (wanted and action not in allowed)


# --------------------------------------------------------------------------------------------------------------- issuing


def test_a_token_says_who_and_what_and_for_whom() -> None:
    instance = Instance()
    decision = Decision((grant(APP, "push", "pull"),), (grant(OTHER, "pull"),))
    issued = instance.tokens.issue(USER, decision)
    now = int(instance.clock.now().timestamp())
    claims = jwt.decode(issued.text, options={"verify_signature": False})
    jti = claims.pop("jti")
    assert len(jti) == 32
    assert claims == {
        "iss": "https://registry.test",
        "sub": "user",
        "account_id": "",
        "aud": "registry.test",
        "exp": now + 300,
        "nbf": now,
        "iat": now,
        "access": [{"type": "repository", "name": "user/app", "actions": ["pull", "push"]}],
        "refused": [{"type": "repository", "name": "other/app", "actions": ["pull"]}],
    }
    assert (issued.expires_in, issued.granted) == (300, decision.granted)
    assert instance.tokens.verify(issued.text) == Caller("user", decision.granted, decision.refused)
    assert instance.another().tokens.verify(issued.text).account == "user"


def test_an_anonymous_token_has_no_subject_and_no_two_are_the_same() -> None:
    instance = Instance()
    first, second = (instance.tokens.issue(None, NOTHING).text for _ in range(2))
    assert first != second
    assert instance.tokens.verify(first) == Caller("")


@pytest.mark.parametrize("length", [8, 30, 120, 250])
def test_a_hundred_scopes_stay_under_six_kilobytes(length: int) -> None:
    instance = Instance()
    names = [RepositoryName.parse(f"team/{'x' * (length - 8)}{number:03d}") for number in range(100)]
    decision = Decision(
        (*(grant(name, "pull") for name in names[:99]), grant(names[99], "pull", "push")),
        tuple(grant(name, "push") for name in names),
    )
    issued = instance.tokens.issue(USER, decision)
    assert len(issued.text) <= MAX_TOKEN < 6 * 1024
    caller = instance.tokens.verify(issued.text)
    assert caller.granted == issued.granted
    assert caller.may("push", "repository", str(names[99]))  # what writes is kept before what only pulls
    kept = caller.granted[:-1]
    assert kept == decision.granted[: len(kept)]  # and what was asked first before what was asked later
    assert len(kept) > 10
    assert bool(caller.refused) == (len(kept) == 99)  # grants before refusals


def test_few_scopes_leave_room_for_the_certificate() -> None:
    instance = Instance()
    names = [RepositoryName.parse(f"team/service-with-a-long-name-{number}") for number in range(20)]
    issued = instance.tokens.issue(USER, Decision(tuple(grant(name, "pull", "push") for name in names), ()))
    assert "x5c" in jwt.get_unverified_header(issued.text)
    assert len(issued.granted) == 20


# ------------------------------------------------------------------------------------------------------------- verifying


def test_a_token_ends_five_minutes_after_it_was_made_even_if_it_was_just_verified() -> None:
    instance = Instance()
    token = instance.tokens.issue(USER, NOTHING).text
    instance.clock.advance(LIFETIME + LEEWAY - 1)
    instance.tokens.verify(token)
    instance.clock.advance(1)
    assert "expired" in refused(instance, token)
    assert "expired" in refused(instance.another(), token)


def test_a_token_of_the_future_is_not_valid_yet() -> None:
    instance = Instance()
    token = instance.tokens.issue(USER, NOTHING).text
    instance.clock.advance(-LEEWAY)
    instance.tokens.verify(token)
    instance.clock.advance(-1)
    assert "not valid yet" in refused(instance, token)
    now = int(instance.clock.now().timestamp())
    assert "not valid yet" in refused(instance, with_claims(instance, nbf=now + 31, iat=now))
    assert "not valid yet" in refused(instance, with_claims(instance, nbf=now, iat=now + 31))


def test_a_token_for_another_service_or_of_another_issuer_is_refused() -> None:
    instance = Instance()
    elsewhere = instance.another(service="other.test").tokens.issue(USER, NOTHING).text
    assert "another service" in refused(instance, elsewhere)
    stranger = instance.another(issuer="https://other.test").tokens.issue(USER, NOTHING).text
    assert "another token service" in refused(instance, stranger)
    for audience in ([], ["registry.test"], ["other", "registry.test"], "", "registry.tes", {"registry.test": 1}):
        refused(instance, with_claims(instance, aud=audience))


@pytest.mark.parametrize("claim", ["iss", "sub", "aud", "exp", "nbf", "iat", "access"])
def test_a_token_without_a_claim_that_it_needs_is_refused(claim: str) -> None:
    instance = Instance()
    refused(instance, with_claims(instance, **{claim: None}))


@pytest.mark.parametrize(
    ("claim", "value"),
    [("exp", "never"), ("exp", float("inf")), ("exp", float("nan")), ("nbf", []), ("access", 7), ("access", ["x"])],
)
def test_claims_of_the_wrong_shape_are_refused(claim: str, value: object) -> None:
    instance = Instance()
    refused(instance, with_claims(instance, **{claim: value}))


@given(st.text(max_size=400) | st.binary(max_size=200).map(lambda content: content.decode("latin-1")))
@settings(deadline=None)
def test_garbage_is_unauthenticated_and_nothing_else(text: str) -> None:
    refused(Instance(), text)


def test_a_token_longer_than_any_that_is_made_is_refused_unread() -> None:
    assert "too long" in refused(Instance(), "a" * 10_000_000)


def test_a_refusal_tells_no_key_and_no_claim() -> None:
    instance = Instance()
    token = with_claims(instance, iss="https://secret.test")
    assert "secret" not in refused(instance, token)
