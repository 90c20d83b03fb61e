"""Trust rules: what a robot may not have as a rule, what a pattern does not match, and whose word counts for which rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import SupportsIndex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.registry.errors import Busy, RequestInvalid, Unauthenticated, VersionMismatch
from chalicelib.registry.federation import (
    AWS,
    AWS_STS,
    ID_TOKEN,
    JWT,
    MAX_RULES,
    NOT_TRUSTED,
    Federation,
    ProvenIdentity,
    TrustRule,
    TrustRules,
    checked,
    matches,
)
from chalicelib.registry.ports import Write
from tests.frozen_clock import FrozenClock
from tests.memory_table import MemoryTable

ISSUER = "https://issuer.test"
GITHUB = "https://token.actions.githubusercontent.com"
ARN = "arn:aws:sts::123456789012:assumed-role/ci/*"
RULE = TrustRule("main", ISSUER, "repo:acme/app:*", {"ref": "refs/heads/main"})
GOOD = ProvenIdentity(ISSUER, "repo:acme/app:push", {"ref": "refs/heads/main"})

patterns = st.text("ab*", max_size=12)
values = st.text("ab", max_size=16)


# -------------------------------------------------------------------------------------------------------------- patterns


@given(patterns, values)
def test_a_star_is_any_characters_and_nothing_else_is_special(pattern: str, value: str) -> None:
    expected = re.fullmatch(re.sub(r"\*+", ".*", pattern), value, re.DOTALL)
    assert matches(pattern, value) == bool(expected)


@given(st.text(max_size=40), st.text(max_size=40))
def test_without_a_star_only_the_text_itself_matches(pattern: str, value: str) -> None:
    assert matches(pattern.replace("*", ""), value) == (pattern.replace("*", "") == value)


@given(st.lists(st.text(st.characters(exclude_characters="*"), max_size=5), min_size=1, max_size=6), st.data())
def test_whatever_the_stars_are_filled_with_matches(pieces: list[str], data: st.DataObject) -> None:
    value = pieces[0] + "".join(data.draw(st.text(max_size=5)) + piece for piece in pieces[1:])
    assert matches("*".join(pieces), value)


@pytest.mark.parametrize(
    "pattern", ["repo:acme/ap.", "repo:acme/[a]pp", "repo:acme/app?", "^repo:acme/app$", "repo:acme/app|x", "%"]
)
def test_nothing_of_a_regular_expression_means_anything(pattern: str) -> None:
    assert not matches(pattern, "repo:acme/app")
    assert matches(pattern, pattern)


def test_a_pattern_is_the_whole_value() -> None:
    assert not matches("acme/app", "evil/acme/app")
    assert not matches("acme/app", "acme/app2")
    assert not matches("ab*ba", "aba"), "what one end has taken is not there for the other"
    assert not matches("acme/app", "acme/app\n")
    assert not matches("Acme", "acme")


@pytest.mark.parametrize(
    ("pattern", "times"),
    [("*a" * 256 + "b", 0), ("*a" * 256 + "b*", 256), ("*" + "a" * 255 + "b*", 1)],
    ids=["end", "many", "one"],
)
def test_each_piece_of_a_hostile_pattern_is_looked_for_once(pattern: str, times: int) -> None:
    class Searched(str):
        """Counts how often something is looked for in it."""

        times = 0

        def find(self, piece: str, *span: SupportsIndex | None) -> int:
            self.times += 1
            return super().find(piece, *span)

    value = Searched("a" * 16_000)
    assert not matches(pattern, value)
    assert value.times == times


# ----------------------------------------------------------------------------------------------------------------- rules


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "Main"},
        {"name": "a/b"},
        {"name": "a" * 65},
        {"name": "main\n"},
        {"subject": ""},
        {"subject": "*"},
        {"subject": "***"},
        {"subject": "a" * 513},
        {"subject": "a\nb"},
        {"subject": "a\0"},
        {"subject": "\ud800"},
        {"issuer": ""},
        {"issuer": "http://issuer.test"},
        {"issuer": "https://"},
        {"issuer": "https://*.test"},
        {"issuer": "https://issuer.test/*"},
        {"issuer": "https://issuer.test?a=b"},
        {"issuer": "https://issuer.test#a"},
        {"issuer": "https://user@issuer.test"},
        {"issuer": "https://issuer.test\\@evil.test"},
        {"issuer": "https://issuer test"},
        {"issuer": "https://[::1"},
        {"issuer": "HTTPS://issuer.test"},
        {"issuer": "https://issuer.test/" + "a" * 512},
        {"issuer": "AWS"},
        {"claims": {"": "a"}},
        {"claims": {"a b": "a"}},
        {"claims": {"ref": ""}},
        {"claims": {"ref": "a" * 513}},
        {"claims": {f"c{number}": "a" for number in range(17)}},
        {"issuer": AWS},
        {"issuer": AWS, "subject": "arn:aws:sts::*:assumed-role/ci/*"},
        {"issuer": AWS, "subject": "arn:aws:sts::12345678901*:assumed-role/ci/*"},
        {"issuer": AWS, "subject": "arn:*:sts::123456789012:assumed-role/ci/*"},
        {"issuer": AWS, "subject": "arn:aws:s3::123456789012:a"},
        {"issuer": AWS, "subject": "arn:aws:sts::123456789012:"},
        {"issuer": AWS, "subject": "*:123456789012:assumed-role/ci"},
        {"issuer": GITHUB, "subject": "repo:*"},
        {"issuer": GITHUB, "subject": "repo:acme*"},
        {"issuer": GITHUB, "subject": "*/app:ref:refs/heads/main"},
        {"issuer": GITHUB + "/", "subject": "repo:*"},
        {"issuer": GITHUB, "subject": "environment:production", "claims": {"repository_owner": "*"}},
        {"issuer": "https://gitlab.com", "subject": "project_path:*", "claims": {"ref": "main"}},
        {"issuer": "https://agent.buildkite.com", "subject": "organization:acme*"},
        {"issuer": "https://app.terraform.io", "subject": "organization:*:project:app"},
        {"issuer": "https://accounts.google.com", "subject": "1*"},
    ],
    ids=str,
)
def test_rules_that_no_robot_may_have(wrong: dict[str, object]) -> None:
    with pytest.raises(RequestInvalid):
        TrustRules(MemoryTable(), FrozenClock()).put("1", replace(RULE, **wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "right",
    [
        {"issuer": "https://issuer.test/path/"},
        {"issuer": "https://issuer.test:8443"},
        {"issuer": AWS, "subject": ARN},
        {"issuer": AWS, "subject": "arn:aws-us-gov:iam::123456789012:user/ci"},
        {"issuer": GITHUB, "subject": "repo:acme/*"},
        {"issuer": GITHUB, "subject": "environment:*", "claims": {"repository_owner_id": "4711"}},
        {"issuer": "https://gitlab.com", "subject": "project_path:acme/app:ref_type:branch:ref:main"},
        {"issuer": "https://agent.buildkite.com", "subject": "organization:acme:*"},
        {"issuer": "https://accounts.google.com", "subject": "104711"},
        {"issuer": "https://accounts.google.com", "subject": "1*", "claims": {"hd": "acme.test"}},
        {"subject": "prefix *"},
    ],
    ids=str,
)
def test_rules_that_a_robot_may_have(right: dict[str, object]) -> None:
    rule = replace(RULE, **right)  # type: ignore[arg-type]
    assert checked(rule) == rule


@pytest.fixture
def rules() -> TrustRules:
    return TrustRules(MemoryTable(), FrozenClock())


def test_a_rule_is_stored_and_changed_by_who_has_seen_it(rules: TrustRules) -> None:
    first = rules.put("1", RULE)
    assert (first.version, first.created_at) == (1, int(FrozenClock().now().timestamp()))
    assert rules.get("1", "main") == first
    second = rules.put("1", replace(RULE, subject="other"), if_version=1)
    assert (second.version, second.subject, second.created_at) == (2, "other", first.created_at)
    for wrong in (1, 3):
        with pytest.raises(VersionMismatch):
            rules.put("1", RULE, if_version=wrong)
        with pytest.raises(VersionMismatch):
            rules.delete("1", "main", if_version=wrong)
    with pytest.raises(VersionMismatch):
        rules.put("1", replace(RULE, name="none"), if_version=1)
    assert rules.delete("1", "main", if_version=2)
    assert not rules.delete("1", "main")
    assert rules.get("1", "main") is None


@pytest.mark.parametrize("name", ["", "main/..", "\ud800", "a" * 2_000, "MAIN"])
def test_a_name_that_no_rule_has_finds_none(rules: TrustRules, name: str) -> None:
    rules.put("1", RULE)
    assert rules.get("1", name) is None
    assert not rules.delete("1", name)


def test_rules_are_listed_in_order_a_page_at_a_time_and_for_one_robot(rules: TrustRules) -> None:
    for name in ("c", "a", "b.d", "b"):
        rules.put("1", replace(RULE, name=name))
    rules.put("12", replace(RULE, name="other"))
    assert [rule.name for rule in rules.list("1")] == ["a", "b", "b.d", "c"]
    assert [rule.name for rule in rules.list("1", limit=2)] == ["a", "b"]
    assert [rule.name for rule in rules.list("1", after="b", limit=2)] == ["b.d", "c"]
    assert rules.list("2") == []


def test_a_robot_has_twenty_rules_at_most_and_room_again_after_a_delete(rules: TrustRules) -> None:
    for number in range(MAX_RULES):
        rules.put("1", replace(RULE, name=f"rule-{number}"))
    with pytest.raises(RequestInvalid):
        rules.put("1", RULE)
    rules.put("1", replace(RULE, name="rule-0", subject="changed"))
    rules.put("2", RULE)
    rules.delete("1", "rule-0")
    rules.put("1", RULE)
    with pytest.raises(RequestInvalid):
        rules.put("1", replace(RULE, name="rule-0"))


class Overtaken(MemoryTable):
    """Lets somebody else go first, once, before the next transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.first: Callable[[], object] | None = None

    def transact(self, writes: Sequence[Write]) -> None:
        first, self.first = self.first, None
        if first is not None:
            first()
        super().transact(writes)


@pytest.mark.parametrize("there", [MAX_RULES - 1, 0])
def test_two_that_are_made_at_once_are_not_both_the_last(there: int) -> None:
    table = Overtaken()
    rules = TrustRules(table, FrozenClock())
    for number in range(there):
        rules.put("1", replace(RULE, name=f"rule-{number}"))
    table.first = lambda: rules.put("1", replace(RULE, name="overtaking"))
    if there:
        with pytest.raises(RequestInvalid):
            rules.put("1", RULE)
    else:
        rules.put("1", RULE)
        for number in range(MAX_RULES - 2):
            rules.put("1", replace(RULE, name=f"rule-{number}"))
        with pytest.raises(RequestInvalid):
            rules.put("1", replace(RULE, name="more"))
    assert len(rules.list("1", limit=100)) == MAX_RULES


def test_a_rule_that_is_changed_while_it_is_changed_keeps_every_version() -> None:
    table = Overtaken()
    rules = TrustRules(table, FrozenClock())
    rules.put("1", RULE)
    table.first = lambda: rules.put("1", replace(RULE, subject="changed"), if_version=1)
    with pytest.raises(VersionMismatch):
        rules.delete("1", "main", if_version=1)
    stored = rules.get("1", "main")
    assert stored is not None
    assert (stored.version, stored.subject) == (2, "changed")


def test_rules_that_are_made_at_once_are_counted_right(rules: TrustRules) -> None:
    def put(number: int) -> bool:
        try:
            rules.put("1", replace(RULE, name=f"rule-{number}"))
        except (RequestInvalid, Busy):
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        made = sum(threads.map(put, range(40)))
    assert made == len(rules.list("1", limit=100)) <= MAX_RULES


# ------------------------------------------------------------------------------------------------------------- admission


@pytest.mark.parametrize(
    ("pattern", "claim"),
    [
        ("main", None),
        ("main", "Main"),
        ("*", None),
        ("*", {"a": "b"}),
        ("main", ["other", "more"]),
        ("main", []),
        ("main", [["main"]]),
        ("main", {"main": "main"}),
        ("true", False),
        ("True", True),
        ("1", True),
        ("17", 170),
        ("null", None),
    ],
)
def test_claims_that_do_not_match(pattern: str, claim: object) -> None:
    assert not replace(RULE, claims={"ref": pattern}).admits(replace(GOOD, claims={"ref": claim}))


@pytest.mark.parametrize(
    ("pattern", "claim"),
    [("main", "main"), ("m*", ["other", "main"]), ("true", True), ("17", 17), ("1.5", 1.5), ("17", [17]), ("*", "")],
)
def test_claims_that_match(pattern: str, claim: object) -> None:
    assert replace(RULE, claims={"ref": pattern}).admits(replace(GOOD, claims={"ref": claim}))


def test_every_claim_of_a_rule_has_to_match() -> None:
    rule = replace(RULE, claims={"ref": "refs/heads/main", "environment": "production"})
    assert not rule.admits(GOOD)
    assert rule.admits(replace(GOOD, claims={**GOOD.claims, "environment": "production", "more": 1}))


@pytest.mark.parametrize("issuer", ["https://other.test", "https://issuer.test/", "aws", "https://issuer.testx", ""])
def test_what_another_issuer_says_counts_for_nothing(issuer: str) -> None:
    assert RULE.admits(GOOD)
    assert not RULE.admits(replace(GOOD, issuer=issuer))


class Provider:
    """An IdentityProvider whose tokens are the names of identities; ``asked`` is what each question named."""

    def __init__(self, identities: Mapping[str, ProvenIdentity]) -> None:
        self._identities = identities
        self.asked: list[tuple[frozenset[str], frozenset[str]]] = []

    def prove(self, subject_token: str, audiences: frozenset[str], issuers: frozenset[str]) -> ProvenIdentity:
        self.asked.append((audiences, issuers))
        identity = self._identities.get(subject_token)
        if identity is None or identity.issuer not in issuers:
            raise Unauthenticated(NOT_TRUSTED)
        return identity


ROLE = ProvenIdentity(AWS, "arn:aws:sts::123456789012:assumed-role/ci/run", {"account": "123456789012"})


class House:
    def __init__(self) -> None:
        self.rules = TrustRules(MemoryTable(), FrozenClock())
        self.oidc = Provider({"good": GOOD, "other": replace(GOOD, subject="repo:evil/app:push"), "role": ROLE})
        self.aws = Provider({"role": ROLE, "good": GOOD})
        self.federation = Federation(
            self.rules, self.oidc, self.aws, service="registry.test", public_url="https://registry.test"
        )


@pytest.fixture
def house() -> House:
    house = House()
    house.rules.put("1", RULE)
    house.rules.put("1", replace(RULE, name="second", issuer="https://second.test"))
    house.rules.put("1", TrustRule("role", AWS, ARN))
    house.rules.put("2", replace(RULE, subject="repo:acme/other:*"))
    return house


@pytest.mark.parametrize(
    ("robot", "token_type", "token"),
    [
        ("1", ID_TOKEN, "other"),
        ("1", ID_TOKEN, "role"),
        ("1", AWS_STS, "good"),
        ("1", ID_TOKEN, "unknown"),
        ("2", ID_TOKEN, "good"),
        ("2", AWS_STS, "role"),
        ("3", ID_TOKEN, "good"),
        ("", ID_TOKEN, "good"),
        (None, ID_TOKEN, "good"),
        (None, AWS_STS, "role"),
    ],
)
def test_whoever_no_rule_of_the_robot_names_is_refused(house: House, robot: str | None, token_type: str, token: str) -> None:
    with pytest.raises(Unauthenticated):
        house.federation.admit(robot, token_type, token)


def test_who_is_named_is_admitted(house: House) -> None:
    assert house.federation.admit("1", ID_TOKEN, "good") == GOOD
    assert house.federation.admit("1", JWT, "good") == GOOD
    assert house.federation.admit("1", AWS_STS, "role") == ROLE


def test_providers_are_told_whom_to_ask_and_for_whom_tokens_are_meant(house: House) -> None:
    house.federation.admit("1", ID_TOKEN, "good")
    house.federation.admit("1", AWS_STS, "role")
    names = frozenset({"registry.test", "https://registry.test"})
    assert house.oidc.asked == [(names, frozenset({ISSUER, "https://second.test"}))]
    assert house.aws.asked == [(frozenset({"registry.test"}), frozenset({AWS}))]


def test_a_robot_that_does_not_exist_answers_like_one_without_rules(house: House) -> None:
    told = []
    for robot in (None, "3"):
        with pytest.raises(Unauthenticated) as refused:
            house.federation.admit(robot, ID_TOKEN, "good")
        told.append(str(refused.value))
    assert told == [NOT_TRUSTED, NOT_TRUSTED]


@pytest.mark.parametrize("token_type", ["", "id_token", "urn:ietf:params:oauth:token-type:saml2"])
def test_another_kind_of_token_is_no_request(house: House, token_type: str) -> None:
    with pytest.raises(RequestInvalid):
        house.federation.admit("1", token_type, "good")


def test_a_rule_that_was_taken_away_admits_nobody_from_then_on(house: House) -> None:
    house.rules.delete("1", "main")
    with pytest.raises(Unauthenticated):
        house.federation.admit("1", ID_TOKEN, "good")
