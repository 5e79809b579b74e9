"""`coverage.toml`: for each attack the tests that cover it, each with the check that it must miss.

An entry names a test by its pytest id and a function of the product as `module:Class.function`; `find` is a piece of
that function's source that occurs once, `put` what stands there when the check is taken out. Several entries may share
an attack. The catalogue of attacks is docs/attacks.md.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).parent / "coverage.toml"


class Attack(NamedTuple):
    """One line of docs/attacks.md."""

    scenario: str
    state: str
    """`covered` or `planned`."""


ATTACKS: Final = {
    found[0]: Attack(found[1], found[2])
    for found in re.findall(
        r"^\| ([A-Z]\d+) \| (.*) \| (\w+) \|$", (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8"), re.M
    )
}
"""Id -> attack."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One test and the check that it proves."""

    id: str
    test: str
    check: str
    find: str
    put: str

    @property
    def label(self) -> str:
        """Short, for people."""
        return f"{self.id} {self.test.rpartition('::')[2]} without {self.check}"


class Coverage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    entry: tuple[Entry, ...]


def read_coverage() -> Coverage:
    """The committed table."""
    return msgspec.toml.decode(TABLE.read_bytes(), type=Coverage)


def names_of_tests(file: Path) -> set[str]:
    """Names of the test functions at the top of a file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in tree.body if isinstance(node, kinds) and node.name.startswith("test_")}
