"""`coverage.toml`: for each attack the tests that cover it, each with the fault that it must notice.

An entry names a test by its pytest id, and what is taken out of the product in one of these ways, `check` being a
function as `module:Class.function`:

  refusal   the function no longer refuses with this code, and goes on
  silent    the function does nothing; only while the function `within` runs, if one is named
  answer    the function always gives this answer; `within` as above
  fault     one of `faults_consensus` or `faults_processes`, where more is to be said

Several entries may share an attack or a fault. The catalogue of attacks is docs/attacks.md.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

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
    """One test and the fault that it must notice."""

    id: str
    test: str
    fault: str = ""
    check: str = ""
    refusal: str = ""
    silent: bool = False
    answer: Any = msgspec.UNSET
    within: str = ""

    @property
    def change(self) -> dict[str, Any]:
        """What is taken out, for `taking_out`."""
        return {
            key: value for key, value in msgspec.to_builtins(self).items() if key not in ("id", "test") and value != ""
        }

    @property
    def label(self) -> str:
        """Short, for people."""
        return f"{self.id} {self.test.rpartition('::')[2]} without {self.fault or self.check} {self.refusal}".strip()


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
