"""Runs the whole bench: transfers, requests per second, cold starts, the emulated AWS, collection, and the relay; prints the
table and writes results/bench.json.

    python -m tests.bench.run [--seconds 2] [--rounds 3] [--transfers 7] [--processes 11] [--cloud-rounds 5]
                               [--gigabytes 2] [--relay-rounds 3]

It ends with an error if a request fails or a tool is missing, or if collecting garbage costs more calls in a large registry;
never for being slow.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import SubprocessError

from infra.deploy.account import CannotDeploy
from tests.bench import access, cloud, collection
from tests.bench.cold_start import cold_starts
from tests.bench.connections import LoadFailed
from tests.bench.machine import facts
from tests.bench.rates import CONNECTIONS, Effort, Question, Rate, questions, rates
from tests.bench.registries import RequestFailed, started_both
from tests.bench.report import Results, table, written
from tests.bench.tools import ToolMissing, Tools, found_tools
from tests.bench.transfers import pushed, transferred
from tests.clients.images import DEBIAN_SUITE, SourceImage, debian_image
from tests.conformance.registry_process import CACHE, REPOSITORY_ROOT, RegistryDidNotStart
from tests.relay.throughput import in_blocks, rounds

RESULTS = REPOSITORY_ROOT / "results" / "bench.json"
IMAGES = CACHE / "clients"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 1 when something could not be measured, or a collection's cost grows with the registry."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that who is terminated leaves no server behind
    try:
        tools = found_tools(IMAGES / f"debian-{DEBIAN_SUITE}")
        results = _measured(tools, debian_image(IMAGES), options)
    except (ToolMissing, RegistryDidNotStart, RequestFailed, LoadFailed, CannotDeploy, OSError, SubprocessError) as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    print(f"\n{table(results)}")
    written(results, options.output)
    return 0 if collection.ratio(results.collection) <= collection.MOST else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.run", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2, help="of load for each figure of each round")
    parser.add_argument("--rounds", type=int, default=3, help="of load")
    parser.add_argument("--transfers", type=int, default=7, help="rounds of push and pull")
    cloud.add_options(parser)
    collection.add_options(parser)
    parser.add_argument("--gigabytes", type=float, default=2, help="through the relay, in each round")
    parser.add_argument("--relay-rounds", type=int, default=3, help="of the relay and the SDK, in turns")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the JSON goes")
    return parser.parse_args(arguments)


def _measured(tools: Tools, image: SourceImage, options: argparse.Namespace) -> Results:
    known = facts(tools)  # before there is any load of ours
    with started_both(tools) as registries:
        slipway, _ = registries
        _say("push and pull")
        transfers = transferred(tools.crane, image, registries, options.transfers)
        repository = slipway.repository("asked")
        for registry in registries:
            pushed(tools.crane, image, registry, repository)
        measured: list[tuple[Question, int, Mapping[str, Rate]]] = []
        for asked in questions(image, repository, image.tag, [registry.name for registry in registries]):
            for connections in CONNECTIONS:
                _say(f"{asked.name}, {connections} connections")
                found = rates(tools.wrk, asked, repository, registries, Effort(connections, options.seconds, options.rounds))
                measured.append((asked, connections, found))
        _say("cold starts")
        starts = cold_starts(slipway, image, repository, image.tag, options.processes)
    _say("on the emulated AWS")
    on_aws = cloud.measured(tools, options.layers, options.layer_bytes, options.cloud_rounds, options.processes)
    _say("tokens in a large registry")
    large = access.Size()
    asked_of_table = access.measured(large)
    _say("collection in a large registry")
    collected = collection.measured(options.garbage, options.small, options.large)
    _say("through the relay")
    relayed = list(rounds(in_blocks(options.gigabytes), chunked=True, many=options.relay_rounds))
    size = sum(image.blob(digest).stat().st_size for digest in image.digests())
    return Results(known, size, transfers, measured, starts, on_aws, relayed, large, asked_of_table, collected)


def _say(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
