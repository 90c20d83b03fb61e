"""``make package``: writes the zips and the CloudFormation template that are deployed.

    python -m infra.package --stage dev --architecture arm64 --out build

``slipway-<digest>.zip`` and ``rotation-<digest>.zip`` are named by their content, ``template.json`` names them. Nothing is
built twice: the same checkout and pins give the same bytes.
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

from infra.bundle import ARCHITECTURES, REGISTRY, ROOT, ROTATION, Kind, bundle
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
    rotation_zip: Path
    template: Path
    architecture: str


def package(stage: str, architecture: str, out: Path) -> Package:
    """Write both into ``out``, made if need be. Raises StageUnknown, ValueError."""
    found = declarations(stage)
    out.mkdir(parents=True, exist_ok=True)
    registry, rotation = _written(REGISTRY, architecture, out), _written(ROTATION, architecture, out)
    text = json.dumps({**template(found, registry.name, rotation.name)}, indent=1)
    (out / "template.json").write_text(text + "\n")
    return Package(registry, rotation, out / "template.json", architecture)


def _written(kind: Kind, architecture: str, out: Path) -> Path:
    content = bundle(architecture, kind)
    written = out / f"{kind.name}-{hashlib.sha256(content).hexdigest()[:32]}.zip"
    for earlier in out.glob(f"{kind.name}-*.zip"):
        earlier.unlink()
    written.write_bytes(content)
    return written


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
    for each in (made.zip, made.rotation_zip):
        print(f"{each} ({each.stat().st_size:,} bytes, {options.architecture})")
    print(made.template)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
