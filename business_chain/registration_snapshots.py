"""Bodies of registrations (登记) and transfer reports (转让报告), in the pilot's data model v2.0.0.

The same invariants as in `snapshots`. A registration belongs to one holder and one movement: it states available,
pledged and frozen balances before, change and after, so that after(n) = before(n + 1) can be checked per account and
product.

Left out: rosters (名册登记), whose place is the register query with its proof; which objects an operation makes.
"""

from __future__ import annotations

from typing import Any, Final

from business_chain.operations.records import UNITS
from business_chain.snapshots import NOT_STATED, OTHER, SUBJECT_TYPES
from business_chain.state import Holding, Product

_RIGHTS_REGISTRATION: Final = 1
_REGIONAL_EQUITY_MARKET: Final = 1
_OFFLINE_AGREEMENT: Final = 2
"""The deal was agreed elsewhere; the chain registers it."""

ISSUE: Final = 1
TRANSFER_BY_TRADE: Final = 3
NON_TRADING_TRANSFER: Final = 5


def registration_body(
    *,
    business_id: str,
    product: Product,
    product_ref: str,
    account_ref: str,
    subject_ref: str,
    subject_kind: str,
    report_ref: str | None,
    before: Holding,
    after: Holding,
    registered_at: str,
    maintained_at: str,
    note: str,
    freeze_description: str | None,
) -> dict[str, Any]:
    """`registration_information` of one holder's movement."""
    description: dict[str, Any] = {
        "register_serial_number": business_id,
        "register_time": registered_at,
        "register_subject_ref": subject_ref,
        "register_subject_type": SUBJECT_TYPES[subject_kind],
        "register_subject_account_ref": account_ref,
        "register_asset_type": OTHER,
        "register_asset_unit": UNITS[product.unit],
        "register_asset_currency": product.currency,
        "register_product_ref": product_ref,
        "register_create_time": maintained_at,
    }
    if report_ref is not None:
        description["register_transaction_ref"] = report_ref
    freezing: dict[str, Any] = {
        "register_frozen_balance_change": after.frozen - before.frozen,
        "register_frozen_balance": before.frozen,
        "register_frozen_balance_after": after.frozen,
    }
    if freeze_description is not None:
        freezing["register_thaw_description"] = freeze_description
    return {
        "registration_information": {
            "register_basic_information": {
                "register_object_type": _RIGHTS_REGISTRATION,
                "register_event_type": OTHER,
            },
            "registration_rights": {
                "basic_information_rights": {
                    "basic_information_description": description,
                    "available_registration": {
                        "register_asset_balance_change": after.available - before.available,
                        "register_asset_balance_before": before.available,
                        "register_asset_balance_after": after.available,
                    },
                    "pledge_registration": {
                        "register_pledge_balance_change": after.pledged - before.pledged,
                        "register_pledge_balance_before": before.pledged,
                        "register_pledge_balance_after": after.pledged,
                    },
                    "freezing_registration": freezing,
                    "description_status_information": {
                        "register_source_type": OTHER,
                        "register_asset_note": note,
                    },
                }
            },
        }
    }


def report_body(
    *,
    business_id: str,
    transaction_type: int,
    product: Product,
    product_ref: str,
    quantity: int,
    price_e4: int | None,
    settled_at: str,
    maintained_at: str,
    parties: dict[str, Any],
) -> dict[str, Any]:
    """`transaction_report_information`; `parties` is the financing or the transfer branch."""
    content: dict[str, Any] = {
        "transaction_series_number": business_id,
        "transaction_settlement_currency": product.currency,
        "transaction_settlement_quantity": quantity,
        "transaction_settlement_time": settled_at,
    }
    if price_e4 is not None:
        content["transaction_settlement_price"] = price_e4
    return {
        "transaction_report_information": {
            "basic_transaction_information": {
                "basic_information_remark": {
                    "transaction_market_type": _REGIONAL_EQUITY_MARKET,
                    "transaction_type": transaction_type,
                    "transaction_method": _OFFLINE_AGREEMENT,
                    "transaction_create_time": maintained_at,
                },
                "trading_asset_information": {
                    "asset_custody_state": {"transaction_product_custody_status": NOT_STATED},
                    "custody_asset_transaction": {"transaction_custody_product_ref": product_ref},
                },
            },
            "transaction_information": {"transaction_content_information": content, **parties},
        }
    }


def transfer_parties(seller_ref: str, buyer_ref: str) -> dict[str, Any]:
    """The two holders of a transfer, by reference alone."""
    return {
        "transaction_party_information": {
            "transaction_investor_original_ref": seller_ref,
            "transaction_investor_counterparty_ref": buyer_ref,
        }
    }


def issue_parties(issuer_ref: str, investor_ref: str | None) -> dict[str, Any]:
    """The issuer and, if there is one investor alone, that investor; with several, their registrations name them."""
    parties = {"transaction_issuer_ref": issuer_ref}
    if investor_ref is not None:
        parties["transaction_investor_ref"] = investor_ref
    return {"financing_transaction_party_information": parties}
