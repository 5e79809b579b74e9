"""How a chain is governed: who signs now and later, protocol versions, and what is unhealthy about the set.

`GET /v1/networks/{network}/governance` of the node's own network. `findings` are published, so that nobody has to hold
the validators' list against the organisations: code, and the parameters that belong to it. Nothing that a market has
registered is in it, so every chain reader may ask on either tier (docs/adr/0063).

Left out: who may govern (`options`), proof (the headers commit the sets; state keys `chain/...` can be proven).
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from common.chain.governance import PARAMETERS_SET, POLICY_SET
from common.chain.governed_parameters import PARAMETERS_KEY
from common.chain.policy import POLICY_KEY
from common.chain.schedule import MAX_SEATS_FIELD, Activation, activations, protocol_version, scheduled_set
from common.chain.scheduled import scheduled_change
from common.core.membership import concentrated
from common.core.protocol import supported_versions
from common.core.validators import ValidatorSet
from common.node.access import CHAIN_READERS
from common.node.http.context import Network, Node, require_role
from common.node.http.node_ports import GovernedRules
from common.node.store.committed_state import CommittedState

router = APIRouter(prefix="/v1/networks", tags=["Node interface"], dependencies=[Depends(require_role(CHAIN_READERS))])


@router.get("/{network}/governance")
async def governance(network: Network, node: Node) -> dict[str, Any]:
    """Validators of the next height, what is scheduled, protocol versions, and findings about the sets."""
    genesis, height = node.genesis, node.chain.tip().height
    state = CommittedState(node.chain)
    present, scheduled = node.chain.validators(height + 1), scheduled_set(state, genesis.suite)
    known = activations(state)
    pending = [activation for activation in known if activation.height > height + 1]
    following = None
    findings = _findings(present, "validators")
    if scheduled is not None:
        following = {"effective_height": scheduled.effective_height, **_set(scheduled.validators, node)}
        findings += _findings(scheduled.validators, "scheduled")
    findings += [
        {"code": "protocol_version_unsupported", **_document(activation)}
        for activation in pending
        if activation.version not in supported_versions()
    ]
    return {
        "network": network,
        "height": height,
        **_set(present, node),
        "max_seats_per_organisation": genesis.application.get(MAX_SEATS_FIELD),
        "scheduled": following,
        "protocol": {
            "version": protocol_version(state, genesis, height + 1),
            "genesis_version": genesis.protocol_version,
            "supported_versions": list(supported_versions()),
            "activations": [_document(activation) for activation in known],
            "scheduled": [_document(activation) for activation in pending],
        },
        "pending": _pending(state, node, height + 1),
        "findings": findings,
    }


def _pending(state: CommittedState, node: Node, height: int) -> list[dict[str, Any]]:
    """Parameters, rules of approval and supervisory rules that wait; `height` is what `replaces` names."""
    pending = []
    for operation, key, field in ((PARAMETERS_SET, PARAMETERS_KEY, "values"), (POLICY_SET, POLICY_KEY, "rules")):
        change = scheduled_change(state, key, height)
        if change is not None:
            pending.append({"operation": operation, "height": change.height, field: change.values})
    if isinstance(node.application, GovernedRules):
        pending += node.application.pending_rules(state, height)
    return pending


def _set(validators: ValidatorSet, node: Node) -> dict[str, Any]:
    return {
        "quorum": validators.quorum,
        "fault_bound": validators.fault_bound,
        "validators_hash": validators.hash(node.suite).hex(),
        "validators": validators.to_json(node.suite),
    }


def _document(activation: Activation) -> dict[str, int]:
    return {"height": activation.height, "version": activation.version}


def _findings(validators: ValidatorSet, where: str) -> list[dict[str, Any]]:
    """An organisation that alone can stop the chain."""
    return [
        {"code": "organisation_concentrated", "set": where, "organisation": organisation, "seats": seats}
        for organisation, seats in concentrated(validators).items()
    ]
