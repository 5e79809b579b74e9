"""The registry of operations: reading them, and applying them to a ledger.

`parse_operation` turns parsed JSON into a record in one strict pass; `check_shape` judges what needs no state; `apply`
judges the rest and changes the ledger. Adding an operation means a record, a rule and one line in each table here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from business_chain.ledger import Ledger
from business_chain.operations import accounts, bindings, governance, products, records, registrations, subjects
from business_chain.operations.fields import read_record, shown
from business_chain.operations.records import Operation
from business_chain.refusals import refuse

_TYPE: Final = frozenset({"type"})
_Rule = Callable[[Any, Ledger], None]

_RULES: Final[dict[type[Operation], _Rule]] = {
    records.RegisterSubject: subjects.register_subject,
    records.OpenAccount: accounts.open_account,
    records.FreezeAccount: accounts.freeze_account,
    records.UnfreezeAccount: accounts.unfreeze_account,
    records.CloseAccount: accounts.close_account,
    records.IssueProduct: products.issue_product,
    records.RegisterInitially: registrations.register_initially,
    records.Increase: registrations.increase,
    records.Transfer: registrations.transfer,
    records.Pledge: bindings.pledge,
    records.Release: bindings.release,
    records.Freeze: bindings.freeze,
    records.Unfreeze: bindings.unfreeze,
    records.ChangeValidators: governance.change_validators,
    records.ActivateProtocol: governance.activate_protocol,
    records.SetSigner: governance.set_signer,
    records.RemoveSigner: governance.remove_signer,
}

OPERATION_RECORDS: Final[dict[str, type[Operation]]] = {record.TYPE: record for record in _RULES}
"""Operation type -> record class."""


def parse_operation(document: Mapping[str, Any]) -> Operation:
    """The typed record of one operation. Raises `Malformed` or `RuleBroken`, naming the field."""
    operation_type = document.get("type")
    if type(operation_type) is not str:
        raise refuse("field_missing" if operation_type is None else "field_type", field="type")
    record = OPERATION_RECORDS.get(operation_type)
    if record is None:
        raise refuse("operation_type_unknown", operation_type=shown(operation_type))
    return read_record(record, document, beside=_TYPE)


def check_shape(operation: Operation) -> None:
    """Rules between the fields of one operation. Raises `Rejected`."""
    match operation:
        case records.Transfer():
            registrations.check_transfer_shape(operation)
        case records.Increase():
            registrations.check_increase_shape(operation)
        case records.Pledge():
            bindings.check_pledge_shape(operation)
        case records.Freeze():
            bindings.check_freeze_shape(operation)
        case records.RegisterSubject():
            subjects.check_subject_shape(operation)


def listed(operation: Operation) -> int:
    """How many holders or parts an operation lists."""
    match operation:
        case records.Increase():
            return len(operation.entries)
        case records.Pledge() | records.Freeze():
            return len(operation.parts)
    return 0


def apply(operation: Operation, ledger: Ledger) -> None:
    """Judge an operation against the ledger and apply it. Raises `Rejected`; the caller then drops all changes."""
    _RULES[type(operation)](operation, ledger)
