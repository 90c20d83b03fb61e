"""`kill -9` at any moment loses nothing that was acknowledged, and brings nothing back that was deleted."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.endurance.chance import SEED, seeded
from tests.endurance.client import CONFIG, LOST, Client, image
from tests.endurance.content import Content, digest_of
from tests.endurance.pusher import Pusher
from tests.endurance.server import Server, running_server

RUNNING_KILLS = 44
STARTING_KILLS = 6
"""Kills of a server that is only just starting again."""
FIRST_START_KILLS = 10
PUSHERS = 4
LONGEST_RUN = 1.2
"""Seconds between an answering server and its end, at the most."""
LONGEST_START = 0.7
"""Seconds: about what a start takes, so that half of the kills come before its end."""

Work: TypeAlias = Callable[[], None]


class Killer:
    """Kills a server at moments that ``chance`` chooses."""

    def __init__(self, server: Server, chance: random.Random) -> None:
        self._server = server
        self._chance = chance
        self._failed = threading.Event()
        self._killing = threading.Event()
        self.kills = 0

    def kill_within(self, seconds: float) -> None:
        """Kill after a random part of that time, or at once when work has failed."""
        self._failed.wait(self._chance.uniform(0, seconds))
        self._killing.set()
        self._server.kill()
        self.kills += 1

    def kill_during(self, work: Sequence[Work]) -> None:
        """Kill while all of ``work`` is done at once; each must go on until it loses its connection, and by the kill only."""
        self._killing.clear()
        with ThreadPoolExecutor(len(work)) as pool:
            running = [pool.submit(self._until_lost, each) for each in work]
            self.kill_within(LONGEST_RUN)
        for each in running:
            each.result()

    def _until_lost(self, work: Work) -> None:
        try:
            work()
        except LOST as error:
            if not self._killing.is_set():
                self._failed.set()
                raise AssertionError("the connection broke, and nobody killed the server") from error
        except BaseException:
            self._failed.set()
            raise


def test_fifty_kills_lose_nothing_acknowledged(folder: Path) -> None:
    chance, begun = seeded(), time.monotonic()
    early = set(chance.sample(range(RUNNING_KILLS), STARTING_KILLS))
    with running_server(folder) as server:
        killer = Killer(server, chance)
        pushers = [Pusher(SEED * 100 + number, f"admin/kill-{number}") for number in range(PUSHERS)]
        clients = [Client(server.address) for _ in pushers]
        both = list(zip(pushers, clients, strict=True))
        for turn in range(RUNNING_KILLS):
            killer.kill_during([partial(pusher.work, client) for pusher, client in both])
            if turn in early:
                server.begin()
                killer.kill_within(LONGEST_START)
            server.start()
            _at_once([partial(pusher.check_fresh, client) for pusher, client in both])
        _at_once([partial(pusher.check_all, client) for pusher, client in both])
        _report(killer, pushers, time.monotonic() - begun)
        _at_once([partial(pusher.delete_everything, client) for pusher, client in both])
        for client in clients:
            client.close()
        assert not server.complaints(), server.log()


@pytest.mark.parametrize("password", ["", "a password of one's own"], ids=["generated", "given"])
def test_a_killed_first_start_is_taken_up_by_the_next(folder: Path, password: str) -> None:
    """Keys, tables and the first account come into being within a second: a kill in between must not lock anybody out."""
    chance = seeded()
    content = Content(seed=7, size=1_000)
    manifest = image([(content.digest(), content.size)])
    with running_server(folder, password) as server:
        for _ in range(FIRST_START_KILLS):
            server.stop()
            shutil.rmtree(server.data)
            server.begin()
            Killer(server, chance).kill_within(LONGEST_START)
            server.start()
            with Client(server.address) as client:
                for blob in (content.whole(), CONFIG):
                    client.request("POST", "admin/first", f"blobs/uploads/?digest={digest_of(blob)}", blob).expect(201)
                client.push_manifest("admin/first", "latest", manifest).expect(201)
                client.check_image("admin/first", "latest", manifest)
        assert not server.complaints(), server.log()


def _at_once(work: Sequence[Work]) -> None:
    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(each) for each in work]:
            done.result()


def _report(killer: Killer, pushers: Sequence[Pusher], seconds: float) -> None:
    ledgers = [pusher.ledger for pusher in pushers]
    standing = {kind: sum(len(ledger.standing(kind)) for ledger in ledgers) for kind in ("manifest", "tag", "blob")}
    resumed = sum(pusher.resumed for pusher in pushers)
    images, blobs = sum(pusher.pulled_images for pusher in pushers), sum(pusher.pulled_blobs for pusher in pushers)
    print(
        f"\n{killer.kills} kills in {seconds:.0f} s; {sum(ledger.acknowledged for ledger in ledgers)} writes acknowledged; "
        f"at the end {standing['manifest']} manifests, {standing['tag']} tags and {standing['blob']} blobs stand; "
        f"{images} images pulled whole, {blobs} blobs besides; {resumed} uploads taken up after a kill"
    )
    assert killer.kills == RUNNING_KILLS + STARTING_KILLS
    assert standing["manifest"] > RUNNING_KILLS, "too little was pushed to mean anything"
    assert resumed > 0
