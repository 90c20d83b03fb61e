"""Names and digests: what parses, parses to the same text; everything else is refused with its own error."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.registry.errors import DigestInvalid, NameInvalid, TagInvalid
from chalicelib.registry.names import Digest, RepositoryName, Tag, parse_reference

NAME = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
"""The specification's own expression."""

ODD = ["", " ", "\n", "a\n", "\x00", "\u00fc", "\uff41", "a b", "a/", "/a", "a//b", "A"]


_WORD = st.text(alphabet="az09", min_size=1, max_size=8)
_COMPONENT = st.builds(
    lambda words, separator: separator.join(words),
    st.lists(_WORD, min_size=1, max_size=3),
    st.sampled_from([".", "_", "__", "-", "---"]),
)


@given(st.lists(_COMPONENT, min_size=1, max_size=4).map("/".join))
def test_a_name_of_the_grammar_is_taken_as_it_is(text: str) -> None:
    name = RepositoryName.parse(text)
    assert str(name) == text
    assert text.startswith(name.namespace)
    assert "/" not in name.namespace


@given(st.text(max_size=60))
def test_another_name_is_refused(text: str) -> None:
    if re.fullmatch(NAME, text, re.ASCII):
        return
    with pytest.raises(NameInvalid):
        RepositoryName.parse(text)


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_are_neither_names_nor_digests(text: str) -> None:
    with pytest.raises(NameInvalid):
        RepositoryName.parse(text)
    with pytest.raises(DigestInvalid):
        Digest.parse(text)


def test_the_longest_name() -> None:
    assert RepositoryName.parse("a" * 255)
    with pytest.raises(NameInvalid):
        RepositoryName.parse("a" * 256)


def test_a_long_refused_name_takes_no_long_time() -> None:
    """An expression that backtracks would take for ever on these; they are refused by their length first."""
    for text in ("a-" * 100_000, "a" * 254 + "!", "-" * 255, "a.a" * 84 + "_" * 3):
        with pytest.raises(NameInvalid):
            RepositoryName.parse(text)


@given(st.builds(str.__add__, st.sampled_from("aZ0_"), st.text(alphabet="aZ0._-", max_size=127)))
def test_a_tag_of_the_grammar_is_taken_as_it_is(text: str) -> None:
    assert str(Tag.parse(text)) == text
    assert parse_reference(text) == Tag(text)


@pytest.mark.parametrize("text", ["", ".a", "-a", "a" * 129, "a/b", "a\n", "\u00fc", "a b"])
def test_another_tag_is_refused(text: str) -> None:
    with pytest.raises(TagInvalid):
        Tag.parse(text)


@given(st.binary(max_size=100), st.sampled_from(["sha256", "sha512"]))
def test_a_digest_is_that_of_its_content(content: bytes, algorithm: str) -> None:
    digest = Digest.of(content, algorithm)
    assert digest.hex == hashlib.new(algorithm, content).hexdigest()
    assert Digest.parse(str(digest)) == digest
    assert parse_reference(str(digest)) == digest


@pytest.mark.parametrize(
    "text",
    [
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "g" * 64,
        "sha256:" + "A" * 64,
        "sha256:" + "0" * 64 + "\n",
        "sha256:" + "\u0661" * 64,
        "sha512:" + "0" * 64,
        "sha256" + "0" * 64,
        "sha1:" + "0" * 40,
        ":" + "0" * 64,
        "sha256+b64u:" + "0" * 64,
        "sha256:" + "0" * 32 + "/" + "0" * 31,
    ],
)
def test_another_digest_is_refused(text: str) -> None:
    with pytest.raises(DigestInvalid):
        Digest.parse(text)
