"""The table of docs/api.md and the roles of the custody chain's routes say the same."""

from __future__ import annotations

import re
from pathlib import Path

from common.node.access import SUPERVISORS, Role
from custody_chain.routes import _ROUTES

TABLE = Path(__file__).parents[3] / "docs" / "api.md"


def told() -> dict[str, frozenset[Role]]:
    """Path, without the names of its parameters -> roles."""
    rows = {}
    text = TABLE.read_text(encoding="utf-8").partition("## Regulators")[2]
    for calls, roles in re.findall(r"^\| `GET (/v1/[^|]*)\| ([a-z, ]+) \|", text, re.M):
        words = set(roles.strip().split(", "))
        named = frozenset(Role(word) for word in words - {"supervisors"})
        rows[calls.split("?")[0].split("`")[0]] = named | (SUPERVISORS if "supervisors" in words else frozenset())
    return rows


def test_the_documented_roles_are_those_of_the_routes() -> None:
    documented = told()
    assert len(documented) >= 6
    routes = {f"/v1{path}".replace(":path", ""): roles for path, _, roles, _ in _ROUTES}
    assert documented == {path: routes[path] for path in documented}
