"""Pass a registry's requests on, and bring large layers to its storage by many small requests.

    slipway relay --upstream https://registry.example.org
    docker push 127.0.0.1:5000/team/app

Every option may be given by the environment instead: SLIPWAY_RELAY_UPSTREAM, SLIPWAY_RELAY_HOST, SLIPWAY_RELAY_PORT,
SLIPWAY_RELAY_CONCURRENCY, SLIPWAY_RELAY_PARTS. The attestation key of a deployed relay is given by SLIPWAY_RELAY_KEY alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

NAME = "relay"
HELP = "bring large layers to a registry that takes small requests only"

_PREFIX = "SLIPWAY_RELAY_"
_OPTIONS = {
    "upstream": "the registry's address, https://registry.example.org",
    "host": "the address to listen on (127.0.0.1)",
    "port": "the port to listen on (5000)",
    "concurrency": "parts of one upload on their way to the storage at most (3)",
    "parts": "parts of 8 MiB in memory over all uploads at most (7)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The settings, as text: they are read with those of the environment."""
    for name, told in _OPTIONS.items():
        parser.add_argument(f"--{name}", help=told)


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Serve until a signal."""
    from infra.local.settings import CannotStart
    from infra.relay.server import serve
    from infra.relay.settings import read_settings

    given = {_PREFIX + name.upper(): value for name in _OPTIONS if (value := getattr(options, name)) is not None}
    try:
        serve(read_settings({**environ, **given}))
    except CannotStart as error:
        print(f"slipway: {error}", file=sys.stderr, flush=True)  # noqa: T201
        return 1
    return 0
