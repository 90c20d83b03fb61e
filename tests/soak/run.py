"""Sixteen clients, collectors without pause, and kills, on one machine and then on an emulated AWS.

    python -m tests.soak.run [--minutes 10] [--seed 1] [--place machine] [--place cloud]

It ends with an error if anything that was acknowledged is lost or comes back, if a pull brings other bytes, or if in the end
table and store do not agree to the last object. What each client asked lies in .cache/soak then.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conformance.registry_process import CACHE
from tests.endurance.server import working_folder
from tests.soak.actor import Actor
from tests.soak.places import Place, cloud, machine

CLIENTS = 16
COLLECTOR_KILLED = 0.3
"""How many of the kills are of collectors."""
KEPT = CACHE / "soak"
PLACES: dict[str, Callable[[Path, int], AbstractContextManager[Place]]] = {"machine": machine, "cloud": cloud}


@dataclass
class Soak:
    """One soak of one place."""

    place: Place
    seed: int
    actors: Sequence[Actor]
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self, seconds: float) -> None:
        """Clients, collectors and kills for so long, then the end; what is wrong goes to ``wrong``."""
        self.place.prepare()
        for collector in self.place.collectors:
            collector.start()
        killer = threading.Thread(target=self._guarded, args=(self._kill,))
        end = threading.Timer(seconds, self._over.set)
        try:
            killer.start()
            end.start()
            self._together(lambda actor: actor.work(self._over.wait, self.place.rest))
        finally:
            end.cancel()
            self._over.set()
            killer.join()
            for collector in self.place.collectors:
                collector.kill()
        self.counts["kills of servers"] = self.place.slots.kills
        for check in (self._check, self._end):
            if not self.wrong:
                check()
        self._sum_up()

    def _kill(self) -> None:
        """Kill one process after the other, and start it again."""
        chance, slots, collectors = random.Random(self.seed), self.place.slots, self.place.collectors
        while not self._over.wait(chance.uniform(*self.place.pauses)):
            if chance.random() > COLLECTOR_KILLED:
                number = chance.randrange(len(slots))
                slots.kill(number)
                slots.start(number)
                continue
            collector = chance.choice(collectors)
            assert not collector.has_ended(), f"a collector ended: {collector.log.read_text(errors='replace')[-3000:]}"
            collector.kill()
            collector.start()
            self.counts["kills of collectors"] += 1

    def _check(self) -> None:
        """While everything runs on, but for collection."""
        self._together(lambda actor: actor.check_all())

    def _end(self) -> None:
        """With all garbage gone, table and store agree, and everything is to be had as before."""
        for number in range(len(self.place.slots)):
            self.place.slots.kill(number)
        audit: dict[str, Any] = {}
        self._guarded(lambda: audit.update(self.place.audit()))
        if self.wrong:
            return
        self.wrong += audit["wrong"]
        self.counts.update({f"at the end gone, {what}": number for what, number in audit["collected"].items()})
        self.counts.update({f"at the end there, {what}": number for what, number in audit["found"].items()})
        for what in ("manifest", "tag"):
            stand, found = sum(actor.standing(what) for actor in self.actors), audit["found"].get(f"{what}s", 0)
            if stand != found:
                self.wrong.append(f"{found} {what}s are there, and {stand} stand")
        for number in range(len(self.place.slots)):
            self.place.slots.start(number)
        self._check()

    def _together(self, work: Callable[[Actor], None]) -> None:
        with ThreadPoolExecutor(len(self.actors)) as pool:
            for actor in self.actors:
                pool.submit(self._guarded, work, actor)

    def _guarded(self, work: Callable[..., object], *arguments: object) -> None:
        """Whatever fails ends the soak."""
        try:
            work(*arguments)
        except Exception:  # noqa: BLE001  # told with all the others
            who = ", ".join(f"client {each.number}" for each in arguments if isinstance(each, Actor))
            self.wrong.append(f"{time.time():.3f} {who}\n{traceback.format_exc()}")
            self._over.set()

    def _sum_up(self) -> None:
        for actor in self.actors:
            self.counts.update(actor.counts)
        for collector in self.place.collectors:
            for line in collector.log.read_text(errors="replace").splitlines():
                what, _, number = line.partition(" ")
                if number.isdigit():
                    self.counts["collector's runs" if what == "runs" else f"collected, {what}"] += int(number)
        self.wrong += [f"in the log: {line}" for line in self.place.complaints()]


def soak(name: str, seconds: float, seed: int) -> bool:
    """Whether all was well; told on the way."""
    begun = time.monotonic()
    with working_folder() as folder, PLACES[name](folder, seed) as place, _actors(place, folder, seed) as actors:
        done = Soak(place, seed, actors)
        try:
            done.run(seconds)
        finally:
            _keep(folder, name)
    print(f"\n{place.name}, {seconds:.0f} s of {time.monotonic() - begun:.0f} s, seed {seed}", flush=True)
    for what, number in sorted(done.counts.items()):
        print(f"  {what:<32}{number:>8}")
    for told in done.wrong:
        print(f"WRONG: {told}", flush=True)
    return not done.wrong


@contextmanager
def _actors(place: Place, folder: Path, seed: int) -> Iterator[Sequence[Actor]]:
    with ExitStack() as stack:
        journals = [stack.enter_context((folder / f"client-{number}.log").open("w", buffering=1)) for number in range(CLIENTS)]
        yield [Actor(number, seed, place.slots, journal) for number, journal in enumerate(journals)]


def _keep(folder: Path, name: str) -> None:
    """The logs and journals, for whoever looks for a cause."""
    kept = KEPT / name
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for log in folder.iterdir():
        if log.is_file():
            shutil.copyfile(log, kept / log.name)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.run", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="in all, without the start and the end of each place")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--place", action="append", choices=sorted(PLACES), help="one of them alone")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that who is terminated leaves no process behind
    places = options.place or list(PLACES)
    well = [soak(name, 60 * options.minutes / len(places), options.seed) for name in places]
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
