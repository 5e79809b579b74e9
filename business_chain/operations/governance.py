"""Rules of `validators.change`, `protocol.activate`, `signer.set`, `signer.remove`: what a quorum of organisations
decides about the chain.

Source: protocol rules 8 and 21. Who may is judged by `policy` before these run. None of them makes a data object: the
block's header commits the next validators and the protocol version, the state what is scheduled and the signers.
Left out: when a scheduled change takes effect (`common.chain.schedule`); changing the policy of approvals.
"""

from __future__ import annotations

from business_chain.ledger import Ledger
from business_chain.operations.records import ActivateProtocol, ChangeValidators, RemoveSigner, SetSigner
from business_chain.policy import governing_organisations
from business_chain.refusals import refuse
from business_chain.settings import MAX_SIGNERS
from business_chain.state import SIGNER_PREFIX, Signer, encode_value, signer_key
from common.chain.schedule import schedule_protocol, schedule_validators
from common.core.errors import Malformed
from common.core.validators import Validator, ValidatorSet


def change_validators(operation: ChangeValidators, ledger: Ledger) -> None:
    """Raises `validators_invalid`, or as `schedule_validators`."""
    try:
        members = tuple(
            Validator(entry.name, entry.organisation, ledger.suite.parse_key(entry.public_key))
            for entry in operation.validators
        )
        validators = ValidatorSet(members)
    except Malformed as error:
        raise refuse("validators_invalid", reason=error.code) from error
    schedule_validators(ledger.state, ledger.context, validators, operation.effective_height, operation.replaces)


def activate_protocol(operation: ActivateProtocol, ledger: Ledger) -> None:
    """Raises as `schedule_protocol`."""
    schedule_protocol(ledger.state, ledger.context, operation.version, operation.height, operation.replaces)


def set_signer(operation: SetSigner, ledger: Ledger) -> None:
    """Raises `signer_key_invalid`, `signers_too_many`, `governance_lost`."""
    try:
        ledger.suite.parse_key(operation.public_key)
    except Malformed as error:
        raise refuse("signer_key_invalid", reason=error.code) from error
    key = signer_key(operation.public_key)
    if ledger.state.get(key) is None and len(ledger.state.scan(SIGNER_PREFIX, MAX_SIGNERS)) >= MAX_SIGNERS:
        raise refuse("signers_too_many", limit=MAX_SIGNERS)
    before = len(governing_organisations(ledger.state))
    person = operation.public_key if operation.person is None else operation.person
    signer = Signer(organisation=operation.organisation, person=person, role=operation.role)
    ledger.state.put(key, encode_value(signer))
    _check_governance_kept(ledger, before)


def remove_signer(operation: RemoveSigner, ledger: Ledger) -> None:
    """Raises `signer_absent`, `governance_lost`."""
    key = signer_key(operation.public_key)
    if ledger.state.get(key) is None:
        raise refuse("signer_absent", public_key=operation.public_key)
    before = len(governing_organisations(ledger.state))
    ledger.state.delete(key)
    _check_governance_kept(ledger, before)


def _check_governance_kept(ledger: Ledger, before: int) -> None:
    """Somebody governs; and where maker and checker could be of two organisations, they still can."""
    if len(governing_organisations(ledger.state)) < min(before, 2):
        raise refuse("governance_lost")
