"""What a next protocol version brings changes nothing of a chain before it is activated, on both tiers."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from business_chain.operations.fields import Text
from business_chain.operations.operation_records import Operation
from business_chain.operations.operation_types import OPERATIONS as BUSINESS
from business_chain.operations.operation_types import BusinessOperation
from common.chain.signers import GOVERNANCE_ROLE
from common.core.errors import Rejected
from common.core.parameters import PARAMETERS, Parameter
from common.core.protocol import rehearse_next_version
from custody_chain.operations import OPERATIONS as CUSTODY
from custody_chain.operations import CustodyOperation, OperationScope
from tests.support.chains import ChainBuilder
from tests.support.custody import Custody
from tests.unit.business.market import Market

QUORUM = ("governance-1", "governance-2", "governance-3")


class Note(Operation, frozen=True, kw_only=True):
    """A dummy operation of the next version."""

    TYPE = "dummy.note"

    text: Annotated[str, Text(64, note="anything")]


def note(work: OperationScope, operation: dict[str, Any]) -> None:
    work.view.put(b"dummy", b'"noted"')


def declare(version: int) -> None:
    """What the next release brings."""
    BUSINESS.add(
        Note.TYPE,
        BusinessOperation(("operator",), False, Note, lambda op, ledger: ledger.state.put(b"dummy", b'"noted"')),
        since=version,
    )
    CUSTODY.add(Note.TYPE, CustodyOperation((GOVERNANCE_ROLE,), False, lambda document: None, note), since=version)
    PARAMETERS.add("dummy_blocks", Parameter(7, 1, 9), since=version)


def test_a_business_chain_is_the_same_under_software_with_a_next_version() -> None:
    old = Market().open_for_business(700, 300)
    with rehearse_next_version() as version:
        declare(version)
        new = Market().open_for_business(700, 300)
        assert (new.genesis.id, new.store.state, new.store.index) == (old.genesis.id, old.store.state, old.store.index)
        operation = new.op(Note.TYPE, text="early")
        for judge in (new.check, new.apply):
            with pytest.raises(Rejected, match="operation_type_unknown"):
                judge(operation)
        new.protocol_version = version
        new.apply(new.op(Note.TYPE, text="in time"))
        assert new.store.state[b"dummy"] == b'"noted"'
        assert Note.TYPE in new.application.operation_types(version)
        assert Note.TYPE not in new.application.operation_types(version - 1)


def test_a_custody_chain_is_the_same_under_software_with_a_next_version() -> None:
    old = Custody([ChainBuilder()])
    with rehearse_next_version() as version:
        declare(version)
        new = Custody([ChainBuilder()])
        assert (new.genesis.id, new.state.values, new.state.index) == (
            old.genesis.id,
            old.state.values,
            old.state.index,
        )
        operation = {"type": Note.TYPE}
        with pytest.raises(Rejected, match="operation_type_unknown"):
            new.execute(new.sign([operation], QUORUM))
        new.protocol_version = version
        new.run([operation], QUORUM)
        assert new.get("dummy") == "noted"


def test_governance_changes_parameters_and_rules_at_a_height() -> None:
    custody = Custody([ChainBuilder()])
    height = custody.height + 3
    changes: list[dict[str, Any]] = [
        {"type": "parameters.set", "values": {"heartbeat_ms": 5_000}, "height": height, "reason": "r"},
        {"type": "rules.set", "id": "holder_cap", "parameters": {"limit": 50}, "from_height": height, "reason": "r"},
        {
            "type": "policy.set",
            "rules": [{"operation_type": "crosslink.submit", "maker": ["operator"], "checkers": []}],
            "height": height,
            "reason": "r",
        },
    ]
    custody.run(changes, QUORUM)
    assert custody.context().parameters.heartbeat_ms == 10_000
    before = custody.application.describe(custody.state, custody.context())["policy"]["crosslink.submit"]
    custody.empty_block()
    assert custody.context().height == height
    assert custody.context().parameters.heartbeat_ms == 5_000
    after = custody.application.describe(custody.state, custody.context())["policy"]["crosslink.submit"]
    assert (before["maker"], after["maker"]) == (["relay"], ["operator"])
    assert custody.get("rules")["rules"]["holder_cap"] == [{"from_height": height, "parameters": {"limit": 50}}]
    with pytest.raises(Rejected, match="change_not_pending"):
        custody.run([{**changes[0], "height": height + 9, "replaces": height}], QUORUM)
