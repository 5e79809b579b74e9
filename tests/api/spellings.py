"""Every integer that a route takes in its path or query, spelled in ways that are not the plain one."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from tests.api.server import LiveServer

SPELLINGS = ("1_0", "+1", " 1", "1 ", "-0", "01", "1.0", "1e1", "0x1", "\uff11", "9" * 17)


def refuse_other_spellings(server: LiveServer, network: str, *roles: str) -> int:
    """Ask every GET route of the OpenAPI document that one of `roles` may ask; the number of integers tried."""
    tried = 0
    with server.client(roles[0]) as client:
        paths = client.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        described = [item for item in methods.get("get", {}).get("parameters", ()) if item["in"] != "header"]
        for wanted in (item for item in described if '"integer"' in json.dumps(item["schema"])):
            tried += 1
            for spelling in SPELLINGS:
                _refused(server, roles, path, described, {"network": network, wanted["name"]: spelling})
    return tried


def _refused(
    server: LiveServer, roles: tuple[str, ...], path: str, described: list[dict[str, Any]], values: dict[str, str]
) -> None:
    places: dict[str, dict[str, str]] = {"path": {}, "query": {}}
    for item in described:
        if item["required"] or item["name"] in values:
            places[item["in"]][item["name"]] = values.get(item["name"], "1")
    url = path.format(**{name: quote(value) for name, value in places["path"].items()})
    answers = []
    for role in roles:
        with server.client(role) as client:
            answer = client.get(url, params=places["query"])
        answers.append((answer.status_code, answer.json()["code"]))
    assert (400, "request_invalid") in answers, (url, places["query"], answers)
