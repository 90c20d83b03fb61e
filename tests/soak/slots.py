"""Processes that serve and are killed: who may ask which of them, and whether a connection that broke was a kill's doing."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from tests.conformance.registry_process import REPOSITORY_ROOT
from tests.endurance.server import Address

SECONDS = 60.0


class Slot(Protocol):
    """One process after the other in one place."""

    def start(self) -> Address:
        """Returns when it serves; where."""

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""


class Seat(NamedTuple):
    """A process as it was when somebody began to ask it."""

    slot: int
    life: int
    address: Address


@dataclass
class _State:
    address: Address | None = None
    life: int = 0


class Slots:
    """The processes that serve. Threads share it."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = slots
        self._states = [_State() for _ in slots]
        self._changed = threading.Condition()
        self.kills = 0

    def __len__(self) -> int:
        return len(self._slots)

    def take(self, chance: random.Random) -> Seat:
        """One that serves; waits for one if there is none."""
        with self._changed:
            while not (serving := [(number, state) for number, state in enumerate(self._states) if state.address]):
                if not self._changed.wait(SECONDS):
                    raise AssertionError(f"nothing has served for {SECONDS:.0f} s")
            number, state = chance.choice(serving)
            assert state.address is not None
            return Seat(number, state.life, state.address)

    def was_killed(self, seat: Seat) -> bool:
        """Has anybody killed it since?"""
        with self._changed:
            return self._states[seat.slot].life != seat.life

    def start(self, number: int) -> None:
        """It must not run."""
        address = self._slots[number].start()
        with self._changed:
            self._states[number].address = address
            self._changed.notify_all()

    def kill(self, number: int) -> None:
        """It must run."""
        with self._changed:
            state = self._states[number]
            state.address, state.life = None, state.life + 1
        self._slots[number].kill()
        self.kills += 1

    @contextmanager
    def all(self) -> Iterator[Slots]:
        """All of them serving within the block, and none after it."""
        try:
            for number in range(len(self._slots)):
                self.start(number)
            yield self
        finally:
            for slot in self._slots:
                slot.kill()


class Child:
    """A module of ours as a process, started again and again; what it says goes to the end of a file."""

    def __init__(self, module: str, environment: Mapping[str, str], log: Path, chance: random.Random) -> None:
        self._module = module
        self._environment = environment
        self.log = log
        self._chance = chance
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """With another seed each time."""
        with self.log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, str(self._chance.random())], cwd=REPOSITORY_ROOT, env=self._environment,
                stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
            )  # fmt: skip

    def kill(self) -> None:
        """It is no error if it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(SECONDS)

    def has_ended(self) -> bool:
        """Has it, and nobody killed it?"""
        return self._process is not None and self._process.poll() is not None


class Worker:
    """A ``Slot``: the program as Lambda would run it."""

    def __init__(self, environment: Mapping[str, str], log: Path, password: str) -> None:
        self._environment = environment
        self._log = log
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Address:
        with self._log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.worker"], cwd=REPOSITORY_ROOT, env=self._environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=sink,
            )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"a worker did not start: {self._log.read_text(errors='replace')[-2000:]}"
        return Address("127.0.0.1", int(line), "admin", self._password)

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate(timeout=SECONDS)
