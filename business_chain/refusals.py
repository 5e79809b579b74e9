"""The one table of refusals of the business chain: code, kind, rule in words, and the source of the rule.

Invariants
  * A code is stable: it goes into receipts (consensus) and problem documents (public contract). Prose is neither
    hashed nor parsed.
  * Every `refuse` names a code of this table; a test compares the table with docs/api-operations.md and demands a test
    for each code.

Sources: JR/T 0326-2024 (codes), GB 32100-2015 (unified social credit code), JR/T 0314-2024 (objects), the protocol
rules and the public contract of this project. Rules labelled "registration practice" are this project's own reading of
how a register of members is kept.

Left out: refusals of the envelope, signatures, nonces and expiry (common.core, the executor).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from common.core.errors import Conflict, Forbidden, Malformed, NotFound, Rejected, RuleBroken, TooLarge


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason to refuse an operation."""

    code: str
    kind: type[Rejected]
    rule: str
    source: str


_CONTRACT: Final = "public contract, transactions"
_BOUNDS: Final = "bounds of the chain"
_PRACTICE: Final = "registration practice"
_PRIVACY: Final = "no personal identifier in clear on any chain"
_CODES: Final = "JR/T 0326-2024"

_TABLE: Final = (
    # shape of an operation
    Refusal("operation_type_unknown", Malformed, "This chain does not know the operation type.", _CONTRACT),
    Refusal("field_missing", Malformed, "A required field is missing.", _CONTRACT),
    Refusal("field_unknown", Malformed, "The operation has a field that its type does not have.", _CONTRACT),
    Refusal("field_type", Malformed, "A field has the wrong JSON type.", _CONTRACT),
    Refusal("field_range", Malformed, "A number or a length is outside its range.", _CONTRACT),
    Refusal("field_invalid", Malformed, "A field does not have the form that its meaning demands.", _CONTRACT),
    Refusal("entries_limit", TooLarge, "The operations of one transaction list too many holders or parts.", _BOUNDS),
    # who may do it
    Refusal("signer_unknown", Forbidden, "A signer's key is not registered on this chain.", "policy of the chain"),
    Refusal("role_not_allowed", Forbidden, "The maker's role may not make this operation.", "policy of the chain"),
    Refusal(
        "approval_missing",
        Forbidden,
        "An approval by a checker of the required role is missing.",
        "policy of the chain",
    ),
    Refusal(
        "approval_same_person",
        Forbidden,
        "Maker and checkers must be different persons with different keys.",
        "policy of the chain",
    ),
    Refusal(
        "organisations_too_few",
        Forbidden,
        "Governance needs signers of role governance from a quorum of the organisations that have such keys.",
        "protocol rule 21",
    ),
    Refusal(
        "governance_lost",
        RuleBroken,
        "Governance goes on: two organisations keep a governance key, or the one that had one, and the registered "
        "signers can still make and approve `policy.set`.",
        "protocol rule 21",
    ),
    Refusal(
        "principal_invalid",
        Malformed,
        "Organisations, persons and seats match [a-z0-9-]{1,64}: one spelling for each.",
        "docs/adr/0071",
    ),
    Refusal(
        "parameter_invalid",
        Malformed,
        "The chain has such a parameter, and the value is within its bounds.",
        "docs/adr/0073",
    ),
    Refusal(
        "policy_invalid",
        Malformed,
        "A rule of approval names an operation type of this chain, and roles.",
        "policy of the chain",
    ),
    Refusal("identifier_invalid", Malformed, "A role is an identifier.", "policy of the chain"),
    Refusal("signers_too_many", TooLarge, "There is no room for another registered key.", _BOUNDS),
    Refusal("signer_absent", NotFound, "The key is not registered.", "policy of the chain"),
    Refusal(
        "signer_key_invalid",
        Malformed,
        "The key is no safe public key of the chain's suite.",
        "suite, RFC 8032",
    ),
    Refusal(
        "validators_invalid",
        Malformed,
        "Validators have unique names and safe, unique keys of the chain's suite.",
        "protocol rules, validator sets",
    ),
    Refusal(
        "effective_height_out_of_range",
        RuleBroken,
        "A change takes effect at a later height, at most 100,000 blocks ahead.",
        "protocol rules 8 and 12",
    ),
    Refusal("change_pending", Conflict, "Another change is scheduled; name its height to replace it.", "docs/adr/0050"),
    Refusal("change_not_pending", Conflict, "No change is scheduled for the height to be replaced.", "docs/adr/0050"),
    Refusal("validators_unchanged", RuleBroken, "This set signs already.", "docs/adr/0050"),
    Refusal(
        "validators_quorum_at_risk",
        RuleBroken,
        "Of several newcomers none may be needed for the next set's quorum.",
        "docs/adr/0050",
    ),
    Refusal(
        "validators_seats_exceeded",
        RuleBroken,
        "No organisation has more seats than the genesis allows.",
        "policy of the chain",
    ),
    Refusal(
        "protocol_version_not_next",
        RuleBroken,
        "The next protocol version is the active one plus one.",
        "protocol rule 8",
    ),
    # identity and time of the business
    Refusal("business_id_used", Conflict, "The business id was applied before.", _CONTRACT),
    Refusal("occurred_in_future", RuleBroken, "Business cannot be registered before it happened.", _PRACTICE),
    Refusal(
        "effective_date_in_future",
        RuleBroken,
        "A movement cannot be registered before the day on which it takes effect.",
        _PRACTICE,
    ),
    Refusal(
        "object_id_used",
        Conflict,
        "The object id is taken; it is unique in the chain and fixed for life.",
        "JR/T 0314-2024, header.content.object_id",
    ),
    Refusal(
        "object_id_reserved",
        RuleBroken,
        "Object ids that end in a colon and digits belong to registrations.",
        "docs/adr/0031",
    ),
    # codes
    Refusal(
        "enterprise_code_invalid",
        RuleBroken,
        "An enterprise code is region letters, six digits and an optional tier letter.",
        f"{_CODES}, enterprise code",
    ),
    Refusal(
        "enterprise_code_used",
        Conflict,
        "The region letters and digits belong to another enterprise.",
        f"{_CODES}, enterprise code",
    ),
    Refusal(
        "product_code_invalid",
        RuleBroken,
        "A product code is enterprise code, dot, six class letters, year and number of the issue.",
        f"{_CODES}, product code",
    ),
    Refusal(
        "product_code_issuer",
        RuleBroken,
        "A product code starts with its issuer's enterprise code.",
        f"{_CODES}, product code",
    ),
    Refusal(
        "investor_code_invalid",
        RuleBroken,
        "An investor code is Q, R or S and nine digits.",
        f"{_CODES}, investor code",
    ),
    Refusal(
        "investor_code_kind",
        RuleBroken,
        "Q is for natural persons; R and S are for institutions and products.",
        f"{_CODES}, investor code",
    ),
    Refusal(
        "investor_code_used", Conflict, "The investor code belongs to another subject.", f"{_CODES}, investor code"
    ),
    Refusal(
        "credit_code_invalid",
        RuleBroken,
        "The unified social credit code does not hold: form or check character.",
        "GB 32100-2015",
    ),
    Refusal(
        "credit_code_used", Conflict, "The unified social credit code belongs to another subject.", "GB 32100-2015"
    ),
    Refusal(
        "share_nature_unknown",
        RuleBroken,
        "The share-nature code is not in the table.",
        "share-nature table of one vendor, docs/adr/0033",
    ),
    # persons
    Refusal(
        "personal_name_refused",
        RuleBroken,
        "A person's name is given as a salted commitment, never in clear.",
        _PRIVACY,
    ),
    Refusal(
        "personal_identifier",
        RuleBroken,
        "A text holds what looks like a resident identity number.",
        f"{_PRIVACY}; GB 11643-1999",
    ),
    Refusal(
        "subject_fields_mismatch",
        RuleBroken,
        "A field does not belong to this kind of subject.",
        "data model v2.0.0, subject",
    ),
    Refusal(
        "subject_code_missing",
        RuleBroken,
        "A subject has an enterprise code or an investor code; a person has an investor code.",
        _CODES,
    ),
    Refusal(
        "qualification_mismatch",
        RuleBroken,
        "Category 5 is for natural persons, 1 to 4 are for institutions and products.",
        "CSRC Decree 132, Art. 13",
    ),
    # existence and standing
    Refusal("subject_unknown", NotFound, "There is no such subject.", _PRACTICE),
    Refusal("account_unknown", NotFound, "There is no such account.", _PRACTICE),
    Refusal("product_unknown", NotFound, "There is no such product.", _PRACTICE),
    Refusal("pledge_unknown", NotFound, "There is no open pledge of that business id.", _PRACTICE),
    Refusal("freeze_unknown", NotFound, "There is no open freeze of that business id.", _PRACTICE),
    Refusal(
        "issuer_not_enterprise",
        RuleBroken,
        "An issuer is an organisation with an enterprise code.",
        f"{_CODES}, product code",
    ),
    Refusal("account_closed", RuleBroken, "The account is closed.", _PRACTICE),
    Refusal("account_frozen", RuleBroken, "The account is frozen.", _PRACTICE),
    Refusal("account_not_frozen", RuleBroken, "The account is not frozen.", _PRACTICE),
    Refusal("account_not_empty", RuleBroken, "An account with holdings cannot be closed.", _PRACTICE),
    Refusal("account_type_wrong", RuleBroken, "Securities are registered on securities accounts.", _PRACTICE),
    # balances
    Refusal(
        "insufficient_available",
        RuleBroken,
        "The available balance of that share nature is too small: pledged and frozen quantities cannot move.",
        _PRACTICE,
    ),
    Refusal(
        "insufficient_pledged",
        RuleBroken,
        "The pledge covers less than that, or less that no other freeze covers.",
        _PRACTICE,
    ),
    Refusal("insufficient_frozen", RuleBroken, "The freeze covers less than that.", _PRACTICE),
    Refusal("authorised_exceeded", RuleBroken, "The registered total would exceed the authorised quantity.", _PRACTICE),
    Refusal("authorised_reduced", RuleBroken, "An increase cannot lower the authorised quantity.", _PRACTICE),
    Refusal(
        "holder_limit_exceeded",
        RuleBroken,
        "The product would have more holders than its own limit.",
        "CSRC Decree 132, Art. 13, as set by the product",
    ),
    Refusal("transfer_same_account", RuleBroken, "A transfer needs two different accounts.", _PRACTICE),
    Refusal("entry_repeated", RuleBroken, "An increase lists one account twice.", _PRACTICE),
    Refusal(
        "parts_exceed_quantity", RuleBroken, "The parts of a pledge or freeze are more than its quantity.", _PRACTICE
    ),
    Refusal("pledge_elsewhere", RuleBroken, "The pledge is one of another account or product.", _PRACTICE),
    Refusal("pledgee_is_holder", RuleBroken, "Nobody takes a pledge from oneself.", _PRACTICE),
    Refusal("freeze_until_past", RuleBroken, "A freeze ends after it began.", _PRACTICE),
)

REFUSALS: Final[dict[str, Refusal]] = {refusal.code: refusal for refusal in _TABLE}


def refuse(code: str, **parameters: int | str) -> Rejected:
    """The error of `code` (to be raised by the caller) with the numbers and identifiers that belong to it."""
    refusal = REFUSALS[code]
    return refusal.kind(code, f"{refusal.rule} ({refusal.source})", **parameters)
