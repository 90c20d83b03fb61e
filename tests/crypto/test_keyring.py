"""The ring of keys: whose signature counts, when a key begins and ends, and what it may cost."""

from __future__ import annotations

import base64
import hmac
import json
import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.utils import der_to_raw_signature

from chalicelib.crypto import jose
from chalicelib.crypto.keyring import PERIOD, PUBLISHED_BEFORE, KeyRing
from chalicelib.registry.errors import Unauthenticated
from chalicelib.registry.ports import Attributes, Key, Put, Table, Update
from chalicelib.registry.tokens import MAX_TOKEN
from tests.frozen_clock import FrozenClock
from tests.memory_signer import MemorySigner
from tests.memory_table import ConflictingTable, MemoryTable

CLAIMS = b'{"sub":"admin"}'


class CountingTable(MemoryTable):
    """Counts reads."""

    reads = 0

    def get(self, key: Key) -> Attributes | None:
        self.reads += 1
        return super().get(key)

    def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
        self.reads += 1
        return super().batch_get(keys)


class FailingSigner(MemorySigner):
    """A signer out of reach while ``away``."""

    away = False

    def sign(self, message: bytes) -> bytes:
        self._reach()
        return super().sign(message)

    def wrap(self, secret: bytes, context: str) -> bytes:
        self._reach()
        return super().wrap(secret, context)

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        self._reach()
        return super().unwrap(wrapped, context)

    def _reach(self) -> None:
        if self.away:
            raise ConnectionError("the signer is out of reach")


class House:
    """What the instances of one registry share. The clock stands in the middle of a period."""

    def __init__(self, table: Table | None = None) -> None:
        self.counting = CountingTable()
        self.table = table or self.counting
        self.signer = FailingSigner()
        self.clock = FrozenClock()
        self.to_period_start()
        self.clock.advance(PERIOD / 2)

    def ring(self) -> KeyRing:
        return KeyRing(self.table, self.signer, self.clock)

    def to_period_start(self) -> None:
        """Forward to where the next period begins."""
        self.clock.advance(PERIOD - self.clock.now().timestamp() % PERIOD)

    def stored(self) -> Mapping[Key, Attributes]:
        return {item.key: item.attributes for item in self.table.walk(limit=1000).items}


@pytest.fixture
def house() -> House:
    return House()


def signed(ring: KeyRing) -> str:
    return ring.sign(CLAIMS, MAX_TOKEN)


def kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def kids(ring: KeyRing) -> list[str]:
    keys = ring.jwks()["keys"]
    assert isinstance(keys, list)
    return [key["kid"] for key in keys]


def refused(ring: KeyRing, token: str) -> str:
    """The sentence that a token is refused with."""
    with pytest.raises(Unauthenticated) as caught:
        ring.open(token)
    return str(caught.value)


def encoded(header: Mapping[str, object]) -> str:
    return jose.encode(json.dumps(header).encode())


def forged(header: Mapping[str, object], key: ec.EllipticCurvePrivateKey | None = None) -> str:
    """A signed token with a header that no library would write."""
    signing = key or ec.generate_private_key(ec.SECP256R1())
    signed = f"{encoded(header)}.{jose.encode(CLAIMS)}"
    signature = signing.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
    return f"{signed}.{jose.encode(der_to_raw_signature(signature, signing.curve))}"


# ------------------------------------------------------------------------------------------------------------- forgeries


def test_a_key_in_the_header_counts_for_nothing(house: House) -> None:
    ring = house.ring()
    genuine = kid(signed(ring))
    own = ec.generate_private_key(ec.SECP256R1())
    jwk = jose.public_jwk(own.public_key())
    for named in (genuine, jose.thumbprint(own.public_key())):
        header = {"alg": "ES256", "typ": "JWT", "kid": named}
        refused(ring, forged(header, own))
        refused(ring, forged({**header, "jwk": jwk}, own))
        refused(ring, forged({**header, "jku": "https://evil.test/keys"}, own))
        refused(ring, forged({**header, "x5u": "https://evil.test/chain"}, own))
    refused(ring, forged({"alg": "ES256", "jwk": jwk}, own))


def test_a_chain_in_the_header_counts_for_nothing_even_a_genuine_one(house: House) -> None:
    ring, own, elsewhere = house.ring(), ec.generate_private_key(ec.SECP256R1()), House().ring()
    genuine = jwt.get_unverified_header(signed(ring))
    foreign = jwt.get_unverified_header(signed(elsewhere))
    for named in (genuine["kid"], foreign["kid"], jose.thumbprint(own.public_key())):
        for chain in (genuine["x5c"], foreign["x5c"]):
            refused(ring, forged({"alg": "ES256", "kid": named, "x5c": chain}, own))


def test_the_public_key_is_no_secret_to_sign_with(house: House) -> None:
    ring = house.ring()
    keys = ring.jwks()["keys"]
    assert isinstance(keys, list)
    public = jwt.PyJWK(keys[0]).key
    key_info = serialization.PublicFormat.SubjectPublicKeyInfo
    secrets = [public.public_bytes(encoding, key_info) for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER)]
    for secret in (*secrets, secrets[0].strip(), json.dumps(keys[0]).encode()):
        text = f"{encoded({'alg': 'HS256', 'kid': keys[0]['kid']})}.{jose.encode(CLAIMS)}"
        assert "ES256" in refused(ring, f"{text}.{jose.encode(hmac.digest(secret, text.encode(), 'sha256'))}")


def test_no_algorithm_but_es256_is_taken(house: House) -> None:
    ring = house.ring()
    genuine = signed(ring)
    header, payload, signature = genuine.split(".")
    for algorithm in ("none", "None", "NONE", "nOnE", "", None, "es256", "ES384", "HS256", ["ES256"], 0):
        fake = encoded({"alg": algorithm, "kid": kid(genuine), "typ": "JWT"})
        assert "ES256" in refused(ring, f"{fake}.{payload}.")
        assert "ES256" in refused(ring, f"{fake}.{payload}.{signature}")
    refused(ring, f"{header}.{payload}.")


@pytest.mark.parametrize("name", [None, 7, "", "x" * 500, {"a": 1}, ["x"], "../key", "\0"])
def test_a_strange_kid_is_refused(house: House, name: object) -> None:
    refused(house.ring(), forged({"alg": "ES256", "kid": name}))


def test_header_members_that_this_registry_does_not_write_are_refused(house: House) -> None:
    ring = house.ring()
    header = jwt.get_unverified_header(signed(ring))
    for member in ("crit", "b64", "jwk", "jku", "x5u", "x5t", "cty", "zip"):
        assert "header" in refused(ring, forged({**header, member: True}))


def test_no_character_of_a_token_can_be_altered(house: House) -> None:
    ring = house.ring()
    token = signed(ring)
    assert ring.open(token) == CLAIMS
    for at, character in enumerate(token):
        for other in {"A", "B", "_", ".", "="} - {character}:
            refused(ring, token[:at] + other + token[at + 1 :])
    for length in range(len(token)):
        refused(ring, token[:length])
    for longer in (token + "A", token + ".", token + "=", " " + token, token + "\n", token + "." + token):
        refused(ring, longer)


def test_the_token_of_another_registry_is_refused(house: House) -> None:
    elsewhere = House()
    assert "does not know" in refused(house.ring(), signed(elsewhere.ring()))


def test_another_root_over_the_same_table_has_a_ring_of_its_own(house: House) -> None:
    before = signed(house.ring())
    house.signer = FailingSigner()
    ring = house.ring()
    assert "does not know" in refused(ring, before)
    assert ring.open(signed(ring)) == CLAIMS


def test_a_key_written_into_the_table_without_the_root_is_refused(house: House) -> None:
    """Whoever can write the table cannot sign: neither with own keys nor with another root's, nor by swapping periods."""
    elsewhere = House()
    elsewhere.clock = house.clock
    foreign = signed(elsewhere.ring())
    genuine = signed(house.ring())
    stolen = next(attributes for key, attributes in elsewhere.stored().items() if key.sort.startswith("key/"))
    (place,) = [key for key in house.stored() if key.sort.startswith("key/")]
    period = int(place.sort.removeprefix("key/"))
    for target in (place, Key(place.partition, f"key/{period + 1:06d}")):
        house.table.write(Put(target, stolen))
    assert "does not know" in refused(house.ring(), foreign)
    ca = next(key for key in house.stored() if key.sort == "ca")
    house.table.write(Put(ca, elsewhere.stored()[next(key for key in elsewhere.stored() if key.sort == "ca")]))
    assert "does not know" in refused(house.ring(), foreign)
    assert "does not know" in refused(house.ring(), genuine)


def test_a_genuine_key_moved_to_another_period_counts_for_nothing(house: House) -> None:
    token = signed(house.ring())
    (place,) = [key for key in house.stored() if key.sort.startswith("key/")]
    record = house.stored()[place]
    house.to_period_start()
    house.clock.advance(PERIOD)  # its own period is two back now, and its record would be read no more
    period = int(house.clock.now().timestamp() // PERIOD)
    house.table.write(Put(Key(place.partition, f"key/{period:06d}"), record))
    assert "does not know" in refused(house.ring(), token)


# ----------------------------------------------------------------------------------------------------------- many, costs


def test_instances_share_one_key_and_verify_each_other(house: House) -> None:
    one, two = house.ring(), house.ring()
    first, second = signed(one), signed(two)
    assert kid(first) == kid(second)
    assert two.open(first) == one.open(second) == CLAIMS
    assert one.ca_certificate() == two.ca_certificate()
    assert len([key for key in house.stored() if key.sort.startswith("key/")]) == 1


def test_instances_that_start_at_once_agree_even_where_the_store_conflicts() -> None:
    table = ConflictingTable(MemoryTable(), random.Random(3), 0.3)
    house = House(table)
    rings = [house.ring() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(signed, rings))
    assert len({kid(token) for token in tokens}) == 1
    assert all(house.ring().open(token) == CLAIMS for token in tokens)
    assert len({ring.ca_certificate() for ring in rings}) == 1


def test_a_token_costs_neither_the_signer_nor_the_table(house: House) -> None:
    ring = house.ring()
    signed(ring)
    uses, reads = house.signer.uses, house.counting.reads
    for _ in range(50):
        ring.open(signed(ring))
    assert (house.signer.uses, house.counting.reads) == (uses, reads)


def test_a_verifier_needs_one_read_and_no_secret(house: House) -> None:
    token = signed(house.ring())
    uses, reads = house.signer.uses, house.counting.reads
    ring = house.ring()
    for _ in range(10):
        assert ring.open(token) == CLAIMS
    assert (house.signer.uses, house.counting.reads - reads) == (uses, 1)


def test_a_flood_of_unknown_keys_makes_one_read_in_five_seconds(house: House) -> None:
    ring = house.ring()
    signed(ring)
    reads = house.counting.reads
    for number in range(100):
        refused(ring, forged({"alg": "ES256", "kid": str(number)}))
    assert house.counting.reads - reads == 1
    house.clock.advance(5)
    for number in range(100):
        refused(ring, forged({"alg": "ES256", "kid": str(number)}))
    assert house.counting.reads - reads == 2


def test_a_flood_of_unknown_keys_hides_a_new_one_for_seconds_only(house: House) -> None:
    verifier = house.ring()
    refused(verifier, forged({"alg": "ES256", "kid": "flood"}))
    token = signed(house.ring())
    house.clock.advance(5)
    refused(verifier, forged({"alg": "ES256", "kid": "flood"}))
    assert verifier.open(token) == CLAIMS


def test_who_comes_while_the_ring_is_read_waits_for_it(house: House) -> None:
    token = signed(house.ring())
    opened: list[bytes] = []

    class Interrupted(MemoryTable):
        """During its first read another caller arrives, and is given time to go wrong."""

        second: Thread | None = None

        def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
            if self.second is None:
                self.second = Thread(target=lambda: opened.append(ring.open(token)))
                self.second.start()
                self.second.join(0.2)
            return house.table.batch_get(keys)

    table = Interrupted()
    ring = KeyRing(table, house.signer, house.clock)
    opened.append(ring.open(token))
    assert table.second is not None
    table.second.join(10)
    assert opened == [CLAIMS, CLAIMS]


def test_a_table_in_trouble_makes_no_good_key_an_unknown_one(house: House) -> None:
    class Failing(MemoryTable):
        failing = True

        def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
            if self.failing:
                raise ConnectionError
            return house.table.batch_get(keys)

    token, table = signed(house.ring()), Failing()
    ring = KeyRing(table, house.signer, house.clock)
    with pytest.raises(ConnectionError):
        ring.open(token)
    table.failing = False
    assert ring.open(token) == CLAIMS


# -------------------------------------------------------------------------------------------------------------- rotation


def test_the_next_key_is_published_a_day_before_its_first_use(house: House) -> None:
    ring = house.ring()
    present = kid(signed(ring))
    house.to_period_start()
    house.clock.advance(-PUBLISHED_BEFORE - 1)
    assert kids(ring) == [present]
    house.clock.advance(1)
    assert kid(signed(ring)) == present
    announced = kids(house.ring())
    assert announced[0] == present
    assert len(announced) == 2
    house.to_period_start()
    assert kid(signed(ring)) == kid(signed(house.ring())) == announced[1]


def test_a_schedule_has_the_next_key_ready_though_nobody_asks_for_tokens(house: House) -> None:
    ring = house.ring()
    house.to_period_start()
    house.clock.advance(-2 * PUBLISHED_BEFORE - 1)
    present = list(ring.rotate())
    assert len(present) == 1
    house.clock.advance(1)
    first, announced = house.ring().rotate()
    assert [first] == present
    assert list(ring.rotate()) == [first, announced], "twice is once"
    house.clock.advance(PUBLISHED_BEFORE)
    assert set(kids(house.ring())) == {first, announced}, "a day before its first use"
    house.to_period_start()
    assert kid(signed(ring)) == announced


def test_a_schedule_that_cannot_reach_the_signer_fails_and_is_made_good_by_the_next(house: House) -> None:
    signer = FailingSigner()
    ring = KeyRing(house.table, signer, house.clock)
    signer.away = True
    with pytest.raises(ConnectionError):
        ring.rotate()
    signer.away = False
    assert len(ring.rotate()) == 1


def test_a_token_of_the_last_moment_verifies_after_the_change_everywhere(house: House) -> None:
    ring, bystander = house.ring(), house.ring()
    house.to_period_start()
    house.clock.advance(-1)
    old = signed(ring)
    assert bystander.open(old) == CLAIMS
    house.clock.advance(2)
    new = signed(ring)
    assert kid(new) != kid(old)
    house.clock.advance(330)
    for verifier in (ring, bystander, house.ring()):
        assert verifier.open(old) == CLAIMS
        assert verifier.open(new) == CLAIMS
    assert kid(old) in kids(ring)


def test_a_key_ends_an_hour_after_its_period(house: House) -> None:
    ring = house.ring()
    old = signed(ring)
    house.to_period_start()
    house.clock.advance(3_601)
    assert "not valid now" in refused(ring, old)
    assert kid(old) not in kids(house.ring())


def test_nobody_called_for_years(house: House) -> None:
    ring = house.ring()
    old = signed(ring)
    house.clock.advance(10 * PERIOD)
    new = signed(ring)
    assert ring.open(new) == house.ring().open(new) == CLAIMS
    refused(house.ring(), old)


def test_the_change_needs_no_signer_once_the_key_is_published(house: House) -> None:
    ring = house.ring()
    signed(ring)
    house.to_period_start()
    house.clock.advance(-PUBLISHED_BEFORE)
    signed(ring)
    house.signer.away = True
    house.to_period_start()
    assert ring.open(signed(ring)) == CLAIMS


def test_a_signer_out_of_reach_the_day_before_stops_nothing_and_is_asked_again(house: House) -> None:
    ring = house.ring()
    present = kid(signed(ring))
    house.to_period_start()
    house.clock.advance(-PUBLISHED_BEFORE)
    house.signer.away = True
    assert kid(signed(ring)) == present
    house.signer.away = False
    assert kids(ring) == [present]  # not asked again at every token
    house.clock.advance(60)
    assert len(kids(ring)) == 2


# ------------------------------------------------------------------------------------------------------------ publishing


def test_strangers_can_verify_with_what_is_published(house: House) -> None:
    ring = house.ring()
    token = signed(ring)
    keys = ring.jwks()["keys"]
    assert isinstance(keys, list)
    (jwk,) = keys
    assert {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid(token)}.items() <= jwk.items()
    assert "d" not in jwk
    assert jwt.decode(token, jwt.PyJWK(jwk), algorithms=["ES256"]) == {"sub": "admin"}


def test_the_chain_of_a_token_leads_to_the_published_root(house: House) -> None:
    ring = house.ring()
    header = jwt.get_unverified_header(signed(ring))
    authority = x509.load_pem_x509_certificate(ring.ca_certificate().encode())
    (chain,) = header["x5c"]
    leaf = x509.load_der_x509_certificate(base64.b64decode(chain))
    leaf.verify_directly_issued_by(authority)
    public_key = leaf.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    assert jose.thumbprint(public_key) == header["kid"]


def test_the_root_certificate_is_served_before_any_token_and_stays(house: House) -> None:
    first = house.ring().ca_certificate()
    signed(house.ring())
    house.clock.advance(2 * PERIOD)
    signed(house.ring())
    assert house.ring().ca_certificate() == first


def test_the_stored_private_half_is_bound_to_its_place(house: House) -> None:
    signed(house.ring())
    (place,) = [key for key in house.stored() if key.sort.startswith("key/")]
    house.table.write(Update(place, set={"wrapped": house.signer.wrap(b"another secret", "another context")}))
    with pytest.raises(ValueError, match="context"):
        signed(house.ring())


def test_a_token_never_passes_its_limit(house: House) -> None:
    ring = house.ring()
    room = ring.room(MAX_TOKEN)
    longest = ring.sign(b"x" * room, MAX_TOKEN)
    assert MAX_TOKEN - 3 <= len(longest) <= MAX_TOKEN
    assert "x5c" not in jwt.get_unverified_header(longest)
    with pytest.raises(ValueError, match="fit"):
        ring.sign(b"x" * (room + 2), MAX_TOKEN)
    assert "x5c" in jwt.get_unverified_header(ring.sign(b"x" * (room // 2), MAX_TOKEN))
