"""The zip that Lambda runs: the program, the libraries it needs there, and compiled code; the same input gives the same bytes.

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
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements-lambda.txt"
WHEELS = ROOT / ".cache" / "wheels"
ARCHITECTURES = {"arm64": "aarch64", "x86_64": "x86_64"}
"""Lambda's name of an architecture, and the one in a wheel's."""

SERVICES = ("dynamodb", "kms", "s3", "secretsmanager")
"""Whose models of botocore's data are shipped: those that chalicelib/aws makes clients of."""

LIMIT = 15_000_000
"""Bytes of the zip at most: Lambda fetches it at each cold start."""

MOMENT = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the zip: the earliest that a zip can say."""

_DATA = ("_retry.json", "endpoints.json", "partitions.json", "sdk-default-configuration.json")
_MODELS = ("service-2.json*", "service-2.sdk-extras.json", "paginators-1*.json", "endpoint-rule-set-1.json*")

SHIPPED = {
    "aws_xray_sdk": (
        "aws_xray_sdk/__init__.py",
        "aws_xray_sdk/sdk_config.py",
        "aws_xray_sdk/version.py",
        "aws_xray_sdk/core/*.py",
        "aws_xray_sdk/core/sampling/local/*.json",
    ),  # loaded when tracing is on
    "boto3": ("boto3/*.py",),
    "botocore": (
        "botocore/*.py",
        "botocore/cacert.pem",
        *(f"botocore/data/{name}" for name in _DATA),
        *(f"botocore/data/{service}/*/{model}" for service in SERVICES for model in _MODELS),
    ),
    "cffi": ("_cffi_backend.*.so",),  # what cryptography's compiled part imports; the rest is for those who write bindings
    "chalice": ("chalice/__init__.py", "chalice/app.py"),  # what chalice itself ships; the rest is its command line
    "cryptography": ("cryptography/*.py", "cryptography/*.so"),
    "jmespath": ("jmespath/*.py",),
    "pyjwt": ("jwt/*.py",),
    "pynamodb": ("pynamodb/*.py",),
    "python_dateutil": ("dateutil/*.py",),  # without its zoneinfo archive: AWS speaks UTC
    "s3transfer": ("s3transfer/*.py",),
    "six": ("six.py",),
    "urllib3": ("urllib3/*.py",),
    "wrapt": ("wrapt/*.py", "wrapt/*.so"),  # aws-xray-sdk's
}
"""What of each distribution is shipped, as patterns in which a star stands for slashes too."""

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


def bundle(architecture: str) -> bytes:
    """The zip's bytes. Raises ValueError for an architecture that Lambda does not have, or if the zip is too large."""
    if architecture not in ARCHITECTURES:
        raise ValueError(f"Lambda runs on {' or '.join(ARCHITECTURES)}, not {architecture!r}")
    files = dict(_program())
    for wheel in wheels(architecture):
        files.update(_shipped(wheel))
    content = _zipped(_compiled(files))
    if len(content) > LIMIT:
        raise ValueError(f"the zip has {len(content)} bytes, more than {LIMIT}")
    return content


def wheels(architecture: str) -> list[Path]:
    """The wheels of requirements-lambda.txt for this interpreter's version on Lambda, downloaded once."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    pins = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = WHEELS / f"{architecture}-{version}-{pins}"
    if not folder.exists():
        WHEELS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=WHEELS) as unfinished:
            _download(Path(unfinished, "wheels"), ARCHITECTURES[architecture], version)
            try:
                Path(unfinished, "wheels").rename(folder)
            except OSError:
                if not folder.exists():  # else another process was as far a moment earlier
                    raise
    return sorted(folder.glob("*.whl"))


def _download(folder: Path, machine: str, version: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", version]
    for platform in _platforms(machine):
        command += ["--platform", platform]
    subprocess.run([*command, "--dest", str(folder), "--requirement", str(REQUIREMENTS)], check=True)  # noqa: S603


def _platforms(machine: str) -> tuple[str, ...]:
    """Wheels that Lambda's C library takes: Amazon Linux 2 (glibc 2.26) up to Python 3.11, Amazon Linux 2023 (2.34) since."""
    newest = 34 if sys.version_info >= (3, 12) else 26
    return (*(f"manylinux_2_{minor}_{machine}" for minor in range(newest, 16, -1)), f"manylinux2014_{machine}")


def _program() -> Iterator[tuple[str, bytes]]:
    yield "app.py", (ROOT / "app.py").read_bytes()
    for path in sorted((ROOT / "chalicelib").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name not in {f"chalicelib/local/{module}.py" for module in LOCAL_ONLY}:
            yield name, path.read_bytes()


def _shipped(wheel: Path) -> Iterator[tuple[str, bytes]]:
    patterns = SHIPPED[wheel.name.partition("-")[0].lower()]
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if any(fnmatchcase(name, pattern) for pattern in patterns):
                yield name, archive.read(name)


def _compiled(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with compiled code: beside the program's own sources where Python caches it, in the libraries' place.

    A process of its own with a fixed hash seed, since the order of a set of names would show in the bytes."""
    compiled = {name: content for name, content in files.items() if not name.endswith(".py") or _is_ours(name)}
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
                compiled[_place(name)] = Path(folder, name).with_suffix(".pyc").read_bytes()
    return compiled


def _is_ours(name: str) -> bool:
    return name == "app.py" or name.startswith("chalicelib/")


def _place(name: str) -> str:
    if not _is_ours(name):
        return name + "c"
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
