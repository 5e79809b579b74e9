"""Evidence transactions, alike on both tiers: proof that validators broke the protocol, judged in consensus.

Operations (a transaction with one of them has nothing else in it)::

    {"type": "validator.accuse", "first": STATEMENT, "second": STATEMENT}
    {"type": "validator.accuse_certificates", "first": certificate hex, "second": certificate hex}

A STATEMENT is `{"kind", "height", "view", "signer", "value", "signature"}` (`common.consensus.contradiction`). Every
validator checks the proof under the set of that height; what holds is entered into the authenticated state::

    evidence/<height>/<view>/<kind>/<public key>    one double statement, with its culprit (numbers: 16 hex digits)
    evidence/<height>/certificates                  two certificates at one height
    accused/<public key>                            {"name", "organisation", "acts"}: who is proven faulty, how often

Invariants
  E1  Culprits are named only from two signatures of one kind, height and view (protocol rule 20, attacks C1, C20).
  E2  An act is entered once: the same again is refused (`accusation_known`) and changes nothing. Of one key at most
      `MAX_ACTS` acts are kept (`accusation_limit`), so a faulty validator cannot fill the state.
  E3  The maker is a registered signer of the chain or a validator of the present set. That validators may submit
      needs no entry in the policy: the proof speaks for itself, and who brings it decides nothing.
  E4  Proofs are accepted for `WINDOW_BLOCKS` blocks, while the set of their height is remembered.

Left out: what follows for the culprit (governance decides: `validators.change`), submitting (`accuser`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from common.chain.application import BlockContext, Outcome, StateReader, StateView
from common.chain.validator_history import set_at
from common.consensus.contradiction import Statement, check_conflicting_certificates, check_double_statement
from common.core.certificate import MAX_CERTIFICATE_BYTES, Certificate
from common.core.codec import canonical_json
from common.core.errors import Conflict, Forbidden, Malformed, RuleBroken
from common.core.genesis import Genesis
from common.core.suite import Suite, parse_hex
from common.core.transaction import SignedTransaction
from common.core.validators import Validator, ValidatorSet

ACCUSE: Final = "validator.accuse"
ACCUSE_CERTIFICATES: Final = "validator.accuse_certificates"
EVIDENCE_TYPES: Final = frozenset({ACCUSE, ACCUSE_CERTIFICATES})
EVIDENCE: Final = b"evidence/"
ACCUSED: Final = b"accused/"
WINDOW_BLOCKS: Final = 100_000
"""As long as a transaction may be valid (protocol rule 12): more than a day at one block a second."""
MAX_ACTS: Final = 16
"""One act proves a key faulty; sixteen show a pattern."""
_FIELDS: Final = frozenset({"type", "first", "second"})
_decode: Final = msgspec.json.Decoder().decode

Act = tuple[Statement, Statement]


def is_evidence(tx: SignedTransaction) -> bool:
    """Whether any operation is of these; such a transaction belongs here, right or wrong."""
    return not EVIDENCE_TYPES.isdisjoint(tx.operation_types)


def culprit_document(member: Validator, suite: Suite) -> dict[str, str]:
    """Who it was, for states and answers."""
    return {
        "name": member.name,
        "organisation": member.organisation,
        "public_key": suite.format_key(member.public_key),
    }


def act_key(suite_key: str, statement: Statement) -> bytes:
    """State key of one act of the validator with this key (text form)."""
    place = f"{statement.height:016x}/{statement.view:016x}/{statement.kind}/{suite_key}"
    return EVIDENCE + place.encode("ascii")


def is_known(state: StateReader, key: bytes, public_key: str) -> bool:
    """Whether an act is entered, or its validator's limit is reached: there is nothing left to submit."""
    return state.get(key) is not None or _acts(state, public_key) >= MAX_ACTS


def check(tx: SignedTransaction, state: StateReader, genesis: Genesis, registered: Callable[[str], bool]) -> None:
    """Admission: everything but the window, which only a height decides. Raises `Rejected`."""
    _judge(tx, state, genesis, registered)


def execute(
    tx: SignedTransaction, context: BlockContext, state: StateView, registered: Callable[[str], bool]
) -> Outcome:
    """Enter what the transaction proves. Raises `Rejected` with a code of this module or of `contradiction`."""
    judged = _judge(tx, state, context.genesis, registered)
    if judged.height > context.height:
        raise RuleBroken("accusation_future", "The chain has not reached that height.", height=judged.height)
    if judged.height < context.height - WINDOW_BLOCKS:
        raise RuleBroken("accusation_too_old", "Evidence of that height is no longer taken.", height=judged.height)
    suite = context.genesis.suite
    place = {
        "tx_id": tx.id.hex(),
        "included_height": context.height,
        "included_time_ms": context.time_ms,
        "submitter": tx.signers[0],
    }
    for member, (first, second) in judged.fresh:
        key = suite.format_key(member.public_key)
        accused = {"name": member.name, "organisation": member.organisation, "acts": _acts(state, key) + 1}
        state.put(ACCUSED + key.encode("ascii"), canonical_json(accused))
        entry = {
            "culprits": [culprit_document(member, suite)],
            "kind": first.kind,
            "height": first.height,
            "view": first.view,
            "first": first.to_json(),
            "second": second.to_json(),
        }
        state.put(act_key(key, first), canonical_json(entry | place))
    if judged.certificates is not None:
        ours, theirs = judged.certificates
        entry = {
            "culprits": [culprit_document(member, suite) for member, _ in judged.named],
            "kind": "certificates",
            "height": judged.height,
            "view": ours.view if ours.view == theirs.view else None,
            "first": ours.encode().hex(),
            "second": theirs.encode().hex(),
        }
        state.put(_certificates_key(judged.height), canonical_json(entry | place))
    return Outcome()


class _Judged:
    """What a transaction proves: `named` every culprit with the act, `fresh` those that are not entered yet."""

    def __init__(self, height: int) -> None:
        self.height = height
        self.named: list[tuple[Validator, Act]] = []
        self.fresh: list[tuple[Validator, Act]] = []
        self.certificates: tuple[Certificate, Certificate] | None = None


def _judge(tx: SignedTransaction, state: StateReader, genesis: Genesis, registered: Callable[[str], bool]) -> _Judged:
    if len(tx.operations) != 1:
        raise Malformed("accusation_not_alone", "Evidence is the only operation of its transaction.")
    operation = tx.operations[0]
    if operation.keys() != _FIELDS:
        raise Malformed("accusation_fields", "Evidence has exactly the fields type, first and second.")
    _check_submitters(tx, state, genesis, registered)
    if operation["type"] == ACCUSE:
        return _judge_statements(operation, state, genesis)
    return _judge_certificates(operation, state, genesis)


def _check_submitters(
    tx: SignedTransaction, state: StateReader, genesis: Genesis, registered: Callable[[str], bool]
) -> None:
    """E3."""
    present = set_at(state, genesis, None)
    for signer in tx.signers:
        key = genesis.suite.parse_key(signer)
        if not registered(signer) and (present is None or present.index_of(key) is None):
            raise Forbidden(
                "accuser_unknown", "Evidence is submitted by a registered signer or a validator.", signer=signer
            )


def _set_of(state: StateReader, genesis: Genesis, height: int) -> ValidatorSet:
    validators = set_at(state, genesis, height)
    if validators is None:
        raise RuleBroken("accusation_too_old", "The validator set of that height is forgotten.", height=height)
    return validators


def _judge_statements(operation: dict[str, Any], state: StateReader, genesis: Genesis) -> _Judged:
    first, second = Statement.from_json(operation["first"]), Statement.from_json(operation["second"])
    suite = genesis.suite
    validators = _set_of(state, genesis, first.height)
    member = check_double_statement(first, second, validators, suite, genesis.id, genesis.network)
    key = suite.format_key(member.public_key)
    if state.get(act_key(key, first)) is not None:
        raise Conflict("accusation_known", "This act is on the chain already.", name=member.name, height=first.height)
    if _acts(state, key) >= MAX_ACTS:
        raise Conflict("accusation_limit", "Enough acts of this validator are on the chain.", name=member.name)
    judged = _Judged(first.height)
    judged.named = judged.fresh = [(member, (first, second))]
    return judged


def _judge_certificates(operation: dict[str, Any], state: StateReader, genesis: Genesis) -> _Judged:
    first, second = (_certificate(operation[name], name) for name in ("first", "second"))
    suite = genesis.suite
    validators = _set_of(state, genesis, first.height)
    acts = check_conflicting_certificates(first, second, validators, suite, genesis.id, genesis.network)
    if state.get(_certificates_key(first.height)) is not None:
        raise Conflict(
            "accusation_known", "A contradiction at this height is on the chain already.", height=first.height
        )
    judged = _Judged(first.height)
    judged.certificates = (first, second)
    judged.named = [(validators.members[act[0].signer], act) for act in acts]
    for member, act in judged.named:
        key = suite.format_key(member.public_key)
        if not is_known(state, act_key(key, act[0]), key):
            judged.fresh.append((member, act))
    return judged


def _certificate(value: Any, field: str) -> Certificate:
    if not isinstance(value, str) or not 2 <= len(value) <= 2 * MAX_CERTIFICATE_BYTES:
        raise Malformed("accusation_fields", f"{field} is not a certificate in hex.", field=field)
    return Certificate.decode(parse_hex(value, field))


def _certificates_key(height: int) -> bytes:
    return EVIDENCE + b"%016x/certificates" % height


def _acts(state: StateReader, public_key: str) -> int:
    data = state.get(ACCUSED + public_key.encode("ascii"))
    return 0 if data is None else int(_decode(data)["acts"])
