"""The zips that Lambda runs: a program, the libraries it needs there, and compiled code; the same input gives the same bytes.

There are two: the registry, and the rotation function (infra/rotation), whose libraries nobody else is to load.

Libraries are shipped as compiled code alone; the program's own modules with their source too, so that a traceback in the
logs shows its lines. Compiled code carries no timestamps and is not checked against any source: the zip never changes.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements-lambda.txt"
WHEELS = ROOT / ".cache" / "wheels"
ARCHITECTURES = {"arm64": "aarch64", "x86_64": "x86_64"}
"""Lambda's name of an architecture, and the one in a wheel's."""

SERVICES = ("dynamodb", "kms", "lambda", "s3", "secretsmanager", "xray")
"""Whose models of botocore's data are shipped: those that chalicelib/aws makes clients of, and aws_xray_sdk on its import."""

ROTATION_SERVICES = ("cloudfront-keyvaluestore", "secretsmanager")
"""The same for infra/rotation."""

LIMIT = 15_000_000
"""Bytes of the zip at most: Lambda fetches it at each cold start."""

MOMENT = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the zip: the earliest that a zip can say."""

_DATA = ("_retry.json", "endpoints.json", "partitions.json", "sdk-default-configuration.json")
_MODELS = ("service-2.json*", "service-2.sdk-extras.json", "paginators-1*.json", "endpoint-rule-set-1.json*")


def _sdk(services: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {
        "boto3": ("boto3/*.py",),
        "botocore": (
            "botocore/*.py",
            "botocore/cacert.pem",
            *(f"botocore/data/{name}" for name in _DATA),
            *(f"botocore/data/{service}/*/{model}" for service in services for model in _MODELS),
        ),
        "jmespath": ("jmespath/*.py",),
        "python_dateutil": ("dateutil/*.py",),  # without its zoneinfo archive: AWS speaks UTC
        "s3transfer": ("s3transfer/*.py",),
        "six": ("six.py",),
        "urllib3": ("urllib3/*.py",),
    }


SHIPPED = {
    **_sdk(SERVICES),
    "aws_xray_sdk": (  # imported when tracing is on; what patches other libraries is left out
        "aws_xray_sdk/__init__.py",
        "aws_xray_sdk/sdk_config.py",
        "aws_xray_sdk/version.py",
        "aws_xray_sdk/core/*.py",
        "aws_xray_sdk/core/*.json",
    ),
    "cffi": ("_cffi_backend.*.so",),  # what cryptography's compiled part imports; the rest is for those who write bindings
    "chalice": ("chalice/__init__.py", "chalice/app.py"),  # what chalice itself ships; the rest is its command line
    "cronsim": ("cronsim/__init__.py", "cronsim/cronsim.py"),
    "cryptography": ("cryptography/*.py", "cryptography/*.so"),
    "msgspec": ("msgspec/*.py", "msgspec/_core.*.so"),
    "pyjwt": ("jwt/*.py",),
    "pynamodb": ("pynamodb/*.py",),
    "wrapt": ("wrapt/*.py", "wrapt/*.so"),  # aws_xray_sdk's
}
"""What of each distribution is shipped, as patterns in which a star stands for slashes too."""

ROTATION_SHIPPED = {**_sdk(ROTATION_SERVICES), "awscrt": ("awscrt/*.py", "_awscrt.abi3.so")}
"""The same for infra/rotation."""

LOCAL_ONLY = ("conditions", "disk_blobs", "file_signer", "secret_file", "sqlite_table")
"""Modules of chalicelib/local that wiring never loads on AWS."""

_COMPILE = """
import importlib._bootstrap_external as external, importlib.util, marshal, sys
from pathlib import Path
root = Path(sys.argv[1])
for source in sorted(root.rglob("*.py")):
    text = source.read_bytes()
    code = compile(text, "/var/task/" + source.relative_to(root).as_posix(), "exec", dont_inherit=True, optimize=0)
    # whether an object is marked as shared depends on who else holds it at the moment: a second round settles it
    code = marshal.loads(marshal.dumps(code))
    content = external._code_to_hash_pyc(code, importlib.util.source_hash(text), False)
    source.with_suffix(".pyc").write_bytes(content)
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """What goes into a zip: the sources that ``roots`` name, below the project, and the distributions of ``requirements``, of
    which ``shipped`` says what. ``name`` is the first part of the zip's."""

    name: str
    roots: tuple[str, ...]
    requirements: Path
    shipped: Mapping[str, tuple[str, ...]]


REGISTRY = Kind("slipway", ("app.py", "chalicelib"), REQUIREMENTS, SHIPPED)
ROTATION = Kind("rotation", ("infra/__init__.py", "infra/rotation"), ROOT / "infra/rotation/requirements.txt", ROTATION_SHIPPED)
KINDS = (REGISTRY, ROTATION)


def bundle(architecture: str, kind: Kind = REGISTRY) -> bytes:
    """The zip's bytes. Raises ValueError for an architecture that Lambda does not have, or if the zip is too large."""
    if architecture not in ARCHITECTURES:
        raise ValueError(f"Lambda runs on {' or '.join(ARCHITECTURES)}, not {architecture!r}")
    files = dict(_program(kind))
    program = frozenset(files)
    for wheel in wheels(architecture, kind):
        files.update(_shipped(wheel, kind))
    content = _zipped(_compiled(files, program))
    if len(content) > LIMIT:
        raise ValueError(f"the zip {kind.name} has {len(content)} bytes, more than {LIMIT}")
    return content


def wheels(architecture: str, kind: Kind = REGISTRY) -> list[Path]:
    """The wheels of its requirements for this interpreter's version on Lambda, downloaded once."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    pins = hashlib.sha256(kind.requirements.read_bytes()).hexdigest()[:12]
    folder = WHEELS / f"{architecture}-{version}-{pins}"
    if not folder.exists():
        WHEELS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=WHEELS) as unfinished:
            _download(kind.requirements, Path(unfinished, "wheels"), ARCHITECTURES[architecture], version)
            try:
                Path(unfinished, "wheels").rename(folder)
            except OSError:
                if not folder.exists():  # else another process was as far a moment earlier
                    raise
    return sorted(folder.glob("*.whl"))


def _download(requirements: Path, folder: Path, machine: str, version: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", version]
    for platform in _platforms(machine):
        command += ["--platform", platform]
    subprocess.run([*command, "--dest", str(folder), "--requirement", str(requirements)], check=True)  # noqa: S603


def _platforms(machine: str) -> tuple[str, ...]:
    """Wheels that Lambda's C library takes: Amazon Linux 2 (glibc 2.26) up to Python 3.11, Amazon Linux 2023 (2.34) since."""
    newest = 34 if sys.version_info >= (3, 12) else 26
    return (*(f"manylinux_2_{minor}_{machine}" for minor in range(newest, 16, -1)), f"manylinux2014_{machine}")


def _program(kind: Kind) -> Iterator[tuple[str, bytes]]:
    for root in kind.roots:
        for path in [ROOT / root] if root.endswith(".py") else sorted((ROOT / root).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name not in {f"chalicelib/local/{module}.py" for module in LOCAL_ONLY}:
                yield name, path.read_bytes()


def _shipped(wheel: Path, kind: Kind) -> Iterator[tuple[str, bytes]]:
    patterns = kind.shipped[wheel.name.partition("-")[0].lower()]
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if any(fnmatchcase(name, pattern) for pattern in patterns):
                yield name, archive.read(name)


def _compiled(files: dict[str, bytes], program: frozenset[str]) -> dict[str, bytes]:
    """The files with compiled code: beside the program's own sources where Python caches it, in the libraries' place.

    A process of its own with a fixed hash seed, since the order of a set of names would show in the bytes."""
    compiled = {name: content for name, content in files.items() if not name.endswith(".py") or name in program}
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            if name.endswith(".py"):
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        subprocess.run([sys.executable, "-W", "ignore", "-c", _COMPILE, folder], check=True, env=environment)  # noqa: S603
        for name in files:
            if name.endswith(".py"):
                compiled[_cached(name) if name in program else name + "c"] = Path(folder, name).with_suffix(".pyc").read_bytes()
    return compiled


def _cached(name: str) -> str:
    """Where Python looks for the compiled code of a source."""
    folder, _, module = name.rpartition("/")
    cached = f"__pycache__/{module.removesuffix('.py')}.{sys.implementation.cache_tag}.pyc"
    return f"{folder}/{cached}" if folder else cached


def _zipped(files: dict[str, bytes]) -> bytes:
    """Sorted, with fixed times and modes."""
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, MOMENT)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever it is made
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name])
    return output.getvalue()
