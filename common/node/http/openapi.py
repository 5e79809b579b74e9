"""What the OpenAPI document says beyond what FastAPI derives: the submission route, tokens, problem documents.

Left out: the fields of operations, which each tier adds to its own routes' models.
"""

from __future__ import annotations

from typing import Any, Final

from common.node.http.problems import PROBLEM_TYPE
from common.node.http.transactions import MAX_WAIT_S, SUBMIT_PATH

_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable; all codes stand in docs/errors.md."},
        "detail": {"type": "string"},
        "request_id": {"type": "string", "description": "Under this id the node's log knows more."},
        "operation_index": {"type": "integer"},
        "object_id": {"type": "string"},
    },
}
_RECEIPT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["code", "objects", "operation_index", "parameters", "status", "tx_id"],
    "properties": {
        "tx_id": {"type": "string"},
        "status": {"enum": ["applied", "rejected"]},
        "code": {"type": "string"},
        "operation_index": {"type": ["integer", "null"]},
        "parameters": {"type": "object"},
        "objects": {"type": "array", "items": {"type": "array", "description": "[object id, version]"}},
    },
}
_STATE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["tx_id", "status", "final", "height", "index", "receipt"],
    "properties": {
        "tx_id": {"type": "string"},
        "status": {"enum": ["pending", "applied", "rejected", "expired", "unknown"]},
        "final": {"type": "boolean"},
        "height": {"type": ["integer", "null"]},
        "index": {"type": ["integer", "null"]},
        "receipt": {"anyOf": [{"$ref": "#/components/schemas/Receipt"}, {"type": "null"}]},
    },
}
_ENVELOPE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["transaction", "signatures"],
    "additionalProperties": False,
    "properties": {
        "signatures": {"type": "array", "items": {"type": "string", "description": "lowercase hex, one a signer"}},
        "transaction": {
            "type": "object",
            "required": ["network", "genesis", "signers", "nonce", "expires_at_height", "operations"],
            "additionalProperties": False,
            "properties": {
                "network": {"type": "string"},
                "genesis": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                "signers": {"type": "array", "minItems": 1, "maxItems": 16, "items": {"type": "string"}},
                "nonce": {"type": "string", "minLength": 1, "maxLength": 64},
                "expires_at_height": {"type": "integer", "minimum": 1},
                "operations": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 1000,
                    "items": {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}},
                },
            },
        },
    },
}
_SCHEMAS: Final = {"Problem": _PROBLEM, "Receipt": _RECEIPT, "TransactionState": _STATE, "Envelope": _ENVELOPE}


def _reference(name: str, media_type: str = "application/json") -> dict[str, Any]:
    return {"content": {media_type: {"schema": {"$ref": f"#/components/schemas/{name}"}}}}


def _submission() -> dict[str, Any]:
    location = {"Location": {"schema": {"type": "string"}, "description": "Where to follow the transaction."}}
    return {
        "post": {
            "tags": ["Transactions"],
            "summary": "Submit a signed transaction",
            "description": (
                "202 means held in memory: resend the same bytes, to any node, until the receipt or the expiry. "
                f"`Prefer: wait=N` (at most {MAX_WAIT_S} s) waits for the receipt. Resending is the same request."
            ),
            "operationId": "submit_transaction",
            "parameters": [
                {"name": "Prefer", "in": "header", "required": False, "schema": {"type": "string"}, "example": "wait=5"}
            ],
            "requestBody": {"required": True} | _reference("Envelope"),
            "responses": {
                "200": {"description": "Final, with its receipt.", "headers": location}
                | _reference("TransactionState"),
                "202": {"description": "Pending.", "headers": location},
            },
        }
    }


def complete_document(document: dict[str, Any]) -> dict[str, Any]:
    """Add schemas, the bearer scheme, the submission route, and the problem answer of every operation."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas.update(_SCHEMAS)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    document["paths"][SUBMIT_PATH] = _submission() | document["paths"].get(SUBMIT_PATH, {})
    for path, item in document["paths"].items():
        for operation in item.values():
            if path.startswith("/v1"):
                operation["security"] = [{"bearer": []}]
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = {"description": "A refusal."} | _reference("Problem", PROBLEM_TYPE)
    return document
