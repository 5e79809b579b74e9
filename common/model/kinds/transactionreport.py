"""Transaction reports (转让报告): an issue or a transfer as a deal; the registrations say what it did to balances.

The model asks for a whole number as the quantity of a deal: another one is left out of the body and stands in
`header.metadata` (`quantity`). Custody counts and versions reports but does not interpret them, so there is no reader.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from common.model.enumerations import NOT_STATED, OFFLINE_AGREEMENT, REGIONAL_EQUITY_MARKET
from common.model.quantities import PRICE_PLACES, decimal_text, exact_quantity, whole_text

TRANSACTION_REPORT: Final = "transactionreport"


Parties: TypeAlias = tuple[str, str]
"""Who takes part, as it stands before or behind what is agreed in a report's JSON."""


def transfer_parties(seller_ref: str, buyer_ref: str) -> Parties:
    """The two holders of a transfer, by reference alone."""
    return "", (
        f',"transaction_party_information":{{"transaction_investor_counterparty_ref":"{buyer_ref}",'
        f'"transaction_investor_original_ref":"{seller_ref}"}}'
    )


def issue_parties(issuer_ref: str, investor_ref: str | None) -> Parties:
    """The issuer and, if there is one investor alone, that investor; with several, their registrations name them."""
    investor = "" if investor_ref is None else f'"transaction_investor_ref":"{investor_ref}",'
    return f'"financing_transaction_party_information":{{{investor}"transaction_issuer_ref":"{issuer_ref}"}},', ""


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
    parties: Parties,
) -> bytes:
    """Canonical JSON of a report; `quantity` has `scale` decimal places, references and times are ASCII."""
    whole = whole_text(quantity, scale)
    price = "" if price_e4 is None else f'"transaction_settlement_price":{decimal_text(price_e4, PRICE_PLACES)},'
    settled = "" if whole is None else f'"transaction_settlement_quantity":{whole},'
    before, behind = parties
    text = (
        '{"transaction_report_information":{"basic_transaction_information":{"basic_information_remark":{'
        f'"transaction_create_time":"{maintained_at}","transaction_market_type":{REGIONAL_EQUITY_MARKET},'
        f'"transaction_method":{OFFLINE_AGREEMENT},"transaction_type":{transaction_type}}},'
        f'"trading_asset_information":{{"asset_custody_state":{{"transaction_product_custody_status":{NOT_STATED}}},'
        f'"custody_asset_transaction":{{"transaction_custody_product_ref":"{product_ref}"}}}}}},'
        f'"transaction_information":{{{before}"transaction_content_information":{{'
        f'"transaction_series_number":"{business_id}","transaction_settlement_currency":"{currency}",'
        f'{price}{settled}"transaction_settlement_time":"{settled_at}"}}{behind}}}}}}}'
    )
    return text.encode()


def report_metadata(quantity: int, scale: int) -> dict[str, Any]:
    """The quantity, where the body has no room for it."""
    stated = exact_quantity(quantity, scale)
    return {} if isinstance(stated, int) else {"quantity": stated}
