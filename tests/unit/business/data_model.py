"""JSON Schemas made from the field dictionary of data model v2.0.0, read line by line (the dictionary is written so).

Closed schemas: a field that the dictionary does not have fails, unlike in the model's own schema. The dictionary lies
beside the checkout and not in it; who does not have it cannot run what needs it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DICTIONARY = Path(__file__).resolve().parents[4] / "shared" / "standards" / "data_model.yaml"

_KIND = re.compile(r"  (\w+):\n")
_FIELD = re.compile(r'      "(?P<path>[^"]+)": \{(?P<facts>.*)\}\n')
_ENUM = re.compile(r"  (\w+): \{known: \w+, (?:codes: \[(?P<codes>[^]]*)\]|values: \{(?P<values>.*)\}).*\n")
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\+08:00$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_LEAVES: dict[str, dict[str, Any]] = {
    "string": {"type": "string", "minLength": 1},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "pattern": _DATE},
    "date-time": {"type": "string", "pattern": _TIME},
}


def schemas() -> dict[str, dict[str, Any]]:
    """`header.content.type` -> schema of the body."""
    lines = DICTIONARY.read_text(encoding="utf-8").splitlines(keepends=True)
    enums = _read_enums(lines)
    result: dict[str, dict[str, Any]] = {}
    content_type, root = "", {}
    for line in lines[lines.index("kinds:\n") : _line_of(lines, "extra_kinds:")]:
        stripped = line.strip()
        if _KIND.fullmatch(line):
            root = _group()
        elif stripped.startswith("content_type:"):
            content_type = stripped.split()[1]
        elif stripped.startswith("body_key:"):
            body_key = stripped.split()[1]
            result[content_type] = _group() | {"properties": {body_key: root}, "required": [body_key]}
        elif match := _FIELD.fullmatch(line):
            _add(root, match["path"], match["facts"], enums)
    return result


def _group() -> dict[str, Any]:
    return {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def _line_of(lines: list[str], start: str) -> int:
    return next(index for index, line in enumerate(lines) if line.startswith(start))


def _read_enums(lines: list[str]) -> dict[str, list[int | str]]:
    enums: dict[str, list[int | str]] = {}
    for line in lines[_line_of(lines, "enums:") :]:
        if match := _ENUM.fullmatch(line):
            words = re.findall(r'(?:^|, )("?)(\d+)\1(?=:|,|$)', match["codes"] or match["values"])
            enums[match[1]] = [word if quote else int(word) for quote, word in words]
    return enums


def _add(root: dict[str, Any], path: str, facts: str, enums: dict[str, list[int | str]]) -> None:
    parent = root
    *groups, name = path.split(".")
    for group in groups:
        parent = parent["properties"][group.removesuffix("[]")]
        parent = parent.get("items", parent)
    kind = re.search(r'type: "?([^",}]+)', facts)
    assert kind is not None, facts
    parent["properties"][name] = _schema(kind[1], facts, enums)
    if "required: true" in facts:
        parent["required"].append(name)


def _schema(kind: str, facts: str, enums: dict[str, list[int | str]]) -> dict[str, Any]:
    if kind.endswith("[]"):
        return {"type": "array", "minItems": 1, "items": _schema(kind[:-2], facts, enums)}
    if kind in ("object", "file"):
        return _group()
    schema = dict(_LEAVES[kind])
    if longest := re.search(r"max: (\d+)", facts):
        schema["maxLength"] = int(longest[1])
    if enum := re.search(r"enum: (\w+)", facts):
        schema["enum"] = enums[enum[1]]
    return schema
