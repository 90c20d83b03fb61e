"""Runs the Open Container Initiative's own conformance program against a registry, with every option on.

The program's defaults leave out what is optional, and it calls an unsupported feature "skipped", not failed. Here
every flag it knows is switched on for each version and anything but a pass fails the run, so that nothing can be dropped
by being left out. The program exits 0 when it could not even read its settings, so its reports are judged, not its code.

    python -m tests.conformance.run                        # starts `make run`
    python -m tests.conformance.run --url http://127.0.0.1:5000 --password-env REGISTRY_PASSWORD
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.conformance.registry_process import (
    CACHE,
    DEFAULT_COMMAND,
    DEFAULT_READY_PATH,
    RegistryDidNotStart,
    RunningRegistry,
    started_registry,
)

SUITE_PACKAGE = "github.com/opencontainers/distribution-spec/conformance"
SUITE_COMMIT = "fee21197eb94"  # main on 2026-07-30, as in suite/go.mod; the program is that of 967efdc
SUITE_FOLDER = Path(__file__).with_name("suite")
PROGRAM = CACHE / "bin" / f"conformance-{SUITE_COMMIT}"
RESULTS = CACHE / "conformance"
SPEC_VERSIONS = ("1.1", "dev")

API_FLAGS = (
    "PING",
    "PULL",
    "PUSH",
    "REFERRER",
    "BLOBS_ATOMIC",
    "BLOBS_DELETE",
    "BLOBS_DIGEST_HEADER",
    "BLOBS_MOUNT_ANONYMOUS",
    "BLOBS_UPLOAD_CANCEL",
    "MANIFESTS_ATOMIC",
    "MANIFESTS_DELETE",
    "MANIFESTS_DIGEST_HEADER",
    "MANIFESTS_TAG_PARAM",
    "TAGS_ATOMIC",
    "TAGS_DELETE",
    "TAGS_LIST",
)
DATA_FLAGS = (
    "IMAGE",
    "INDEX",
    "INDEX_LIST",
    "SPARSE",
    "ARTIFACT",
    "SUBJECT",
    "SUBJECT_MISSING",
    "ARTIFACT_LIST",
    "SUBJECT_LIST",
    "DATA_FIELD",
    "NONDISTRIBUTABLE",
    "CUSTOM_FIELDS",
    "NO_LAYERS",
    "EMPTY_BLOB",
    "SHA512",
)

RELAXABLE = {"BLOBS_DIGEST_HEADER": "blobs.digestHeader"}
"""The one flag that may be off, and its name in a report: a download that is redirected to S3 carries S3's headers, which know
no Docker-Content-Digest. 1.1 does not ask for it."""


class ConformanceUnusable(RuntimeError):
    """The program could not be built, or left no report that can be judged."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one report says; `complaints` is empty only when every test ran and passed."""

    passed: int
    failed: int
    skipped: int
    total: int
    complaints: tuple[str, ...]

    @property
    def clean(self) -> bool:
        return not self.complaints and self.total > 0 and self.passed == self.total


def built_program() -> Path:
    """The conformance program at the pinned commit, built once.

    The commit has no release, and neither `go install` nor `go mod download` asks the proxy for less than a list of
    them. Building it as a dependency of a module of ours asks for its source only, and go.sum says what that must be.
    """
    if PROGRAM.exists():
        return PROGRAM
    if shutil.which("go") is None:
        raise ConformanceUnusable("the Go tool chain is missing: `go` is not on PATH")
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    unfinished = PROGRAM.with_suffix(f".{os.getpid()}")
    words = ["go", "build", "-ldflags", f"-X main.Version={SUITE_COMMIT}", "-o", str(unfinished), SUITE_PACKAGE]
    environment = os.environ | {"GOFLAGS": "-trimpath -buildvcs=false -mod=readonly", "GOWORK": "off"}
    done = subprocess.run(words, cwd=SUITE_FOLDER, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ConformanceUnusable(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    unfinished.replace(PROGRAM)
    return PROGRAM


def settings(registry: RunningRegistry, version: str, results: Path, without: Sequence[str] = ()) -> dict[str, str]:
    """The program's environment; OCI_* variables of the caller are dropped, since one of them could turn tests off."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OCI_")}
    named = [*(f"OCI_API_{name}" for name in API_FLAGS), *(f"OCI_DATA_{name}" for name in DATA_FLAGS)]
    flags = {name: str(name.removeprefix("OCI_API_") not in without).lower() for name in named}
    namespace = f"{registry.user}/conformance-{version.replace('.', '-')}"
    return inherited | flags | {
        "OCI_VERSION": version,
        "OCI_REGISTRY": registry.host,
        "OCI_TLS": "disabled",
        "OCI_REPO1": f"{namespace}/first",
        "OCI_REPO2": f"{namespace}/second",
        "OCI_USERNAME": registry.user,
        "OCI_PASSWORD": registry.password,
        "OCI_RESULTS_DIR": str(results),
        "OCI_LOG": "error",
    }  # fmt: skip


def run_program(program: Path, registry: RunningRegistry, version: str, results: Path, without: Sequence[str] = ()) -> Outcome:
    """Runs it with every flag on but those of RELAXABLE that are named in ``without``."""
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    environment = settings(registry, version, results, without)
    with (results / "output.txt").open("wb") as sink:
        subprocess.run([program], cwd=results, env=environment, stdout=sink, stderr=sink, check=False)
    report = results / "junit.xml"
    if not report.exists():
        raise ConformanceUnusable(f"no report: {(results / 'output.txt').read_text(errors='replace')}")
    return judge(report, without)


def judge(report: Path, without: Sequence[str] = ()) -> Outcome:
    """Reads the report's totals, and every test by itself: totals alone would not name what failed."""
    relaxed = {RELAXABLE[flag] for flag in without}
    suite = ElementTree.parse(report).getroot().find("testsuite")  # noqa: S314  # our own child wrote it
    if suite is None:
        raise ConformanceUnusable(f"{report} holds no test suite")
    count = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped", "disabled")}
    failed = count["failures"] + count["errors"]
    skipped = count["skipped"] + count["disabled"]
    complaints = [*unpassed_tests(suite), *(f"switched off: {each}" for each in switched_off(suite) if each not in relaxed)]
    return Outcome(count["tests"] - failed - skipped, failed, skipped, count["tests"], tuple(complaints))


def unpassed_tests(suite: ElementTree.Element) -> Iterator[str]:
    for test in suite.iter("testcase"):
        status = test.get("status", "without a status")
        if status != "passed":
            reason = (test.findtext("system-out") or "").strip().replace("\n", " ")
            yield f"{status}: {test.get('name')}: {reason[:300]}"


def switched_off(suite: ElementTree.Element) -> Iterator[str]:
    """Settings that the report shows as off, each with its group: a flag added to the program later must not stay unnoticed."""
    for setting in suite.iter("property"):
        group = ""
        for line in setting.get("value", "").splitlines():
            name, _, value = line.strip().partition(":")
            if not value:
                group = name
            elif value.strip() == "false":
                yield f"{group}.{name}"


@contextmanager
def registry_under_test(options: argparse.Namespace) -> Iterator[RunningRegistry]:
    if options.url is None:
        sparse = {"SLIPWAY_SPARSE_MANIFESTS": "all"}  # off by default, and one of the optional features
        with started_registry(options.command, ready_path=options.ready, user=options.user, settings=sparse) as registry:
            yield registry
    else:
        password = os.environ.get(options.password_env, "")
        yield RunningRegistry(options.url.removeprefix("http://").rstrip("/"), options.user, password)


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", default=DEFAULT_COMMAND, help="starts the registry; {port} and {data} are filled in")
    parser.add_argument("--ready", default=DEFAULT_READY_PATH, help="path that answers 200 once it serves")
    parser.add_argument("--url", help="a registry that runs already, instead of --command")
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password-env", default="SLIPWAY_ADMIN_PASSWORD", help="variable holding its password (--url)")
    parser.add_argument("--without", action="append", default=[], choices=RELAXABLE, help="a flag that may be off")
    parser.add_argument("--build-only", action="store_true", help="build the conformance program and stop")
    return parser.parse_args(arguments)


def report_version(version: str, outcome: Outcome) -> None:
    for complaint in outcome.complaints:
        print(f"  {complaint}")
    print(
        f"OCI {version}: passed/failed/skipped/total {outcome.passed}/{outcome.failed}/{outcome.skipped}/{outcome.total}",
        flush=True,
    )


def main(arguments: Sequence[str]) -> int:
    options = parse_options(arguments)
    try:
        program = built_program()
        if options.build_only:
            return 0
        with registry_under_test(options) as registry:
            outcomes = []
            for version in SPEC_VERSIONS:
                outcomes.append(run_program(program, registry, version, RESULTS / version, options.without))
                report_version(version, outcomes[-1])
    except (ConformanceUnusable, RegistryDidNotStart) as trouble:
        print(f"conformance could not run: {trouble}", file=sys.stderr)
        return 2
    passed, failed, skipped = (sum(getattr(one, word) for one in outcomes) for word in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if all(outcome.clean for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
