"""The figures as one table for people, and as JSON for whoever compares runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median

from tests.bench import access, collection
from tests.bench.cloud import CloudResults
from tests.bench.cold_start import NAIVE, Start
from tests.bench.rates import Question, Rate
from tests.bench.registries import DOCKER_REGISTRY, SLIPWAY
from tests.bench.transfers import Rounds, Transfer
from tests.relay.throughput import GIGABYTE, Round

_NOTES = """\
Ratio: Slipway against docker-registry, or against naive imports; in every row less than 1 means that Slipway does better.
Slipway asks for a token (crane fetches one with a password for each push and pull); docker-registry has NO authentication.
Server CPU is user and system time of the server with all its children; of a push or pull the mean of the rounds, else medians.
blob: Slipway answers GET by 307 to a signed link; docker-registry would send the content, so it is asked by HEAD instead.
Generator: the part of one processor that the load generator used. GET of manifests is by wrk, which cannot do HEAD; the rest
by tests/bench/connections.py."""

_CLOUD_NOTES = """\
Registry CPU: of Slipway the processes of its functions, of docker-registry the server's. Emulator CPU: for docker-registry it
is S3 alone, for Slipway also API Gateway, Lambda and DynamoDB. Wall time holds both, and for Slipway a forwarder as well.
The packaged zip runs in an interpreter with the standard library and nothing else, against the emulated DynamoDB."""


_RELAY_NOTES = """\
Relay: a chunked PATCH through it, boto3's upload_fileobj beside it, both to one sink over TLS that keeps nothing. The ratio is
of throughput, so here more than 0.8 is asked for. CPU is the relay's and the SDK's own, without the sink and the client."""


@dataclass(frozen=True, slots=True)
class Results:
    """Everything measured; ``rates`` holds a question, a number of connections, and the rates by registry."""

    facts: Mapping[str, str]
    image_bytes: int
    transfers: Mapping[str, Rounds]
    rates: list[tuple[Question, int, Mapping[str, Rate]]]
    starts: Mapping[str, Start]
    cloud: CloudResults
    relay: list[Round]
    registry_size: access.Size
    questions: Sequence[access.Cost]
    collection: Sequence[collection.Cost]


def written(results: Results, target: Path) -> None:
    """Writes the JSON: plain units, seconds and requests per second."""
    document = {
        "machine": dict(results.facts),
        "authentication": {SLIPWAY: "token", DOCKER_REGISTRY: "none"},
        "image_bytes": results.image_bytes,
        "transfers": {name: asdict(rounds) for name, rounds in results.transfers.items()},
        "requests": [
            {
                "question": asked.name,
                "methods": asked.methods,
                "connections": connections,
                "generator": asked.generator,
                "rates": {name: asdict(rate) for name, rate in measured.items()},
            }
            for asked, connections, measured in results.rates
        ],
        "cold_start": {kind: asdict(start) for kind, start in results.starts.items()},
        "cloud": asdict(results.cloud),
        "relay": [asdict(each) for each in results.relay],
        "access": {"size": asdict(results.registry_size), "costs": [asdict(each) for each in results.questions]},
        "collection": [asdict(each) for each in results.collection],
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document, indent=2) + "\n")


def table(results: Results) -> str:
    """Everything, readable in a terminal."""
    facts = "\n".join(f"{name + ':':<18}{value}" for name, value in results.facts.items())
    parts = [
        facts,
        "\n".join(_transfers(results)),
        "\n".join(_rates(results)),
        "\n".join(_started("cold start, fresh process", results.starts)),
        _NOTES,
    ]
    large = access.report(results.questions, results.registry_size)
    collected = collection.report(results.collection)
    return "\n\n".join([*parts, cloud_table(results.cloud), large, collected, "\n".join(_relayed(results.relay)), _RELAY_NOTES])


def cloud_table(results: CloudResults) -> str:
    """What was measured on the emulated AWS."""
    starts = _started("cold start, packaged zip", results.starts)
    return "\n\n".join(("\n".join(_cloud_transfers(results)), "\n".join(starts), _CLOUD_NOTES))


def _cloud_transfers(results: CloudResults) -> Iterator[str]:
    ours, theirs = results.transfers[SLIPWAY], results.transfers[DOCKER_REGISTRY]
    title = f"{results.layers} layers of {results.layer_bytes / 1e6:.1f} MB, emulated S3"
    yield _line(title, "", SLIPWAY, DOCKER_REGISTRY, "ratio")
    for name, one, other in (("push", ours.pushes, theirs.pushes), ("pull", ours.pulls, theirs.pulls)):
        yield _compared(f"{name}, wall time", "ms", _wall(one), _wall(other))
        yield _compared(f"{name}, registry CPU", "ms", _cpu(one), _cpu(other))
        yield _compared(f"{name}, emulator CPU", "ms", _emulator(one), _emulator(other))


def _relayed(rounds: list[Round]) -> Iterator[str]:
    gigabytes = rounds[0].size / GIGABYTE
    yield f"relay: throughput against a plain SDK multipart upload, {gigabytes:.0f} GB, {len(rounds)} rounds"
    yield f"{'':<34}{'':>6}{'relay':>17}{'boto3':>17}{'ratio':>8}"
    ours, theirs = (median(getattr(each, name) for each in rounds) for name in ("relay_wall", "sdk_wall"))
    yield _line(
        "throughput", "MB/s", f"{1e3 * gigabytes / ours:.0f}", f"{1e3 * gigabytes / theirs:.0f}", f"{theirs / ours:.2f}"
    )
    ours, theirs = (fmean(getattr(each, name) for each in rounds) / gigabytes for name in ("relay_cpu", "sdk_cpu"))
    yield _compared("CPU of a gigabyte", "s", ours, theirs)
    yield _line("peak memory", "MB", f"{max(each.relay_memory for each in rounds) / 1e6:.0f}", "", "")


def _emulator(transfers: list[Transfer]) -> float:
    return 1e3 * fmean(each.emulator for each in transfers)


def _transfers(results: Results) -> Iterator[str]:
    rounds = len(results.transfers[SLIPWAY].pushes)
    yield _line(f"image of {results.image_bytes / 1e6:.0f} MB, {rounds} rounds", "", SLIPWAY, DOCKER_REGISTRY, "ratio")
    yield _line("authentication", "", "token", "none", "")
    ours, theirs = results.transfers[SLIPWAY], results.transfers[DOCKER_REGISTRY]
    for name, one, other in (("push", ours.pushes, theirs.pushes), ("pull", ours.pulls, theirs.pulls)):
        yield _compared(f"{name}, wall time", "ms", _wall(one), _wall(other))
        yield _compared(f"{name}, server CPU", "ms", _cpu(one), _cpu(other))


def _wall(transfers: list[Transfer]) -> float:
    return 1e3 * median(each.wall for each in transfers)


def _cpu(transfers: list[Transfer]) -> float:
    # The mean: the kernel counts CPU in hundredths of a second, which a median would never get beyond.
    return 1e3 * fmean(each.cpu for each in transfers)


def _rates(results: Results) -> Iterator[str]:
    columns = (("requests/s", 11), ("", 11), ("ratio", 8), ("CPU/request, µs", 17), ("p99, ms", 15), ("generator", 12))
    yield f"{'':<28}{'conns':>6}" + "".join(f"{name:>{width}}" for name, width in columns)
    yield (
        f"{'':<34}"
        + f"{'slipway':>11}{'docker':>11}{'':>8}{'ours':>9}{'theirs':>8}{'ours':>8}{'theirs':>7}{'ours':>6}{'theirs':>7}"
    )
    for asked, connections, measured in results.rates:
        ours, theirs = measured[SLIPWAY], measured[DOCKER_REGISTRY]
        yield (
            f"{asked.name:<28}{connections:>6}{ours.per_second:>11.0f}{theirs.per_second:>11.0f}"
            f"{theirs.per_second / ours.per_second:>8.2f}"
            f"{1e6 * ours.cpu_per_request:>9.0f}{1e6 * theirs.cpu_per_request:>8.0f}"
            f"{1e3 * ours.p99:>8.2f}{1e3 * theirs.p99:>7.1f}"
            f"{ours.generator_load:>6.0%}{theirs.generator_load:>7.0%}"
        )


def _started(title: str, starts: Mapping[str, Start]) -> Iterator[str]:
    ours, naive = starts[SLIPWAY], starts[NAIVE]
    yield _line(title, "", SLIPWAY, "naive imports", "ratio")
    yield _compared("import app", "ms", 1e3 * ours.imported, 1e3 * naive.imported)
    yield _compared("import + first manifest GET", "ms", 1e3 * ours.total, 1e3 * naive.total)
    yield f"import app loads: {', '.join(ours.loaded)}, and {len(ours.standard)} of the standard library"


def _compared(name: str, unit: str, ours: float, theirs: float) -> str:
    ratio = f"{ours / theirs:.2f}" if theirs else "-"
    return _line(name, unit, f"{ours:.1f}", f"{theirs:.1f}", ratio)


def _line(name: str, unit: str, ours: str, theirs: str, ratio: str) -> str:
    return f"{name:<34}{unit:>6}{ours:>17}{theirs:>17}{ratio:>8}"
