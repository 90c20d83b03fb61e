"""The house's rules, read from the imports: which room may know which, and what no room but one may touch.

``entry -> wire -> registry <- aws, local, crypto, outgoing``; only ``entry`` and the one-machine server call ``wiring``, only
``wiring`` imports adapters, and the domain stands on the standard library alone.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("entry", "wire", "registry", "aws", "local", "crypto", "outgoing")

ARROWS = {
    "app": {"entry", "wiring"},
    "entry": {"entry", "wire", "registry", "wiring"},
    "wire": {"wire", "registry"},
    "registry": {"registry"},
    "aws": {"aws", "registry"},
    "local": {"local", "registry"},
    "crypto": {"crypto", "registry"},
    "outgoing": {"outgoing", "registry"},
    "settings": {"registry"},
    "wiring": {"wiring", "settings", "registry", "wire", "aws", "local", "crypto", "outgoing"},
    "infra": {"infra", "wire", "registry", "wiring", "settings", "app", "local", "entry"},
}

LIBRARIES = {
    "app": set(),
    "entry": {"chalice"},
    "wire": {"msgspec"},
    "registry": set(),
    "aws": {"aws_xray_sdk", "boto3", "botocore", "pynamodb"},
    "local": {"cronsim", "cryptography"},
    "crypto": {"cryptography", "jwt"},
    "outgoing": set(),
    "settings": set(),
    "wiring": set(),
    "infra": {
        "aiohttp",
        "boto3",
        "botocore",
        "chalice",
        "click",
        "httptools",
        "quickjs",
        "urllib3",
        "uvicorn",
        "uvloop",
        "yarl",
    },
}


def room_of(module: str) -> str | None:
    """The room a module of ours lies in, None for a library's."""
    parts = module.split(".")
    if parts[0] == "chalicelib":
        return parts[1] if len(parts) > 1 else None
    return parts[0] if parts[0] in {"app", "infra", "tests"} else None


def sources() -> Iterator[Path]:
    yield ROOT / "app.py"
    yield from sorted((ROOT / "chalicelib").rglob("*.py"))
    yield from sorted((ROOT / "infra").rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, also inside functions and for types only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            yield module
            if module == "chalicelib":
                yield from (f"chalicelib.{alias.name}" for alias in node.names)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def wrong_arrows(room: str, imported: Iterator[str]) -> list[str]:
    wrong = []
    for module in imported:
        target = room_of(module)
        top = module.split(".")[0]
        if target is not None:
            if target not in ARROWS[room]:
                wrong.append(module)
        elif top not in sys.stdlib_module_names | {"_typeshed"} and top != "chalicelib" and top not in LIBRARIES[room]:
            wrong.append(module)
    return wrong


@pytest.mark.parametrize("path", [pytest.param(path, id=module_of(path)) for path in sources()])
def test_imports_point_the_right_way(path: Path) -> None:
    room = room_of(module_of(path))
    if room is None:
        assert not list(imports(path)), "the package itself holds no code"
    else:
        assert wrong_arrows(room, imports(path)) == []


UPKEEP = "chalicelib.registry.upkeep"


def of_upkeep(path: Path) -> list[str]:
    return [module for module in imports(path) if module.startswith(UPKEEP)]


def test_requests_know_nothing_of_upkeep() -> None:
    """What a schedule does is taken up where requests left it in the table; the other way there is no arrow."""
    for path in sorted((ROOT / "chalicelib" / "registry").glob("*.py")):
        assert of_upkeep(path) == [], module_of(path)
    for path in sorted((ROOT / "chalicelib" / "wire" / "distribution").glob("*.py")):
        assert of_upkeep(path) == [], module_of(path)
    assert of_upkeep(ROOT / "chalicelib" / "wire" / "management" / "jobs.py") != []


@pytest.mark.parametrize(
    ("room", "module"),
    [
        ("registry", "chalicelib.aws.s3_blobs"),
        ("registry", "boto3"),
        ("registry", "chalicelib.wire.http"),
        ("wire", "chalice"),
        ("wire", "chalicelib.entry.gateway"),
        ("entry", "chalicelib.local.sqlite_table"),
        ("local", "chalicelib.aws.s3_blobs"),
        ("infra", "pynamodb"),
        ("aws", "chalicelib.wiring"),
        ("crypto", "chalicelib.outgoing.public_https"),
        ("outgoing", "urllib3"),
    ],
)
def test_a_wrong_arrow_would_be_found(room: str, module: str) -> None:
    assert wrong_arrows(room, iter([module])) == [module]


def test_app_holds_no_logic() -> None:
    source = (ROOT / "app.py").read_text()
    assert len(source.splitlines()) < 40
    body = ast.parse(source).body
    assert not [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.If | ast.For)]
