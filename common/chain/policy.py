"""Who may make an operation, and who must have approved it (maker and checkers, 经办与复核), alike on both tiers.

The signers of a transaction are the maker, then the checkers in the order of the policy. State key `policy`: the rules
that genesis and governance have chosen (`scheduled`)::

    operation type -> {"checkers": [[roles], ...], "maker": [roles]}

A type without one has the default that its operation declares.

Invariants
  P1  Every signer is registered, whether or not its approval is needed.
  P2  No two signers of one transaction are the same person, even with different keys. A key without a stated person
      is the unnamed person of its organisation (`signers`).
  P3  The n-th checker's role is one of the n-th list of the policy; further signers are allowed and prove nothing.
  P4  Operations that govern need, whatever the policy says, signers of role `governance` from a quorum of the
      organisations that have such keys (protocol rule 21).
  P5  Rights come from genesis, governance and the signatures of a transaction alone (attack R8).
  P6  Whatever governance changes, registered signers can still make and approve `policy.set`: with it they can change
      every other rule back.

Left out: signatures (verified by the node before).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import msgspec

from common.chain.application import BlockContext, StateReader, StateView
from common.chain.continuity import could_be_signed
from common.chain.scheduled import schedule_change, scheduled_change, values_at, values_of, write_initial
from common.chain.signers import (
    EVERY_ROLE,
    GOVERNANCE_KEY,
    GOVERNANCE_ROLE,
    Signer,
    decode_signer,
    governing_in,
    organisation_quorum,
    signer_record,
)
from common.core.errors import Forbidden, Malformed, RuleBroken
from common.core.exact_fields import complaint
from common.core.names import check_identifier

POLICY_KEY: Final = b"policy"
POLICY_SET: Final = "policy.set"
MAX_CHECKERS: Final = 15
"""A transaction has at most 16 signers, the maker included."""
MAX_ROLES: Final = 100


class PolicyRule(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes an operation, and the roles of its checkers: one list of permitted roles a checker, in order."""

    checkers: tuple[tuple[str, ...], ...] = ()
    maker: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As in genesis documents and operations."""
        return {"checkers": [list(roles) for roles in self.checkers], "maker": list(self.maker)}


@dataclass(frozen=True, eq=False)
class OperationType:
    """What the policy has to know of an operation: who may make it by default, and whether it governs the chain. Each
    declaration is itself alone, so that answers are remembered by it.
    """

    makers: tuple[str, ...] = (GOVERNANCE_ROLE,)
    governs: bool = True


_governs: Final = attrgetter("governs")


def parse_policy(
    value: Any, types: Mapping[str, OperationType], *, removing: bool = False, code: str = "policy_invalid"
) -> dict[str, Any]:
    """Chosen rules in canonical form; with `removing`, null takes a type back to its default.

    Raises `Malformed` with `code`, naming the field: a type that is not in `types` is refused.
    """
    wrong = complaint(value, (), types)
    if wrong is not None:
        raise _malformed(code, "policy", f"{wrong}: its fields are operation types of this chain")
    chosen: dict[str, Any] = {}
    for operation_type, rule in value.items():
        if rule is None and removing:
            chosen[operation_type] = None
            continue
        wrong = complaint(rule, {"maker", "checkers"})
        if wrong is not None:
            raise _malformed(code, f"policy.{operation_type}", wrong)
        checkers = rule["checkers"]
        if not isinstance(checkers, list) or len(checkers) > MAX_CHECKERS:
            raise _malformed(
                code, f"policy.{operation_type}.checkers", f"is not a list of at most {MAX_CHECKERS} role lists"
            )
        chosen[operation_type] = PolicyRule(
            maker=_roles(rule["maker"], code, f"policy.{operation_type}.maker"),
            checkers=tuple(_roles(roles, code, f"policy.{operation_type}.checkers") for roles in checkers),
        ).to_json()
    return chosen


def write_initial_policy(state: StateView, chosen: Mapping[str, Any]) -> None:
    """What genesis chooses."""
    write_initial(state, POLICY_KEY, chosen)


def set_policy(
    state: StateView,
    context: BlockContext,
    types: Mapping[str, OperationType],
    rules: Any,
    height: int,
    replaces: int | None,
) -> None:
    """Let other rules hold from `height` on.

    Raises as `parse_policy` and `schedule_change`, and `RuleBroken('governance_lost')` for P6.
    """
    chosen = parse_policy(_by_type(rules), types, removing=True)
    schedule_change(state, POLICY_KEY, context, chosen, height, replaces)
    if POLICY_SET in chosen and not _can_set_policy(state, values_at(state, POLICY_KEY, height)):
        raise _governance_lost()


def change_signers(state: StateView, height: int, roles: set[str], change: Callable[[], None]) -> None:
    """Do a `change` of a registered signer in block `height`, which keeps P6 if it held before.

    `roles` are those of the key before and after. All signers are looked through only if one of them counts, for a
    transaction may change many.

    Raises `RuleBroken('governance_lost')`, and what `change` raises.
    """
    pending = scheduled_change(state, POLICY_KEY, height)
    heights = [height] if pending is None else [height, pending.height]
    policies = [values_at(state, POLICY_KEY, one) for one in heights]
    possible = [policy for policy in policies if _counts(policy, roles) and _can_set_policy(state, policy)]
    change()
    if not all(_can_set_policy(state, policy) for policy in possible):
        raise _governance_lost()


def _counts(chosen: Mapping[str, Any], roles: set[str]) -> bool:
    """Whether a signer of one of `roles` may be needed for `policy.set`."""
    rule = _rule(chosen, POLICY_SET, OperationType())
    wanted = {GOVERNANCE_ROLE, *rule.maker, *[role for place in rule.checkers for role in place]}
    return EVERY_ROLE in wanted or not wanted.isdisjoint(roles)


def _can_set_policy(state: StateReader, chosen: Mapping[str, Any]) -> bool:
    rule = _rule(chosen, POLICY_SET, OperationType())
    return could_be_signed(state, (rule.maker, *rule.checkers))


def _governance_lost() -> RuleBroken:
    return RuleBroken("governance_lost", "The registered signers could not make and approve policy.set any more.")


def _by_type(rules: Any) -> dict[str, Any]:
    """The list of an operation, whose keys cannot be operation types, in the form of a genesis document."""
    if not isinstance(rules, list | tuple):
        raise _malformed("policy_invalid", "rules", "is not a list")
    chosen: dict[str, Any] = {}
    for number, item in enumerate(rules):
        wrong = complaint(item, {"operation_type"}, {"maker", "checkers"})
        if wrong is not None:
            raise _malformed("policy_invalid", f"rules.{number}", wrong)
        operation_type = item["operation_type"]
        if not isinstance(operation_type, str) or operation_type in chosen:
            raise _malformed("policy_invalid", f"rules.{number}", "repeats an operation type or names none")
        chosen[operation_type] = {name: item[name] for name in ("maker", "checkers") if name in item} or None
    return chosen


def rules_at(state: StateReader, types: Mapping[str, OperationType], height: int) -> dict[str, PolicyRule]:
    """The rule of every operation type in block `height`."""
    chosen = values_at(state, POLICY_KEY, height)
    return {name: _rule(chosen, name, operation_type) for name, operation_type in types.items()}


def authorise(
    state: StateReader,
    signers: Sequence[str],
    operation_types: frozenset[str],
    types: Mapping[str, OperationType],
    height: int,
) -> None:
    """Raise unless `signers` may make, and have approved, operations of all `operation_types` in block `height`.

    Every one of them is a key of `types`. Raises `Forbidden` with `signer_unknown`, `approval_same_person`,
    `role_not_allowed`, `approval_missing`, `organisations_too_few`.
    """
    declared = tuple([types[name] for name in operation_types])
    records = tuple([signer_record(state, public_key) for public_key in signers])
    governance = state.get(GOVERNANCE_KEY) if True in map(_governs, declared) else None
    _authorise(tuple(signers), records, operation_types, declared, state.get(POLICY_KEY), governance, height)


@lru_cache(maxsize=4096)
def _authorise(
    public_keys: tuple[str, ...],
    records: tuple[bytes | None, ...],
    operation_types: frozenset[str],
    declared: tuple[OperationType, ...],
    policy: bytes | None,
    governance: bytes | None,
    height: int,
) -> None:
    """`authorise`, given what the state holds; `declared` are the operation types, in the order of their set. That
    signers may is remembered under all that it follows from, for most transactions repeat the question; a refusal is
    made anew.
    """
    known = [_signer(record, public_key) for public_key, record in zip(public_keys, records, strict=True)]
    if len({signer.counted_person for signer in known}) != len(known):
        raise Forbidden("approval_same_person", "Maker and checkers must be different persons.")
    chosen = values_of(policy, height)
    by_name = dict(zip(operation_types, declared, strict=True))
    for name, operation_type in sorted(by_name.items()):
        _check_rule(_rule(chosen, name, operation_type), known, name)
        if operation_type.governs:
            _check_organisations(governance, known, name)


def _rule(chosen: Mapping[str, Any], name: str, declared: OperationType) -> PolicyRule:
    rule = chosen.get(name)
    if rule is None:
        return PolicyRule(maker=declared.makers)
    return PolicyRule(maker=tuple(rule["maker"]), checkers=tuple(map(tuple, rule["checkers"])))


def _signer(record: bytes | None, public_key: str) -> Signer:
    if record is None:
        raise Forbidden("signer_unknown", "A signer's key is not registered on this chain.", signer=public_key)
    return decode_signer(record)


def _check_rule(rule: PolicyRule, signers: Sequence[Signer], operation_type: str) -> None:
    maker, *checkers = signers
    if not _has_role(maker, rule.maker):
        raise Forbidden(
            "role_not_allowed",
            "The maker's role may not make this operation.",
            operation_type=operation_type,
            role=maker.role,
        )
    for index, roles in enumerate(rule.checkers):
        if index >= len(checkers) or not _has_role(checkers[index], roles):
            raise Forbidden(
                "approval_missing",
                "An approval by a checker of the required role is missing.",
                operation_type=operation_type,
                checker=index,
                roles=" ".join(roles),
            )


def _has_role(signer: Signer, roles: Sequence[str]) -> bool:
    return EVERY_ROLE in roles or signer.role in roles


def _check_organisations(governance: bytes | None, signers: Sequence[Signer], operation_type: str) -> None:
    """P4. Counts identifiers, never labels."""
    total = len(governing_in(governance))
    needed = organisation_quorum(total)
    present = len({signer.organisation for signer in signers if signer.role == GOVERNANCE_ROLE})
    if total == 0 or present < needed:
        raise Forbidden(
            "organisations_too_few",
            "Governance needs a quorum of the organisations that have governance keys.",
            operation_type=operation_type,
            present=present,
            needed=needed,
        )


def _roles(value: Any, code: str, field: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_ROLES:
        raise _malformed(code, field, f"is not a list of 1 to {MAX_ROLES} roles")
    return tuple(role if role == EVERY_ROLE else check_identifier(role, field) for role in value)


def _malformed(code: str, field: str, reason: str) -> Malformed:
    return Malformed(code, f"{field} {reason}.", field=field)
