"""What a terminal is shown: tables and JSON, with nothing in them that a terminal obeys."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # controls, direction overrides and invisibles, line separators
_WIDE = frozenset({"W", "F"})
_GAP = "  "


def escaped(text: str) -> str:
    r"""The text with what a terminal would obey or hide written as ``\x1b`` or ``\u202e``."""
    return "".join(_code(each) if unicodedata.category(each) in _OBEYED else each for each in text)


def echo_json(content: object) -> None:
    """The API's JSON, indented. What is not plain ASCII is written as JSON's own escapes."""
    click.echo(json.dumps(content, indent=2).replace("\x7f", "\\u007f"))


def echo_table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Columns as wide as their widest cell; headings bold on a terminal."""
    cells = [tuple(headings), *(tuple(cell(value) for value in row) for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        padded = [text + " " * (width - _width(text)) for text, width in zip(row, widths, strict=True)]
        line = _GAP.join(padded).rstrip()
        click.echo(click.style(line, bold=True) if number == 0 and sys.stdout.isatty() else line)


def echo_fields(fields: Mapping[str, Any]) -> None:
    """One thing, a line for each field."""
    width = max((_width(escaped(name)) for name in fields), default=0)
    for name, value in fields.items():
        shown = escaped(name)
        click.echo(f"{shown}{' ' * (width - _width(shown))}{_GAP}{cell(value)}")


def tell(sentence: str) -> None:
    """A line on stderr, for whoever watches."""
    click.echo(escaped(f"slipway: {sentence}"), err=True)


def cell(value: object) -> str:
    """A JSON value as a cell shows it."""
    match value:
        case None | "" | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(cell(each) for each in value)
        case dict():
            return escaped(json.dumps(value, ensure_ascii=False))
    return escaped(str(value))


def _code(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _width(text: str) -> int:
    """The columns of a terminal that a text takes."""
    return sum(0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in _WIDE else 1 for each in text)
