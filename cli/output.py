"""What every command prints the same way: tables, JSON, progress on standard error, and errors with their codes.

Exit codes (contract, "Command line"): 0 done, 1 refused or failed, 2 wrong usage.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from common.core.errors import InvariantBroken, Rejected
from common.node.store.store_errors import DamagedStore, StoreFailed

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
"""For commands that print a text for people otherwise."""
ALWAYS_JSON = click.option("--json", expose_value=False, is_flag=True, help="No effect: JSON is printed anyway.")
"""For commands whose output is JSON or a file of another command: the option changes nothing."""


class Group(click.Group):
    """A command group that turns the suite's errors, and the system's about files, into one line and exit code 1."""

    def invoke(self, context: click.Context) -> Any:
        """Run a command; print a Rejected as `error: code: detail`."""
        try:
            return super().invoke(context)
        except Rejected as error:
            fail(error.code, error.detail)
        except (DamagedStore, StoreFailed) as error:
            fail(error.code, str(error))
        except InvariantBroken as error:
            fail("local_data_damaged", str(error))
        except BrokenPipeError:
            raise SystemExit(1) from None
        except OSError as error:
            fail("file_unusable", f"{error.filename or 'a file'}: {error.strerror or error}")


def fail(code: str, detail: str) -> NoReturn:
    """Print an error and end with exit code 1."""
    click.echo(f"error: {code}: {printable(detail)}", err=True)
    raise SystemExit(1)


def printable(text: str) -> str:
    """The text without control characters: a server's words must not drive the terminal (attack N6)."""
    return "".join(letter if letter == "\n" or unicodedata.category(letter)[0] != "C" else "?" for letter in text)


def print_json(document: Any) -> None:
    """Print a document as JSON."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def progress(text: str) -> None:
    """Say on standard error what long work is doing."""
    click.echo(f"  {printable(text)}", err=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of aligned columns; numbers to the right, wide (Chinese) characters counted as two."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(_width(text) for text in column) for column in zip(headings, *cells, strict=True)]
    numeric = [all(isinstance(row[index], int) for row in rows) and bool(rows) for index in range(len(headings))]
    lines = [_line(headings, widths, numeric), "  ".join("─" * width for width in widths)]
    return "\n".join(lines + [_line(row, widths, numeric) for row in cells])


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else printable(str(value))


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = []
    for text, width, right in zip(cells, widths, numeric, strict=True):
        space = " " * (width - _width(text))
        padded.append(space + text if right else text + space)
    return "  ".join(padded).rstrip()


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
