"""Generate the JSON Schemas of the seven data-object kinds from the field dictionary of the cross-chain data model.

    python tools/generate_schemas.py data_model.yaml common/model/kinds

Run once for a version of the data model, with any Python that has PyYAML; the output is committed and pinned by hash
in the custody chain's genesis, so that all validators judge by the same bytes (protocol rule 18). Nothing at run time
reads the dictionary.

What the schemas say, and why:
  * JSON Schema 2020-12, and of it only keywords that every validator library evaluates alike: `type`, `properties`,
    `required`, `items`, `enum`, `const`, `oneOf`, `maxLength`, `minLength`, `minimum`, `$defs` with local `$ref`, and
    the schema `false`. No `format`, `pattern`, `multipleOf`, no remote reference: dates are strings of any form here.
  * Names, nesting, types, lengths, codes and required fields are those of the model v2.0.0; `header.remark`,
    `header.seal` and the operation `overwrite` come from JR/T 0314-2024. Unknown keys pass, as in the model.
  * One schema a kind, so `content.type` and body key cannot disagree: the own body key is required, the six others
    are forbidden.
  * A body is required here. A `delete` has none and is judged without a schema (JR/T 0314-2024: empty body).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

SCALARS = {
    "string": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "date": "string",
    "date-time": "string",
}
MODEL_PROTOCOL = "区域性股权市场跨链业务数据模型"
OPERATIONS = ["create", "update", "overwrite", "delete"]


def codes_of(model: dict[str, Any], name: str) -> list[Any]:
    """The permitted codes of one enumeration, in the order of the dictionary."""
    entry = model["enums"][name]
    return list(entry["codes"]) if "codes" in entry else list(entry["values"])


def field_schema(model: dict[str, Any], field: dict[str, Any]) -> dict[str, Any]:
    """The schema of one field without its children."""
    kind = field["type"]
    if kind == "file[]":
        return {"type": "array", "items": {"$ref": "#/$defs/file"}}
    if kind.endswith("[]"):
        return {"type": "array", "items": field_schema(model, {**field, "type": kind[:-2]})}
    if kind == "object":
        return {"type": "object"}
    schema: dict[str, Any] = {"type": SCALARS[kind]}
    if "max" in field:
        schema["maxLength"] = field["max"]
    if "enum" in field:
        schema["enum"] = codes_of(model, field["enum"])
    return schema


def insert(model: dict[str, Any], root: dict[str, Any], path: str, field: dict[str, Any]) -> None:
    """Put one field into the tree at its dotted path; `name[]` steps into the items of a list."""
    *parents, name = path.split(".")
    group = root
    for parent in parents:
        child = group["properties"][parent.removesuffix("[]")]
        group = child["items"] if parent.endswith("[]") else child
    group.setdefault("properties", {})[name] = field_schema(model, field)
    if field["required"] is True:
        group.setdefault("required", []).append(name)
    elif field["required"] == "one_of":
        group.setdefault("oneOf", []).append({"required": [name]})


def header_schema(model: dict[str, Any], content_type: str) -> dict[str, Any]:
    """The object header of JR/T 0314-2024 for one kind."""
    text = {"type": "string"}
    seal = {
        "type": "object",
        "properties": {
            "pub_key": {
                "type": "object",
                "properties": {"type": {**text, "maxLength": 64}, "value": {**text, "maxLength": 512}},
            },
            "digest_algo": {**text, "maxLength": 32},
            "signature": {**text, "maxLength": 1024},
        },
    }
    return {
        "type": "object",
        "required": ["model", "content"],
        "properties": {
            "model": {
                "type": "object",
                "required": ["protocol", "version"],
                "properties": {
                    "protocol": {"const": MODEL_PROTOCOL},
                    "version": {"enum": model["meta"]["model_versions_accepted"]},
                },
            },
            "content": {
                "type": "object",
                "required": ["type", "object_id", "version", "operation", "timestamp"],
                "properties": {
                    "type": {"const": content_type},
                    "object_id": {"type": "string", "minLength": 1, "maxLength": 128},
                    "version": {"type": "integer", "minimum": 0},
                    "operation": {"enum": OPERATIONS},
                    "timestamp": {"type": "integer", "minimum": 0},
                },
            },
            "remark": {**text, "maxLength": 2048},
            "seal": {"type": "array", "items": seal},
        },
    }


def file_schema(model: dict[str, Any]) -> dict[str, Any]:
    """The file object that lists of files hold."""
    properties = {
        name: field_schema(model, {**field, "type": field["type"]}) for name, field in model["file_object"].items()
    }
    properties["term_of_validity_type"]["enum"] = ["0", "1"]
    return {"type": "object", "properties": properties}


def kind_schema(model: dict[str, Any], name: str) -> dict[str, Any]:
    """The complete schema of one kind of data object."""
    kind = model["kinds"][name]
    body: dict[str, Any] = {"type": "object"}
    for path, field in kind["fields"].items():
        insert(model, body, path, field)
    others = sorted(other["body_key"] for other in model["kinds"].values() if other is not kind)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{MODEL_PROTOCOL} 2.0.0: {kind['content_type']}",
        "type": "object",
        "required": ["header", "body"],
        "properties": {
            "header": header_schema(model, kind["content_type"]),
            "body": {
                "type": "object",
                "required": [kind["body_key"]],
                "properties": {kind["body_key"]: body, **dict.fromkeys(others, False)},
            },
        },
        "$defs": {"file": file_schema(model)},
    }


def main() -> None:
    """Write one file a kind, named by its content type."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    model = yaml.safe_load(source.read_text(encoding="utf-8"))
    for name, kind in model["kinds"].items():
        text = json.dumps(kind_schema(model, name), ensure_ascii=False, indent=1, sort_keys=True)
        (target / f"{kind['content_type']}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
