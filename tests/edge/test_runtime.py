"""What CloudFront would refuse to run, or run otherwise: size, and words that its runtime 2.0 does not know."""

from __future__ import annotations

import re

import pytest

from infra.local.edge import FOLDER, Edge, Passed, store_of
from tests.edge.speaking import KEYS, REALM, SERVICE, head, refusal

FILES = sorted(FOLDER.glob("*.js"))
MOST = 10_000  # CloudFront's limit is 10 KB, of whichever kind

FORBIDDEN = {
    "code made at run time": r"\beval\b|\bFunction\s*\(",
    "timers, network, console": r"\bset(?:Timeout|Interval|Immediate)\b|\bfetch\b|\bXMLHttpRequest\b|\bconsole\b",
    "classes and generators": r"\bclass\b|\bfunction\s*\*|\byield\b|\bsuper\b",
    "for-of": r"\bfor\s*\([^)]*\bof\b",
    "spreading and rest": r"\.\.\.",
    "taking apart": r"\b(?:const|let|var)\s*[\[{]",
    "newer operators": r"\?\.[^0-9]|\?\?|\*\*|\|\|=|&&=",
    "default values of parameters": r"function\s*\w*\([^)]*=",
    "named groups and lookbehind": r"\(\?<",
    "flags of newer regular expressions": r"/[gimuy]*[suyvd][gimsuyvd]*\.(?:exec|test)",
    "async closures": r"async\s*\(|async\s+\w+\s*=>|=\s*async\b",
    "await as an argument": r"[(,]\s*await\b",
    "chains and combinations of promises": r"\.then\(|\bPromise\b",
    "modules but crypto": r"require\('(?!crypto'\))",
    "imports but the platform's": r"(?m)^import (?!cf from 'cloudfront';$)|\bexport\b",
    "Buffer but for reading base64url, and hex as base64": (
        r"\bBuffer\b(?!\.from\([^']*, 'base64url'\)\.toString\(\)|\.from\([^']*, 'hex'\)\.toString\('base64'\))"
    ),
    "globals": r"\b(?:globalThis|window|process|global)\b",
}


def code(text: str) -> str:
    """Without comments."""
    return re.sub(r"(?m)(?:^|\s)//.*$", "", text)


def test_both_functions_are_there() -> None:
    assert [file.name for file in FILES] == ["viewer-request.js", "viewer-response.js"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_function_fits(file: object) -> None:
    assert len((FOLDER / str(file)).read_bytes()) < MOST


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
@pytest.mark.parametrize("what", FORBIDDEN)
def test_a_function_keeps_to_the_runtime(file: object, what: str) -> None:
    found = re.search(FORBIDDEN[what], code((FOLDER / str(file)).read_text("utf-8")))
    assert found is None, f"{what}: {found}"


def test_the_forbidden_would_be_found() -> None:
    bad = "const {a} = x; for (const y of z) {} x?.y; a ?? b; f(...c); async () => 1; g(await h()); Buffer.alloc(1); /(?<n>a)/"
    found = [what for what, pattern in FORBIDDEN.items() if re.search(pattern, bad)]
    assert len(found) == 8


def test_values_fit_into_the_store() -> None:
    store = store_of(REALM, SERVICE, KEYS, direct=True, relay=True)
    assert all(len(key) < 512 and len(value) < 1024 for key, value in store.items())


def test_a_function_that_fails_is_a_503_and_the_next_request_passes() -> None:
    failing = Edge({}, now=lambda: 0)
    assert refusal(failing.request(head("GET", "/v2/a/tags/list"))) == (503, "UNAVAILABLE")
    assert isinstance(failing.request(head("GET", "/x")), Passed)
