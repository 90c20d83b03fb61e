"""A cold start: a fresh process imports the application and answers one event. Run by ``cold_start`` in a process of its own.

    python tests/bench/first_request.py [naive] [folder of the program [folder of further libraries]] <event

The event comes by standard input; with the argument ``naive`` every library that the program could use is imported first.
Nothing is imported above the clock, so that all which the application needs is paid for within it.
"""

import sys
import time

_folders = [word for word in sys.argv[1:] if word != "naive"]
sys.path[:0] = _folders[:1]
sys.path += _folders[1:]
_start = time.perf_counter()
_present = set(sys.modules)


def _import_everything() -> None:
    """What an application does that imports at the top whatever some request may need."""
    import aws_xray_sdk.core  # type: ignore[import-untyped]  # noqa: F401
    import boto3  # noqa: F401
    import botocore.session  # noqa: F401
    import chalice  # noqa: F401
    import cryptography.hazmat.primitives.asymmetric.ec
    import cryptography.x509  # noqa: F401
    import jwt  # noqa: F401
    import pynamodb.models  # noqa: F401


def _main() -> None:
    if "naive" in sys.argv[1:]:
        _import_everything()
    from app import app

    imported = time.perf_counter()
    loaded = sorted({name.partition(".")[0] for name in set(sys.modules) - _present})

    import json

    event = json.loads(sys.stdin.read())
    result = app(event, None)
    answered = time.perf_counter()
    told = {
        "import": imported - _start,
        "total": answered - _start,
        "status": result["statusCode"],
        "body": result["body"],
        "loaded": [name for name in loaded if name not in sys.stdlib_module_names and name != "app"],
        "standard": [name for name in loaded if name in sys.stdlib_module_names],
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    _main()
