"""The registries on an emulated AWS: push and pull of an image of N layers, and the cold start of the zip that is deployed.

    python -m tests.bench.cloud [--layers 8] [--layer-bytes 500000] [--rounds 5] [--processes 11]

What the emulator costs is measured apart, since on AWS it is nobody's: of Slipway it also plays API Gateway and Lambda, of
docker-registry S3 alone.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import SubprocessError

from infra.deploy.account import CannotDeploy
from tests.bench.cold_start import Start, packaged_starts
from tests.bench.deployed import deployed, started_on_s3
from tests.bench.registries import Registry, RequestFailed
from tests.bench.tools import ToolMissing, Tools, found_tools
from tests.bench.transfers import Rounds, pushed, transferred
from tests.clients.images import (
    DEBIAN_SUITE,
    SourceImage,
    new_layout,
    opened,
    small_archive,
    stored_image,
    tag_layout,
)
from tests.conformance.registry_process import CACHE, RegistryDidNotStart


@dataclass(frozen=True, slots=True)
class CloudResults:
    """``layers`` of ``layer_bytes`` each; the transfers by registry; cold starts by kind."""

    layers: int
    layer_bytes: int
    transfers: Mapping[str, Rounds]
    starts: Mapping[str, Start]


def measured(tools: Tools, layers: int, layer_bytes: int, rounds: int, processes: int) -> CloudResults:
    """All of it in one emulator. Raises RequestFailed, RegistryDidNotStart, CannotDeploy."""
    with tempfile.TemporaryDirectory(prefix="slipway-cloud-") as name:
        folder = Path(name)
        image = layered_image(folder / "image", layers, layer_bytes)
        with deployed(folder) as cloud, started_on_s3(tools.docker_registry, folder / "docker", cloud.emulator) as docker:
            transfers = compared(tools.crane, image, cloud.registry, docker, rounds)
            repository = cloud.registry.repository("cold")
            pushed(tools.crane, image, cloud.registry, repository)
            starts = packaged_starts(cloud, image, repository, image.tag, processes)
    return CloudResults(layers, layer_bytes, transfers, starts)


def compared(crane: str, image: SourceImage, slipway: Registry, docker: Registry, rounds: int) -> dict[str, Rounds]:
    """Push and pull in turns; all that is asked of a registry is its address, an account, and whose processor time counts."""
    return transferred(crane, image, (slipway, docker), rounds)


def layered_image(final: Path, layers: int, layer_bytes: int) -> SourceImage:
    """An image of files that do not compress, each in a layer of its own; always the same."""
    numbers = random.Random(layers)
    archives = [small_archive(f"layer-{number}", numbers.randbytes(layer_bytes)) for number in range(layers)]
    with new_layout(final) as layout:
        tag_layout(layout, "bench", stored_image(layout, "amd64", archives))
    return opened(final)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 1 when something could not be measured."""
    from tests.bench.report import cloud_table

    parser = argparse.ArgumentParser(prog="python -m tests.bench.cloud", description=__doc__)
    add_options(parser)
    options = parser.parse_args(arguments)
    try:
        tools = found_tools(CACHE / "clients" / f"debian-{DEBIAN_SUITE}")
        results = measured(tools, options.layers, options.layer_bytes, options.cloud_rounds, options.processes)
    except (ToolMissing, RegistryDidNotStart, RequestFailed, CannotDeploy, OSError, SubprocessError) as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    print(f"\n{cloud_table(results)}")
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layers", type=int, default=8, help="of the image pushed to the emulated AWS")
    parser.add_argument("--layer-bytes", type=int, default=500_000, help="of each: what fits a function's request")
    parser.add_argument("--cloud-rounds", type=int, default=5, help="rounds of push and pull on the emulated AWS")
    parser.add_argument("--processes", type=int, default=11, help="cold starts of each kind")


if __name__ == "__main__":
    sys.exit(main())
