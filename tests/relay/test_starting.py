"""Settings, the command line, and what has to be shipped for them to run."""

from __future__ import annotations

import re
import tomllib
from modulefinder import ModuleFinder
from pathlib import Path
from types import CodeType

import pytest

from infra.command.main import main
from infra.local.settings import SettingInvalid
from infra.relay.settings import RelaySettings, read_settings

ROOT = Path(__file__).resolve().parent.parent.parent
UPSTREAM = {"SLIPWAY_RELAY_UPSTREAM": "https://registry.test/"}


def test_settings() -> None:
    assert read_settings(UPSTREAM) == RelaySettings("https://registry.test")
    told = {"HOST": "0.0.0.0", "PORT": "80", "CONCURRENCY": "4", "PARTS": "12", "KEY": "secret"}  # noqa: S104
    found = read_settings(UPSTREAM | {f"SLIPWAY_RELAY_{name}": value for name, value in told.items()})
    assert found == RelaySettings("https://registry.test", "secret", "0.0.0.0", 80, 4, 12)  # noqa: S104
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UPSTREAM", ""),
        ("UPSTREAM", "registry.test"),
        ("UPSTREAM", "ftp://registry.test"),
        ("UPSTREAM", "https://user:password@registry.test"),
        ("UPSTREAM", "https://registry.test/v2"),
        ("UPSTREAM", "https://registry.test?x"),
        ("UPSTREAM", "https://registry.test:x"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("CONCURRENCY", "0"),
        ("PARTS", "x"),
        ("KEY", "ü"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingInvalid, match=f"^SLIPWAY_RELAY_{name} ") as caught:
        read_settings(UPSTREAM | {f"SLIPWAY_RELAY_{name}": value})
    assert "password" not in str(caught.value)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (["--help"], "relay"), (["relay", "--help"], "--upstream"):
        assert main(words, {}) == 0
        assert told in capsys.readouterr().out


def test_the_command_line_goes_before_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["relay", "--port", "x"], dict(UPSTREAM)) == 1
    assert capsys.readouterr().err == "slipway: SLIPWAY_RELAY_PORT must be a number from 0 to 65535, not 'x'\n"
    assert main(["relay"], {}) == 1


def ours(path: Path) -> set[str]:
    """The modules of infra that a file imports. By its compiled code: ast.parse in CPython 3.11 counts recursion for all
    threads together, and fails when another one parses at the same time, as formatting a traceback does."""
    found: set[str] = set()
    code = [compile(path.read_text(), path, "exec")]
    while code:
        each = code.pop()
        code += [constant for constant in each.co_consts if isinstance(constant, CodeType)]
        for kind, told in ModuleFinder().scan_opcodes(each):
            if kind == "absolute_import":
                names, module = told
                found |= {module, *(f"{module}.{name}" for name in names or ())}
    return {module for module in found if module.startswith("infra.") and file_of(module).exists()}


def file_of(module: str) -> Path:
    return ROOT / (module.replace(".", "/") + ".py")


def needed() -> set[str]:
    """Everything of ours that the relay and the command line import."""
    found: set[str] = set()
    new = {f"infra.{folder}.{path.stem}" for folder in ("command", "relay") for path in (ROOT / "infra" / folder).glob("*.py")}
    while new:
        found |= new
        new = {module for each in new for module in ours(file_of(each))} - found
    return found


def test_the_package_has_what_it_imports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = set(project["tool"]["setuptools"]["packages"])
    assert {module.rpartition(".")[0] for module in needed()} <= packages
    assert project["project"]["scripts"] == {"slipway": "infra.command.main:main"}


def test_the_container_has_what_it_imports() -> None:
    text = (ROOT / "infra/relay/Containerfile").read_text()
    copied = set(re.findall(r"infra/(?:local/)?[a-z_]*[a-z]\.py", text))
    wanted = {module for module in needed() if module.split(".")[1] not in {"command", "relay"}}  # which are copied whole
    assert copied == {file_of(module).relative_to(ROOT).as_posix() for module in wanted}


def test_the_pins_are_the_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pinned = set(re.findall(r"^([a-z0-9_-]+)==", (ROOT / "requirements-relay.txt").read_text(), re.MULTILINE))
    assert {re.split("[<>=]", wanted)[0] for wanted in project["project"]["dependencies"]} <= pinned
