"""Transaction reports (转让报告): an issue or a transfer as a deal; the registrations say what it did to balances.

The model asks for a whole number as the quantity of a deal: another one is left out of the body and stands in
`header.metadata` (`quantity`). Custody counts and versions reports but does not interpret them, so there is no reader.
"""

from __future__ import annotations

from typing import Any, Final

from common.model.enumerations import NOT_STATED, OFFLINE_AGREEMENT, REGIONAL_EQUITY_MARKET
from common.model.quantities import PRICE_PLACES, decimal_text, exact_quantity, whole_text
from common.model.template import Template

TRANSACTION_REPORT: Final = "transactionreport"


def _body(
    parties: dict[str, Any],
    *,
    serial_number: Any,
    transaction_type: Any,
    currency: Any,
    product_ref: Any,
    settlement_time: Any,
    create_time: Any,
    settlement_quantity: Any = None,
    price: Any = None,
) -> dict[str, Any]:
    """`transaction_report_information` with the values as they stand in JSON."""
    content = {
        "transaction_series_number": serial_number,
        "transaction_settlement_currency": currency,
        "transaction_settlement_time": settlement_time,
    }
    if settlement_quantity is not None:
        content["transaction_settlement_quantity"] = settlement_quantity
    if price is not None:
        content["transaction_settlement_price"] = price
    return {
        "transaction_report_information": {
            "basic_transaction_information": {
                "basic_information_remark": {
                    "transaction_market_type": REGIONAL_EQUITY_MARKET,
                    "transaction_type": transaction_type,
                    "transaction_method": OFFLINE_AGREEMENT,
                    "transaction_create_time": create_time,
                },
                "trading_asset_information": {
                    "asset_custody_state": {"transaction_product_custody_status": NOT_STATED},
                    "custody_asset_transaction": {"transaction_custody_product_ref": product_ref},
                },
            },
            "transaction_information": {"transaction_content_information": content, **parties},
        }
    }


def _transfer(*, seller_ref: Any, buyer_ref: Any, **deal: Any) -> dict[str, Any]:
    parties = {
        "transaction_investor_original_ref": seller_ref,
        "transaction_investor_counterparty_ref": buyer_ref,
    }
    return _body({"transaction_party_information": parties}, **deal)


def _issue(*, issuer_ref: Any, investor_ref: Any = None, **deal: Any) -> dict[str, Any]:
    parties = {"transaction_issuer_ref": issuer_ref}
    if investor_ref is not None:
        parties["transaction_investor_ref"] = investor_ref
    return _body({"financing_transaction_party_information": parties}, **deal)


_templates: Final = {"seller_ref": Template(_transfer), "issuer_ref": Template(_issue)}


def transfer_parties(seller_ref: str, buyer_ref: str) -> dict[str, str]:
    """The two holders of a transfer, by reference alone."""
    return {"seller_ref": seller_ref, "buyer_ref": buyer_ref}


def issue_parties(issuer_ref: str, investor_ref: str | None) -> dict[str, str]:
    """The issuer and, if there is one investor alone, that investor; with several, their registrations name them."""
    return (
        {"issuer_ref": issuer_ref} if investor_ref is None else {"issuer_ref": issuer_ref, "investor_ref": investor_ref}
    )


def report_body(
    *,
    business_id: str,
    transaction_type: int,
    currency: str,
    product_ref: str,
    quantity: int,
    scale: int,
    price_e4: int | None,
    settled_at: str,
    maintained_at: str,
    parties: dict[str, str],
) -> str:
    """Canonical JSON of a report; `quantity` has `scale` decimal places, references and times are ASCII."""
    values = {
        "serial_number": f'"{business_id}"',
        "transaction_type": str(transaction_type),
        "currency": f'"{currency}"',
        "product_ref": f'"{product_ref}"',
        "settlement_time": f'"{settled_at}"',
        "create_time": f'"{maintained_at}"',
    }
    for name, reference in parties.items():
        values[name] = f'"{reference}"'
    whole = whole_text(quantity, scale)
    if whole is not None:
        values["settlement_quantity"] = whole
    if price_e4 is not None:
        values["price"] = decimal_text(price_e4, PRICE_PLACES)
    return _templates[next(iter(parties))].text(values)


def report_metadata(quantity: int, scale: int) -> dict[str, Any]:
    """The quantity, where the body has no room for it."""
    return {} if whole_text(quantity, scale) is not None else {"quantity": exact_quantity(quantity, scale)}
