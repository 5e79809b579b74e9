"""What the client makes of refusals, of one request and of a submission."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from cli import client
from cli.client import Api, _problem
from common.core.errors import Rejected


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


def nodes(
    answers: list[tuple[int, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, asked: list[str] | None = None
) -> Api:
    """A client whose nodes answer like this, one request after the other; `asked` takes their names."""
    api = Api(["https://one", "https://two"], "token", None)
    waiting = iter(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        if asked is not None:
            asked.append(request.url.host)
        status, document = next(waiting)
        return httpx.Response(status, json=document)

    api._http = httpx.Client(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(client.time, "sleep", lambda seconds: None)  # type: ignore[attr-defined]
    return api


@pytest.mark.parametrize("code", ["signer_quota", "share_exhausted"])
def test_a_node_whose_quota_is_full_does_not_end_a_submission_that_another_holds(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = {"code": code, "detail": "come back later"}
    final = {"status": "applied", "height": 7}
    asked: list[str] = []
    with nodes([(202, {"status": "pending"}), (429, full), (200, final)], monkeypatch, asked) as api:
        assert api.submit(b"{}")["height"] == 7
    assert asked == ["one", "two", "one"]


def test_a_refusal_of_what_was_submitted_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with nodes([(409, {"code": "nonce_used", "detail": ""})], monkeypatch) as api, pytest.raises(Rejected) as refusal:
        api.submit(b"{}")
    assert refusal.value.code == "nonce_used"
