"""``make deploy`` and ``make destroy``: a stage of Slipway in an AWS account, with whatever credentials the SDK finds.

    python -m infra.deploy deploy --stage dev --package build/dev --parameter SparseManifests=all
    python -m infra.deploy destroy --stage dev --confirm dev --drop-data yes

AWS_ENDPOINT_URL sends everything to an emulator. Both commands can be repeated: what is done already is left as it is.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from infra.deploy.account import Account, CannotDeploy
from infra.deploy.deployment import deploy
from infra.deploy.destroy import destroy
from infra.rotation.store import StoreBusy


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m infra.deploy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    deploying = commands.add_parser("deploy")
    deploying.add_argument("--stage", required=True)
    deploying.add_argument("--package", type=Path, required=True, help="the folder that make package wrote")
    deploying.add_argument("--architecture", required=True)
    deploying.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE", help="of the template")
    destroying = commands.add_parser("destroy")
    destroying.add_argument("--stage", required=True)
    destroying.add_argument("--confirm", default="", help="the stage once more")
    destroying.add_argument("--drop-data", default="", help="yes: remove every image")
    options = parser.parse_args(arguments)
    if wrong := [each for each in getattr(options, "parameter", ()) if "=" not in each]:
        parser.error(f"a parameter is NAME=VALUE, not {wrong[0]!r}")
    return options


def main(arguments: Sequence[str]) -> int:
    options = _parsed(arguments)
    try:
        account = Account(options.stage, os.environ.get("AWS_ENDPOINT_URL", ""))
        if options.command == "destroy":
            destroy(account, options.confirm, options.drop_data)
            print(f"{account.stack} is gone; its KMS keys follow when their days of grace are over")
            return 0
        parameters = dict(each.split("=", 1) for each in options.parameter)
        made = deploy(account, options.package, parameters, options.architecture)
    except (CannotDeploy, StoreBusy, BotoCoreError, ClientError) as error:
        print(f"{options.command} failed: {error}", file=sys.stderr)
        return 1
    if made.distribution_domain and urlsplit(made.url).hostname != made.distribution_domain:
        print(f"the edge is {made.distribution_domain}: let the DNS name of {made.url} point there (CNAME or alias)")
    print(f"{made.url} serves; user admin, first password in the secret {made.admin_secret}:")
    print(f"  aws secretsmanager get-secret-value --query SecretString --output text --secret-id {made.admin_secret}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
