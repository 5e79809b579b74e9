"""What a quorum of organisations decides about a chain, alike on both tiers.

    validators.change   another validator set signs from a height on            `common.chain.schedule`
    protocol.activate   the next protocol version holds from a height on        `common.chain.schedule`
    parameters.set      other parameters hold from a height on                  `common.chain.governed_parameters`
    policy.set          other rules of approval hold from a height on           `common.chain.policy`
    signer.set          a key is registered, or changes                         `common.chain.signers`
    signer.remove       a key may sign nothing any more                         `common.chain.signers`

Each tier reads the operations in its own form (ADR 0064: those of a business chain carry a business id and the time of
the decision, those of the custody chain do not) and calls the rules of these modules with the fields. None of them
makes a data object: the block's header commits the next validators and the protocol version, the state the rest.

Reference: protocol rules 8 and 21, ADR 0072. Left out: who may (`common.chain.policy`), what a tier governs besides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from common.chain import policy, signers
from common.chain.application import BlockContext, StateView
from common.chain.schedule import schedule_validators
from common.core.errors import Malformed
from common.core.validators import Validator, ValidatorSet

VALIDATORS_CHANGE: Final = "validators.change"
PROTOCOL_ACTIVATE: Final = "protocol.activate"
PARAMETERS_SET: Final = "parameters.set"
POLICY_SET: Final = policy.POLICY_SET
SIGNER_SET: Final = "signer.set"
SIGNER_REMOVE: Final = "signer.remove"
GOVERNANCE_TYPES: Final = frozenset(
    {VALIDATORS_CHANGE, PROTOCOL_ACTIVATE, PARAMETERS_SET, POLICY_SET, SIGNER_SET, SIGNER_REMOVE}
)
"""Operations that need, besides the policy, a quorum of the organisations that have governance keys."""


def change_validators(
    state: StateView,
    context: BlockContext,
    members: Sequence[Mapping[str, Any]],
    effective_height: int,
    replaces: int | None,
) -> None:
    """Let `members` (name, organisation, public_key) sign from `effective_height` on.

    Raises `Malformed('validators_invalid')`, or as `schedule_validators`.
    """
    suite = context.genesis.suite
    try:
        listed = [
            Validator(item["name"], item["organisation"], suite.parse_key(item["public_key"])) for item in members
        ]
        validators = ValidatorSet(tuple(listed))
    except Malformed as error:
        raise Malformed(
            "validators_invalid", "Validators have unique names and safe, unique keys.", reason=error.code
        ) from error
    schedule_validators(state, context, validators, effective_height, replaces)


def set_signer(state: StateView, context: BlockContext, public_key: str, signer: signers.Signer) -> None:
    """Register a key, or change whose it is. Raises as `signers.set_signer` and `policy.change_signers`."""
    before = signers.read_signer(state, public_key)
    policy.change_signers(
        state,
        context.height,
        {signer.role} if before is None else {signer.role, before.role},
        lambda: signers.set_signer(state, context.genesis.suite, public_key, signer),
    )


def remove_signer(state: StateView, context: BlockContext, public_key: str) -> None:
    """A key may sign nothing any more. Raises as `signers.remove_signer` and `policy.change_signers`."""
    before = signers.read_signer(state, public_key)
    policy.change_signers(
        state,
        context.height,
        set() if before is None else {before.role},
        lambda: signers.remove_signer(state, context.genesis.suite, public_key),
    )
