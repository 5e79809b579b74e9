"""Attack S1's list is complete: whatever touches disk or network below `common/node` has a point of `fault_points`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from common.node.store.fault_points import POINTS

ROOT = Path(__file__).parents[2]
NODE = ROOT / "common" / "node"
DISK = "store/disk.py"
FILE_CHANGES = re.compile(
    r"\bos\.(f?chown|f?chmod|write|pwrite|fsync|fdatasync|rename|replace|remove|unlink|truncate|ftruncate|link|symlink|rmdir)\("
    r"|\.(unlink|rename|write_text|write_bytes|rmdir|touch|hardlink_to|symlink_to)\(|\bshutil\.|\.fdopen\("
    r"|\bopen\([^)]*[\"'][rwax]b?\+?[\"']"
)
BUILT_ON_THOSE = ("create_file", "replace_file", "write_file", "_owner")
"""Functions of that module that change files by its other functions, and what they do besides is to a file that has
no content yet or loses its name again; or none."""
HARMLESS = re.compile(r"\.open\(\"rb\"\)|\bdisk\.\w+\(|shutil\.disk_usage\(|import shutil")
"""Reading, and the calls of that module."""
SCRATCH = {"upkeep/spill.py": "temporary files of a join, which a join that is begun again makes anew"}
"""Module -> why what it writes needs no point."""
ELSEWHERE = {
    "store/storage.py": {"database.open", "database.write"},
    "peer/link.py": {"peer.send"},
    "http/answer.py": {"http.answer"},
}
"""Modules that pass a point around something else than a file's change."""
RAW_CALLS = {"plyvel.DB(": 1, ".write_batch(": 1, "self._transport.write(": 1, "await self._send(": 1}
"""What those modules do between `before` and `after`, and how often it may stand in the sources."""


def modules() -> Iterator[tuple[str, str]]:
    for path in sorted(NODE.rglob("*.py")):
        yield path.relative_to(NODE).as_posix(), path.read_text(encoding="utf-8")


def test_s1_only_one_module_changes_files() -> None:
    found = [
        (name, match.group())
        for name, text in modules()
        for line in text.splitlines()
        for match in FILE_CHANGES.finditer(HARMLESS.sub("", line))
        if name not in (DISK, *SCRATCH)
    ]
    assert found == []
    assert FILE_CHANGES.search("os.fsync(file)")
    assert FILE_CHANGES.search("path.unlink()")
    assert FILE_CHANGES.search('open(path, "wb")')


def test_s1_the_one_module_passes_a_point_around_every_change() -> None:
    tree = ast.parse((NODE / DISK).read_text(encoding="utf-8"))
    for function in tree.body:
        if not isinstance(function, ast.FunctionDef) or function.name in BUILT_ON_THOSE:
            continue
        calls = [
            node.func.attr for node in ast.walk(function) if isinstance(node, ast.Call) and hasattr(node.func, "attr")
        ]
        if function.name == "sync_directory":
            continue
        assert {"before", "after"} <= set(calls), function.name


def test_s1_database_writes_and_sends_stand_between_the_moments_of_a_point() -> None:
    counts = dict.fromkeys(RAW_CALLS, 0)
    for name, text in modules():
        for raw in RAW_CALLS:
            counts[raw] += text.count(raw) if name in ELSEWHERE else 0
            assert name in ELSEWHERE or raw not in text or raw == "await self._send(", (name, raw)
    assert counts == RAW_CALLS
    for name, points in ELSEWHERE.items():
        text = (NODE / name).read_text(encoding="utf-8")
        for point in points:
            start, end = text.index(f'fault_points.before("{point}")'), text.index(f'fault_points.after("{point}")')
            assert any(raw in text[start:end] for raw in RAW_CALLS), (name, point)


def named_points() -> set[str]:
    """Every point that a call names; `create_file` and `replace_file` add the last part."""
    parts = {
        "create_file": ("write", "sync"),
        "replace_file": ("discard", "write", "sync", "rename", "directory_sync"),
    }
    found = set()
    for name, text in modules():
        if name in (DISK, "store/fault_points.py"):
            continue
        for node in ast.walk(ast.parse(text)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id in ("disk", "fault_points")):
                continue
            last = node.args[-1]
            if isinstance(last, ast.Constant) and isinstance(last.value, str):
                ends = parts.get(node.func.attr)
                found |= {f"{last.value}.{end}" for end in ends} if ends else {last.value}
    return found


def test_s1_the_table_lists_exactly_the_points_that_are_passed() -> None:
    assert named_points() == set(POINTS)
