"""Transaction reports (转让报告): an issue or a transfer as a deal; the registrations say what it did to balances.

Custody counts and versions reports but does not interpret them, so there is no reader yet.
"""

from __future__ import annotations

from typing import Any, Final

from common.model.enumerations import NOT_STATED, OFFLINE_AGREEMENT, REGIONAL_EQUITY_MARKET

TRANSACTION_REPORT: Final = "transactionreport"


def report_body(
    *,
    business_id: str,
    transaction_type: int,
    currency: str,
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
        "transaction_settlement_currency": currency,
        "transaction_settlement_quantity": quantity,
        "transaction_settlement_time": settled_at,
    }
    if price_e4 is not None:
        content["transaction_settlement_price"] = price_e4
    return {
        "transaction_report_information": {
            "basic_transaction_information": {
                "basic_information_remark": {
                    "transaction_market_type": REGIONAL_EQUITY_MARKET,
                    "transaction_type": transaction_type,
                    "transaction_method": OFFLINE_AGREEMENT,
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
