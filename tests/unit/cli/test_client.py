"""What the client makes of a refusal."""

from __future__ import annotations

import httpx

from cli.client import _problem


def test_a_refusal_names_the_parameters_of_its_code() -> None:
    document = {
        "type": "urn:tongjian:error:field_unknown",
        "title": "Bad request",
        "status": 400,
        "code": "field_unknown",
        "detail": "The operation has a field that its type does not have.",
        "request_id": "r",
        "operation_index": 2,
        "field": "regoin",
        "nested": {"left": "out"},
    }
    error = _problem(httpx.Response(400, json=document))
    assert (error.code, error.parameters["http_status"], error.parameters["operation_index"]) == (
        "field_unknown",
        400,
        2,
    )
    assert error.detail.endswith("(operation_index 2, field regoin)")
