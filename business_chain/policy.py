"""Who may make an operation, and who must have approved it (maker and checkers, 经办与复核).

The signers of a transaction are the maker, then the checkers in the order of the policy. Invariants
  * Every signer is registered, whether or not its approval is needed.
  * No two signers of one transaction are the same person, even with different keys.
  * The n-th checker's role is one of the n-th list of the policy; further signers are allowed and prove nothing.
  * Operations of governance need, whatever the policy says, signers of role `governance` from a quorum of the
    organisations that have such keys (protocol rule 21).

Left out: signatures (verified by the node before).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from business_chain.refusals import refuse
from business_chain.settings import EVERY_ROLE, GOVERNANCE_OPERATIONS, GOVERNANCE_ROLE, MAX_SIGNERS
from business_chain.state import (
    POLICY_KEY,
    SIGNER_PREFIX,
    PolicyRule,
    Signer,
    decode_policy,
    decode_signer,
    signer_key,
)
from common.chain.application import StateReader
from common.core.errors import InvariantBroken


def check_policy(state: StateReader, signers: Sequence[str], operation_types: Iterable[str]) -> None:
    """Raise unless `signers` may make and have approved operations of all `operation_types`.

    Raises `Forbidden` with `signer_unknown`, `approval_same_person`, `role_not_allowed`, `approval_missing`,
    `organisations_too_few`.
    """
    known = [_read_signer(state, signer) for signer in signers]
    if len({signer.person for signer in known}) != len(known):
        raise refuse("approval_same_person")
    policy = _read_policy(state)
    for operation_type in sorted(set(operation_types)):
        _check_rule(policy[operation_type], known, operation_type)
        if operation_type in GOVERNANCE_OPERATIONS:
            _check_organisations(known, governing_organisations(state), operation_type)


def governing_organisations(state: StateReader) -> set[str]:
    """Organisations that have a governance key."""
    return _governing(decode_signer(data) for _, data in state.scan(SIGNER_PREFIX, MAX_SIGNERS))


def _read_signer(state: StateReader, public_key: str) -> Signer:
    data = state.get(signer_key(public_key))
    if data is None:
        raise refuse("signer_unknown", signer=public_key)
    return decode_signer(data)


def _read_policy(state: StateReader) -> dict[str, PolicyRule]:
    data = state.get(POLICY_KEY)
    if data is None:
        raise InvariantBroken("the state of genesis holds no policy")
    return decode_policy(data)


def _check_rule(rule: PolicyRule, signers: Sequence[Signer], operation_type: str) -> None:
    maker, *checkers = signers
    if not _has_role(maker, rule.maker):
        raise refuse("role_not_allowed", operation_type=operation_type, role=maker.role)
    for index, roles in enumerate(rule.checkers):
        if index >= len(checkers) or not _has_role(checkers[index], roles):
            raise refuse("approval_missing", operation_type=operation_type, checker=index, roles=" ".join(roles))


def _has_role(signer: Signer, roles: Sequence[str]) -> bool:
    return EVERY_ROLE in roles or signer.role in roles


def _governing(signers: Iterable[Signer]) -> set[str]:
    return {signer.organisation for signer in signers if signer.role == GOVERNANCE_ROLE}


def _check_organisations(signers: Sequence[Signer], organisations: set[str], operation_type: str) -> None:
    """A quorum as of validators: ceil((n + f + 1) / 2) with f = floor((n - 1) / 3)."""
    count = len(organisations)
    needed = (count + max(0, count - 1) // 3 + 2) // 2
    present = len(_governing(signers))
    if count == 0 or present < needed:
        raise refuse("organisations_too_few", operation_type=operation_type, present=present, needed=needed)
