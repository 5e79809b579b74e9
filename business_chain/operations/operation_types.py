"""The registry of operations: reading them, and applying them to a ledger.

`parse_operation` turns parsed JSON into a record; `check_shape` judges what needs no state; the operation's rule judges
the rest and changes the ledger. Adding one means a record, a rule, and one declaration in `OPERATIONS` with the
protocol version since which it is available: in blocks of older versions it does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from business_chain.ledger import Ledger
from business_chain.operations import (
    accounts,
    binding_operations,
    governance,
    operation_records,
    products,
    registrations,
    subjects,
)
from business_chain.operations.fields import shown
from business_chain.operations.operation_records import Operation
from business_chain.operations.strict_forms import read_operation
from business_chain.refusals import refuse
from business_chain.settings import DEFAULT_ROLE
from common.chain import policy
from common.chain.governance import GOVERNANCE_TYPES
from common.chain.policy import OperationType
from common.chain.signers import GOVERNANCE_ROLE
from common.core.protocol import VersionedTable

_Rule = Callable[[Any, Ledger], None]


def set_policy(operation: operation_records.SetPolicy, ledger: Ledger) -> None:
    """Raises as `common.chain.policy.set_policy`."""
    types = OPERATIONS.at(ledger.context.protocol_version)
    policy.set_policy(ledger.state, ledger.context, types, operation.rules, operation.height, operation.replaces)


_RULES: Final[dict[type[Operation], _Rule]] = {
    operation_records.RegisterSubject: subjects.register_subject,
    operation_records.OpenAccount: accounts.open_account,
    operation_records.FreezeAccount: accounts.freeze_account,
    operation_records.UnfreezeAccount: accounts.unfreeze_account,
    operation_records.CloseAccount: accounts.close_account,
    operation_records.IssueProduct: products.issue_product,
    operation_records.RegisterInitially: registrations.register_initially,
    operation_records.Increase: registrations.increase,
    operation_records.Transfer: registrations.transfer,
    operation_records.Pledge: binding_operations.pledge,
    operation_records.Release: binding_operations.release,
    operation_records.Freeze: binding_operations.freeze,
    operation_records.Unfreeze: binding_operations.unfreeze,
    operation_records.ChangeValidators: governance.change_validators,
    operation_records.ActivateProtocol: governance.activate_protocol,
    operation_records.SetSigner: governance.set_signer,
    operation_records.RemoveSigner: governance.remove_signer,
    operation_records.SetParameters: governance.set_parameters,
    operation_records.SetPolicy: set_policy,
}


@dataclass(frozen=True, eq=False)
class BusinessOperation(OperationType):
    """An operation as it is declared: its record class and its rule, besides what the policy has to know."""

    record: type[Operation] = Operation
    rule: _Rule = lambda operation, ledger: None


OPERATIONS: Final = VersionedTable[BusinessOperation]("operation of a business chain")
"""Operation type -> what a business chain does with it."""
for _record, _rule in _RULES.items():
    _governs = _record.TYPE in GOVERNANCE_TYPES
    _makers = (GOVERNANCE_ROLE,) if _governs else (DEFAULT_ROLE,)
    OPERATIONS.add(_record.TYPE, BusinessOperation(_makers, _governs, _record, _rule), since=1)
OPERATION_RECORDS: Final[dict[str, type[Operation]]] = {record.TYPE: record for record in _RULES}
"""Operation type -> record class, for documents."""


def parse_operation(document: Mapping[str, Any], types: Mapping[str, BusinessOperation]) -> Operation:
    """The typed record of one operation, whose type is one of `types`.

    Raises `Malformed` or `RuleBroken`, naming the field.
    """
    operation_type = document.get("type")
    if type(operation_type) is not str:
        raise refuse("field_missing" if operation_type is None else "field_type", field="type")
    declared = types.get(operation_type)
    if declared is None:
        raise refuse("operation_type_unknown", operation_type=shown(operation_type))
    return read_operation(declared.record, document, operation_type)


def check_shape(operation: Operation) -> int:
    """Rules between the fields of one operation; how many holders or parts it lists. Raises `Rejected`."""
    match operation:
        case operation_records.Transfer():
            registrations.check_transfer_shape(operation)
        case operation_records.Increase():
            registrations.check_increase_shape(operation)
            return len(operation.entries)
        case operation_records.Pledge():
            binding_operations.check_pledge_shape(operation)
            return len(operation.parts)
        case operation_records.Freeze():
            binding_operations.check_freeze_shape(operation)
            return len(operation.parts)
        case operation_records.RegisterSubject():
            subjects.check_subject_shape(operation)
    return 0
