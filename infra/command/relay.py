"""``slipway relay``: every option may be given by the environment instead, SLIPWAY_RELAY_UPSTREAM and so on."""

from __future__ import annotations

import click

from infra.command.failures import Failure
from infra.command.options import Surroundings

_PREFIX = "SLIPWAY_RELAY_"


@click.command
@click.option("--upstream", help="The registry's address, https://registry.example.org.")
@click.option("--host", help="The address to listen on (127.0.0.1).")
@click.option("--port", help="The port to listen on (5000).")
@click.option("--concurrency", help="Parts of one upload on their way to the storage at most (3).")
@click.option("--parts", help="Parts of 8 MiB in memory over all uploads at most (7).")
@click.pass_obj
def relay(surroundings: Surroundings, /, **options: str | None) -> None:
    """Pass a registry's requests on, and bring large layers to its storage by many small requests.

    \b
        slipway relay --upstream https://registry.example.org
        docker push 127.0.0.1:5000/team/app

    Every option may be given by the environment instead: SLIPWAY_RELAY_UPSTREAM, SLIPWAY_RELAY_HOST, SLIPWAY_RELAY_PORT,
    SLIPWAY_RELAY_CONCURRENCY, SLIPWAY_RELAY_PARTS. The attestation key of a deployed relay is given by SLIPWAY_RELAY_KEY alone.
    """
    from infra.local.settings import CannotStart
    from infra.relay.server import serve
    from infra.relay.settings import read_settings

    given = {_PREFIX + name.upper(): value for name, value in options.items() if value is not None}
    try:
        serve(read_settings({**surroundings.environ, **given}))
    except CannotStart as error:
        raise Failure(str(error)) from error
