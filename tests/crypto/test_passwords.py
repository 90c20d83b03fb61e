"""argon2id with the parameters that are stored beside it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.crypto.passwords import Argon2Hasher

HASHER = Argon2Hasher()


@pytest.mark.parametrize("password", ["right", "", "pässwörd \N{SNOWMAN}", "a\0b", "x" * 100_000, "\ud800"])
def test_a_password_is_known_again_and_no_other_is(password: str) -> None:
    encoded = HASHER.hash(password)
    assert HASHER.verify(password, encoded)
    assert not HASHER.verify(password + " ", encoded)
    assert not HASHER.verify("other", encoded)


def test_hashes_say_their_parameters_and_are_salted() -> None:
    first, second = HASHER.hash("same"), HASHER.hash("same")
    assert first != second
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_a_decoy_looks_like_a_hash_and_has_no_password() -> None:
    decoy, real = HASHER.decoy(), HASHER.hash("right")
    assert [len(part) for part in decoy.split("$")] == [len(part) for part in real.split("$")]
    assert decoy.split("$")[:4] == real.split("$")[:4]
    assert not HASHER.verify("right", decoy)
    assert decoy != HASHER.decoy()


@pytest.mark.parametrize("encoded", ["", "right", "$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA", "$2b$12$abc"])
def test_what_is_no_hash_of_this_kind_is_an_error_and_never_a_match(encoded: str) -> None:
    with pytest.raises(ValueError, match="argon2id"):
        HASHER.verify("right", encoded)


def test_a_login_storm_is_answered_by_turns() -> None:
    encoded = HASHER.hash("right")
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda number: HASHER.verify("right" if number % 2 else "wrong", encoded), range(24)))
    assert answers == [bool(number % 2) for number in range(24)]
