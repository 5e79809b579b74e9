"""The custody chain's operations: since which protocol version each is available, its shape and its rule.

Adding one means a declaration in `OPERATIONS`; in blocks of older versions it does not exist. A rule gets the
scope of its operation and the operation; it raises `Rejected` to refuse, and the transaction then changes nothing.

Left out: what the rules do (`anchoring`, `governance`, `common.chain`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from common.chain import governance as shared
from common.chain.application import BlockContext, StateView
from common.chain.policy import OperationType, set_policy
from common.chain.signers import EVERY_ROLE, GOVERNANCE_ROLE
from common.core.errors import Malformed
from common.core.protocol import VersionedTable
from common.core.transaction import SignedTransaction
from crosslink.lightclient.delivery import MISBEHAVIOUR, SUBMIT, parse_misbehaviour, parse_submit
from custody_chain import governance
from custody_chain.anchoring import Anchoring, Source
from custody_chain.operation_names import REGION_RECOVER, REGION_REGISTER, RULES_SET
from custody_chain.records import Records

Document = dict[str, Any]
RELAY_ROLE: Final = "relay"


@dataclass(frozen=True, slots=True)
class OperationScope:
    """Where an operation is applied: the block, the state, typed access to it, and what brought the operation."""

    view: StateView
    records: Records
    context: BlockContext
    source: Source


@dataclass(frozen=True, eq=False)
class CustodyOperation(OperationType):
    """An operation as it is declared, besides what the policy has to know."""

    check_shape: Callable[[Document], object] = governance.check_shape
    """What can be judged without state. Raises `Rejected`."""
    rule: Callable[[OperationScope, Document], None] = lambda scope, operation: None


OPERATIONS: Final = VersionedTable[CustodyOperation]("operation of the custody chain")
"""Operation type -> what the custody chain does with it."""


def known_operations(tx: SignedTransaction, version: int) -> Mapping[str, CustodyOperation]:
    """The operations that a block of this version knows, once it knows those of a transaction.

    Raises `Malformed('operation_type_unknown')`.
    """
    known = OPERATIONS.at(version)
    for number, operation in enumerate(tx.operations):
        if operation["type"] not in known:
            raise Malformed(
                "operation_type_unknown",
                "This chain does not know the operation type.",
                operation_type=ascii(operation["type"][:64])[1:-1][:64],
                operation_index=number,
            )
    return known


def _submit(scope: OperationScope, operation: Document) -> None:
    delivery = parse_submit(operation)
    Anchoring(scope.records, scope.context, scope.source, delivery.region).submit(delivery)


def _misbehaviour(scope: OperationScope, operation: Document) -> None:
    evidence = parse_misbehaviour(operation)
    Anchoring(scope.records, scope.context, scope.source, evidence.region).misbehaviour(evidence)


def _set_policy(scope: OperationScope, operation: Document) -> None:
    types = OPERATIONS.at(scope.context.protocol_version)
    set_policy(scope.view, scope.context, types, operation["rules"], operation["height"], operation.get("replaces"))


def _governs(rule: Callable[[OperationScope, Document], None]) -> CustodyOperation:
    return CustodyOperation((GOVERNANCE_ROLE,), True, governance.check_shape, rule)


for _name, _operation in {
    SUBMIT: CustodyOperation((RELAY_ROLE,), False, parse_submit, _submit),
    MISBEHAVIOUR: CustodyOperation((EVERY_ROLE,), False, parse_misbehaviour, _misbehaviour),
    REGION_REGISTER: _governs(lambda scope, document: governance.register(scope.records, scope.context, document)),
    REGION_RECOVER: _governs(
        lambda scope, document: governance.recover(scope.records, scope.context, document, scope.source.tx_id)
    ),
    RULES_SET: _governs(lambda scope, document: governance.set_rule(scope.records, scope.context, document)),
    shared.VALIDATORS_CHANGE: _governs(
        lambda scope, document: governance.change_validators(scope.view, scope.context, document)
    ),
    shared.PROTOCOL_ACTIVATE: _governs(
        lambda scope, document: governance.activate_protocol(scope.view, scope.context, document)
    ),
    shared.PARAMETERS_SET: _governs(
        lambda scope, document: governance.set_parameters(scope.view, scope.context, document)
    ),
    shared.POLICY_SET: _governs(_set_policy),
    shared.SIGNER_SET: _governs(lambda scope, document: governance.set_signer(scope.view, scope.context, document)),
    shared.SIGNER_REMOVE: _governs(
        lambda scope, document: governance.remove_signer(scope.view, scope.context, document)
    ),
}.items():
    OPERATIONS.add(_name, _operation, since=1)
