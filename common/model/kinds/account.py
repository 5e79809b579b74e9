"""Accounts (账户) of a subject with a market's depository.

Left out: balances (`registration`).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from common.model.document import encode_document
from common.model.enumerations import ACCOUNT_STATUSES, ACCOUNT_TYPES, NOT_STATED
from common.model.values import date, group_in, number_in, referenced, text_in

ACCOUNT: Final = "account"


def account_body(
    *,
    account: str,
    account_type: str,
    status: str,
    opened_at_ms: int,
    frozen_at_ms: int | None,
    frozen_by: str | None,
    thawed_at_ms: int | None,
    closed_at_ms: int | None,
    subject_ref: str,
    depository_ref: str,
    maintained_at: str,
) -> bytes:
    """Canonical JSON of an account; the times are of its opening, latest freeze, latest thaw and closing.

    Who froze it stands in the remark: the model's name of an applicant may be a person's, so it is left out.
    """
    groups: dict[str, Any] = {"account_opening_information": {"account_opening_date": date(opened_at_ms)}}
    if frozen_at_ms is not None:
        freeze = {"account_frozen_date": date(frozen_at_ms)}
        if frozen_by is not None:
            freeze["account_frozen_remark"] = frozen_by
        groups["freeze_information"] = freeze
    if thawed_at_ms is not None:
        groups["unfreezing_information"] = {"account_thaw_date": date(thawed_at_ms)}
    if closed_at_ms is not None:
        groups["account_cancellation_information"] = {"account_closing_date": date(closed_at_ms)}
    basic = {
        "account_subject_ref": subject_ref,
        "account_depository_ref": depository_ref,
        "account_number": account,
        "account_type": ACCOUNT_TYPES[account_type],
        "account_purpose": [NOT_STATED],
        "account_status": ACCOUNT_STATUSES[status],
        "account_create_time": maintained_at,
    }
    return encode_document(
        {"account_information": {"basic_account_information": basic, "account_cycle_information": groups}}
    )


class AccountFacts(msgspec.Struct, frozen=True):
    """Whose account it is (object id of the subject)."""

    subject: str | None
    account_type: int | None


def account_facts(body: dict[str, Any]) -> AccountFacts:
    """Facts of an account's body."""
    basic = group_in(body, "account_information", "basic_account_information")
    return AccountFacts(
        subject=referenced(text_in(basic, "account_subject_ref")), account_type=number_in(basic, "account_type")
    )
