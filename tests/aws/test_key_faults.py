"""Any call of KMS or DynamoDB fails while the keys of tokens are made, published and used: whoever asked is told so or served,
and served when asking again; and in the end all instances have the same keys."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from chalicelib.aws.dynamo_table import DynamoTable
from chalicelib.aws.json_service import JsonService
from chalicelib.aws.kms_signer import KmsSigner
from chalicelib.aws.signing import Credentials
from chalicelib.crypto.keyring import PERIOD, PUBLISHED_BEFORE, KeyRing
from chalicelib.registry.errors import Busy
from chalicelib.registry.ports import Conflict, Delete
from chalicelib.registry.upkeep.work import rotate_keys
from infra.local.front import serving
from tests.aws.upkeep_flows import AWS_FAILED
from tests.cloud.faults import Fault, Kind
from tests.cloud.json_front import DYNAMODB, KMS, JsonFront
from tests.counts import Run
from tests.emulator import Emulator
from tests.frozen_clock import FrozenClock
from tests.life_cycle.test_faults import REFUSED
from tests.surface import PASSWORD, SERVICE, Surface

NEVER = 1_000_000
OF_ALL = (Kind.SLOW_DOWN, Kind.FAILED, Kind.FORBIDDEN, Kind.RESET, Kind.DONE_THEN_500, Kind.DONE_THEN_RESET)
OF_KMS = frozenset({"GetPublicKey", "Sign", "Encrypt", "Decrypt"})
WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"})


@dataclass(frozen=True)
class House:
    """One table and one root key. ``instance`` makes instances whose calls ``faults`` strike, once they are made."""

    faults: list[Fault]
    clock: FrozenClock
    instance: Callable[[], Surface]
    beside: DynamoTable

    def keys(self) -> Sequence[str]:
        """What the table has of the ring."""
        return sorted(item.key.sort for item in self.beside.walk(None, 1000).items if item.key.partition.startswith("keys/"))

    def forget(self) -> None:
        """As if nobody had ever asked for a key."""
        for item in self.beside.walk(None, 1000).items:
            if item.key.partition.startswith("keys/"):
                self.beside.write(Delete(item.key))


@pytest.fixture
def house(emulator: Emulator) -> Iterator[House]:
    with house_on(emulator) as made:
        yield made


@contextmanager
def house_on(emulator: Emulator) -> Iterator[House]:
    """The next period begins in less than two days, and in more than one."""
    credentials = (emulator.access_key, emulator.secret_key)
    faults: list[Fault] = []
    next_period = (int(datetime.now(UTC).timestamp()) // PERIOD + 1) * PERIOD
    clock = FrozenClock(datetime.fromtimestamp(next_period - 2 * PUBLISHED_BEFORE + 60, UTC))
    with ExitStack() as stack:
        name = stack.enter_context(emulator.table())
        signing, wrapping = emulator.keys()
        at_table, at_kms = (stack.enter_context(serving(JsonFront(emulator.url, faults, of))) for of in (DYNAMODB, KMS))

        faulty, beside = (
            DynamoTable(name, region=emulator.region, endpoint=url, credentials=credentials, repeats=0)
            for url in (at_table, emulator.url)
        )

        def instance() -> Surface:
            faults.clear()
            service = JsonService(
                "kms",
                "TrentService",
                "1.1",
                region=emulator.region,
                endpoint=at_kms,
                credentials=Credentials(*credentials),
                repeats=0,
            )
            return Surface(table=faulty, clock=clock, signer=KmsSigner(signing, wrapping, service))

        made = House(faults, clock, instance, beside)
        assert log_in(made.instance()) == 200  # later logins make the same calls
        yield made


# ---------------------------------------------------------------------------------------------------------------- what is done


def log_in(surface: Surface) -> int:
    authorization = f"Basic {base64.b64encode(f'admin:{PASSWORD}'.encode()).decode()}"
    return surface.send("GET", f"/auth/token?service={SERVICE}", authorization=authorization).status


def publish(surface: Surface) -> int:
    return surface.send("GET", "/.well-known/jwks.json").status


def certify(surface: Surface) -> int:
    return surface.send("GET", "/ca").status


def rotate(surface: Surface) -> int:
    """The work of the job, whose runner tells of a failure, and tries again."""
    try:
        rotate_keys(KeyRing(surface.table, surface.signer, surface.clock), Run())
    except (*AWS_FAILED, Busy, Conflict):
        return 500
    return 200


def new(house: House) -> None:
    house.forget()


def known(house: House) -> None:
    """An instance starts where others have long made the key."""
    house.forget()
    assert log_in(house.instance()) == 200


FLOWS: dict[str, tuple[Callable[[House], None], Callable[[Surface], int], int]] = {
    "the first login": (new, log_in, 1),
    "the first login of an instance": (known, log_in, 1),
    "the first key set": (new, publish, 1),
    "the first certificate": (new, certify, 0),
    "rotate": (known, rotate, 2),
    "rotate before anybody logged in": (new, rotate, 2),
}
"""What there is, what is done, and how many keys of periods there are then."""


@pytest.mark.parametrize("name", FLOWS)
def test_any_call_fails(house: House, name: str) -> None:
    prepare, act, number = FLOWS[name]
    prepare(house)
    operations = counted(house, act)
    assert OF_KMS.intersection(operations), operations
    for nth, operation in enumerate(operations, 1):
        for turn, kind in enumerate(kinds(nth, operation)):
            prepare(house)
            surface, fault = house.instance(), Fault(kind, nth=nth, times=1 + (nth + turn) % 2)
            house.faults.append(fault)
            assert_served_in_the_end(surface, act, fault)
            house.faults.clear()
            assert len(house.keys()) == 1 + number, "the root's certificate, and a key of each period"
            assert_same_keys(surface, house.instance())


def kinds(nth: int, operation: str) -> Sequence[Kind]:
    """Every other one of KMS, others of the next call; of DynamoDB, whose are tried with all other flows, one."""
    if operation in OF_KMS:
        return OF_ALL[nth % 2 :: 2]
    return (OF_ALL[nth % len(OF_ALL)], *((Kind.CONFLICT,) if operation in WRITES else ()))


def counted(house: House, act: Callable[[Surface], int]) -> Sequence[str]:
    """The calls that are made when nothing fails."""
    surface = house.instance()
    house.faults.append(counting := Fault(Kind.FAILED, nth=NEVER))
    assert act(surface) == 200
    return counting.met


def assert_served_in_the_end(surface: Surface, act: Callable[[Surface], int], fault: Fault) -> None:
    told = [act(surface)]
    while told[-1] != 200:
        assert told[-1] in REFUSED, (fault, told)
        assert len(told) <= fault.times, (fault, told)
        told.append(act(surface))
    assert fault.hits, fault


def assert_same_keys(one: Surface, other: Surface) -> None:
    token = one.token()
    assert other.send("GET", "/v2/", authorization=f"Bearer {token}").status == 200
    for path in ("/ca", "/.well-known/jwks.json"):
        assert one.send("GET", path).body == other.send("GET", path).body
