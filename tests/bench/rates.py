"""Requests per second: manifests by tag and by digest, and the answer to who wants a blob.

A blob is asked for as a pull asks for it: Slipway answers GET by 307 to a signed link, without a byte of content.
docker-registry would send the whole layer, so its HEAD stands beside it: the same look-ups, and no content either.
"""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.connections import Load, LoadFailed, Target, load
from tests.bench.registries import SLIPWAY, Registry
from tests.clients.images import SourceImage

CONNECTIONS = (1, 8, 32)
_REPORT = Path(__file__).with_name("report.lua")
_OWN, _WRK = "own", "wrk"


@dataclass(frozen=True, slots=True)
class Question:
    """One row of the table: what is asked, by method, of each registry, and by which generator."""

    name: str
    path: str
    methods: dict[str, str]
    statuses: dict[str, int]
    generator: str


@dataclass(frozen=True, slots=True)
class Effort:
    """How many keep-alive connections ask, for how many seconds (wrk: whole ones), and how often in turns."""

    connections: int
    seconds: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Rate:
    """Medians of the rounds: responses per second, seconds for half and for 99 in a hundred of them, processor seconds of
    the server per request, and the part of one processor that the generator used."""

    per_second: float
    p50: float
    p99: float
    cpu_per_request: float
    generator_load: float


def questions(image: SourceImage, repository: str, tag: str, names: Sequence[str]) -> Iterator[Question]:
    """The rows. HEAD is beyond wrk; see ``connections``."""
    manifests = f"/v2/{repository}/manifests"
    ok = dict.fromkeys(names, 200)
    for method, generator in (("GET", _WRK), ("HEAD", _OWN)):
        for kind, reference in (("tag", tag), ("digest", image.digest)):
            methods = dict.fromkeys(names, method)
            yield Question(f"{method} manifest by {kind}", f"{manifests}/{reference}", methods, ok, generator)
    layer = image.manifest()["layers"][0]["digest"]
    methods = {name: "GET" if name == SLIPWAY else "HEAD" for name in names}
    statuses = {name: 307 if name == SLIPWAY else 200 for name in names}
    yield Question("blob (GET 307 / HEAD)", f"/v2/{repository}/blobs/{layer}", methods, statuses, _OWN)


def rates(wrk: str, asked: Question, repository: str, registries: Sequence[Registry], effort: Effort) -> dict[str, Rate]:
    """The registries in turns. Raises LoadFailed, RequestFailed."""
    measured: dict[str, list[Rate]] = {registry.name: [] for registry in registries}
    for _ in range(effort.rounds):
        for registry in registries:
            measured[registry.name].append(_rate(wrk, asked, repository, registry, effort))
    return {name: _median(each) for name, each in measured.items()}


def _rate(wrk: str, asked: Question, repository: str, registry: Registry, effort: Effort) -> Rate:
    method, status = asked.methods[registry.name], asked.statuses[registry.name]
    target = Target(registry.host, method, asked.path, registry.headers(repository), status)
    # Once with everything looked at, which also warms up: wrk itself would count a redirect as good.
    registry.answer(method, asked.path, status, target.headers)
    cpu = registry.cpu_seconds()
    done = load(target, effort.connections, effort.seconds) if asked.generator == _OWN else _by_wrk(wrk, target, effort)
    if not done.requests:
        raise LoadFailed(f"{registry.name} answered nothing: {method} {asked.path}")
    return Rate(
        per_second=done.requests / done.seconds,
        p50=done.p50,
        p99=done.p99,
        cpu_per_request=(registry.cpu_seconds() - cpu) / done.requests,
        generator_load=done.generator_cpu / done.seconds,
    )


def _by_wrk(wrk: str, target: Target, effort: Effort) -> Load:
    headers = [word for name, value in target.headers.items() for word in ("-H", f"{name}: {value}")]
    words = [wrk, "-t1", f"-c{effort.connections}", f"-d{max(1, round(effort.seconds))}s", "-s", str(_REPORT), *headers]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run([*words, f"http://{target.host}{target.path}"], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode != 0:
        raise LoadFailed(f"wrk ended with {ended.returncode}\n{ended.stdout}{ended.stderr}")
    counted = json.loads(ended.stdout.splitlines()[-1])
    if counted["errors"]:
        raise LoadFailed(f"{counted['errors']} requests failed at {target.host}{target.path}\n{ended.stdout}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Load(counted["requests"], counted["seconds"], counted["p50"], counted["p99"], used)


def _median(rounds: Sequence[Rate]) -> Rate:
    return Rate(
        per_second=median(each.per_second for each in rounds),
        p50=median(each.p50 for each in rounds),
        p99=median(each.p99 for each in rounds),
        cpu_per_request=median(each.cpu_per_request for each in rounds),
        generator_load=median(each.generator_load for each in rounds),
    )
