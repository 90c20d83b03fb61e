"""``make package``: writes the zip and the CloudFormation template that are deployed.

    python -m infra.package --stage dev --architecture arm64 --out build

``slipway-<digest>.zip`` is named by its content, ``template.json`` names the zip. Nothing is built twice: the same checkout
and pins give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.bundle import ARCHITECTURES, ROOT, bundle
from infra.stack import template
from infra.stack.declared import Declared, StageUnknown, declared

STAND_IN = {
    "SLIPWAY_PUBLIC_URL": "https://registry.invalid",
    "SLIPWAY_TABLE": "packaging",
    "SLIPWAY_BUCKET": "packaging",
    "SLIPWAY_SIGNING_KEY": "packaging",
    "SLIPWAY_WRAPPING_KEY": "packaging",
    "AWS_DEFAULT_REGION": "us-east-1",
}
"""Settings under which app.py can be imported, to see what it declares; nothing of them is packaged."""


@dataclass(frozen=True, slots=True)
class Package:
    """What ``package`` wrote."""

    zip: Path
    template: Path
    architecture: str


def package(stage: str, architecture: str, out: Path) -> Package:
    """Write both into ``out``, made if need be. Raises StageUnknown, ValueError."""
    found = declarations(stage)
    content = bundle(architecture)
    out.mkdir(parents=True, exist_ok=True)
    written = out / f"slipway-{hashlib.sha256(content).hexdigest()[:32]}.zip"
    for earlier in out.glob("slipway-*.zip"):
        earlier.unlink()
    written.write_bytes(content)
    text = json.dumps({**template(found, written.name)}, indent=1)
    (out / "template.json").write_text(text + "\n")
    return Package(written, out / "template.json", architecture)


def declarations(stage: str) -> Declared:
    """What app.py declares. The environment is set for as long as its import takes: it is read at import, and once."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith("SLIPWAY_")]:
        del os.environ[name]
    os.environ.update(STAND_IN)
    try:
        from app import app
    finally:
        os.environ.clear()
        os.environ.update(before)
    return declared(app, ROOT, stage)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", required=True, help="a stage of .chalice/config.json")
    parser.add_argument("--architecture", default="arm64", choices=sorted(ARCHITECTURES))
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")
    options = parser.parse_args(arguments)
    try:
        made = package(options.stage, options.architecture, options.out)
    except (StageUnknown, ValueError) as error:
        print(f"not packaged: {error}", file=sys.stderr)
        return 1
    print(f"{made.zip} ({made.zip.stat().st_size:,} bytes, {options.architecture})\n{made.template}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
