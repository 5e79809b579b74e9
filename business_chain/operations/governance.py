"""What a quorum of organisations decides about a business chain: the operations' fields, handed to the rules that both
tiers share (`common.chain.governance`).

Left out: who may (`common.chain.policy`), when a scheduled change takes effect, `policy.set` (`registry`, which knows
the operations that there are).
"""

from __future__ import annotations

import msgspec

from business_chain.ledger import Ledger
from business_chain.operations.operation_records import (
    ActivateProtocol,
    ChangeValidators,
    RemoveSigner,
    SetParameters,
    SetSigner,
)
from common.chain import governance, governed_parameters, signers
from common.chain.schedule import schedule_protocol


def change_validators(operation: ChangeValidators, ledger: Ledger) -> None:
    """Raises as `common.chain.governance.change_validators`."""
    members = [msgspec.structs.asdict(entry) for entry in operation.validators]
    governance.change_validators(ledger.state, ledger.context, members, operation.effective_height, operation.replaces)


def activate_protocol(operation: ActivateProtocol, ledger: Ledger) -> None:
    """Raises as `schedule_protocol`."""
    schedule_protocol(ledger.state, ledger.context, operation.version, operation.height, operation.replaces)


def set_parameters(operation: SetParameters, ledger: Ledger) -> None:
    """Raises as `common.chain.governed_parameters.set_parameters`."""
    governed_parameters.set_parameters(
        ledger.state, ledger.context, operation.values, operation.height, operation.replaces
    )


def set_signer(operation: SetSigner, ledger: Ledger) -> None:
    """Raises as `common.chain.governance.set_signer`."""
    stated = {name: value for name, value in msgspec.structs.asdict(operation).items() if value is not None}
    governance.set_signer(ledger.state, ledger.context, operation.public_key, signers.signer_of(stated))


def remove_signer(operation: RemoveSigner, ledger: Ledger) -> None:
    """Raises as `common.chain.governance.remove_signer`."""
    governance.remove_signer(ledger.state, ledger.context, operation.public_key)
