"""What `genesis assemble` does with the application part before all organisations found a chain on it.

Nobody can mend a genesis document once a chain runs on it. So the rules of its tier judge it here, and a role that
could do nothing is refused as a slip.
"""

from __future__ import annotations

import importlib
from typing import Any

from cli.running import ENTRIES
from common.core.errors import Malformed
from common.core.genesis import Genesis
from common.core.suite import Suite
from common.model.schemas import model_schema_hash

ROLES = {"business": {"operator", "governance"}, "custody": {"relay", "governance"}}
"""Roles that operations of a tier are made by where `policy` does not say otherwise."""


def complete(application: Any, tier: str, suite: Suite) -> dict[str, Any]:
    """The application part as it stands in the document. Raises Malformed if it is no object.

    For the custody chain, regions may be the roots that `trust export` prints, whose `tier` the document does not have,
    and `model_schema_hash` is that of this program unless it is given: other schemas make another genesis id.
    """
    if not isinstance(application, dict):
        raise Malformed("genesis_application", "application is not an object.", field="application")
    if tier != "custody":
        return application
    completed: dict[str, Any] = {"model_schema_hash": model_schema_hash(suite).hex()} | application
    if isinstance(completed.get("regions"), list):
        completed["regions"] = [_without_tier(region) for region in completed["regions"]]
    return completed


def _without_tier(region: Any) -> Any:
    if isinstance(region, dict) and region.get("tier") == "business":
        return {name: value for name, value in region.items() if name != "tier"}
    return region


def judge(genesis: Genesis) -> list[str]:
    """Apply the tier's own rules. Returns roles that operations wait for and no signer has; raises Malformed naming the
    field, also for a signer whose role no operation waits for."""
    importlib.import_module(ENTRIES[genesis.tier]).application_for(genesis)
    held = [signer["role"] for signer in genesis.application["signers"]]
    wanted = ROLES[genesis.tier] | _named_roles(genesis.application.get("policy", {}))
    for number, role in enumerate(held):
        if role not in wanted:
            raise Malformed(
                "genesis_application",
                f"signers[{number}].role is {role!r}, but no operation is made or checked by that role; roles here: "
                f"{', '.join(sorted(wanted))}. Name it in `policy` if it is meant.",
            )
    return sorted(wanted - set(held))


def _named_roles(policy: dict[str, Any]) -> set[str]:
    lists = [roles for rule in policy.values() for roles in (rule["maker"], *rule["checkers"])]
    return {role for roles in lists for role in roles} - {"*"}
