"""A public class and a file have a name that nothing else has (ADR 0104)."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("business_chain", "cli", "common", "crosslink", "custody_chain")
SAYS_ITS_PLACE = {"main", "settings", "application", "routes", "policy", "state", "governance"}
"""File names of which each process, or each tier, has one."""
NAMED_BY_ITS_FOLDER = ("cli/commands/", "custody_chain/tables/", "crosslink/lightclient/pbft/")
"""A file here is called as its command, as the law over its records, as the same part of every client type."""
OF_BOTH_TIERS = {"Account", "Encumbrance", "Holding", "Movement", "Product", "Standing", "Subject"}
"""Records of the register: a market keeps them as it states them, the custody chain as it was told. Neither imports
the other, and no class of one layer has such a name twice.
"""


def sources() -> list[Path]:
    return [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def test_a_public_class_has_a_name_of_its_own() -> None:
    places = defaultdict(set)
    for file in sources():
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                tier = file.relative_to(ROOT).parts[0] if node.name in OF_BOTH_TIERS else ""
                places[tier, node.name].add(str(file.relative_to(ROOT)))
    assert {name: sorted(files) for name, files in places.items() if len(files) > 1} == {}


def test_a_file_has_a_name_of_its_own() -> None:
    places = defaultdict(set)
    for file in sources():
        name = str(file.relative_to(ROOT))
        if file.stem not in SAYS_ITS_PLACE | {"__init__"} and not name.startswith(NAMED_BY_ITS_FOLDER):
            places[file.stem].add(name)
    assert {name: sorted(files) for name, files in places.items() if len(files) > 1} == {}
