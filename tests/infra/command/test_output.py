"""What reaches a terminal: nothing that it obeys, columns that stand below each other."""

from __future__ import annotations

import json

import pytest

from infra.command.output import cell, echo_fields, echo_json, echo_table, escaped


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb\nc\td", "a\\x0db\\x0ac\\x09d"),
        ("user\u202etxt.exe", "user\\u202etxt.exe"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("a\u2028b", "a\\u2028b"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("\x7f", "\\x7f"),
        ("Zoë 東京", "Zoë 東京"),
    ],
)
def test_what_a_terminal_would_obey(raw: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert escaped(raw) == shown
    echo_table(("NAME",), [(raw,), ([raw],), ({raw: raw},)])
    echo_fields({raw: raw})
    echo_json({raw: [raw]})
    printed = capsys.readouterr().out
    assert raw.isprintable() or raw not in printed
    assert not [each for each in printed.replace("\n", "") if escaped(each) != each]


def test_json_is_the_same_json(capsys: pytest.CaptureFixture[str]) -> None:
    content = {"name": "\x7f\x9b\u202eü", "number": 123456789012345678901234567890, "none": None}
    echo_json(content)
    assert json.loads(capsys.readouterr().out) == content


def test_columns(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table(("NAME", "ADMIN", "DESCRIPTION"), [("東京", True, ""), ("e\u0301mile", False, None), ("bob", None, "x")])
    assert capsys.readouterr().out.splitlines() == [
        "NAME   ADMIN  DESCRIPTION",
        "東京   yes    -",
        "e\u0301mile  no     -",
        "bob    -      x",
    ]


def test_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table(("NAME", "ADMIN"), [])
    assert capsys.readouterr().out == "NAME  ADMIN\n"


def test_cells() -> None:
    assert [cell(each) for each in (None, "", [], True, False, 0, 5, ["a", 1], {"a": "b"})] == [
        "-", "-", "-", "yes", "no", "0", "5", "a, 1", '{"a": "b"}'
    ]  # fmt: skip
