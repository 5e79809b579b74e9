"""Accounts (账户) of a subject with a market's depository.

Left out: balances (`registration`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from common.model.enumerations import ACCOUNT_STATUSES, ACCOUNT_TYPES, NOT_STATED
from common.model.values import date, group_in, number_in, referenced, text_in

ACCOUNT: Final = "account"


def account_body(
    *,
    account: str,
    account_type: str,
    status: str,
    opened_at_ms: int,
    subject_ref: str,
    depository_ref: str,
    maintained_at: str,
) -> dict[str, Any]:
    """`account_information`."""
    return {
        "account_information": {
            "basic_account_information": {
                "account_subject_ref": subject_ref,
                "account_depository_ref": depository_ref,
                "account_number": account,
                "account_type": ACCOUNT_TYPES[account_type],
                "account_purpose": [NOT_STATED],
                "account_status": ACCOUNT_STATUSES[status],
                "account_create_time": maintained_at,
            },
            "account_cycle_information": {"account_opening_information": {"account_opening_date": date(opened_at_ms)}},
        }
    }


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """Whose account it is (object id of the subject)."""

    subject: str | None
    account_type: int | None


def account_facts(body: dict[str, Any]) -> AccountFacts:
    """Facts of an account's body."""
    basic = group_in(body, "account_information", "basic_account_information")
    return AccountFacts(
        subject=referenced(text_in(basic, "account_subject_ref")), account_type=number_in(basic, "account_type")
    )
