"""Products (产品): securities as issued. The size is the authorised quantity; what is registered stands in the branch
of the issue.

The model asks for whole numbers of shares before and after an issue: what is no whole number is left out there. The
registered total of every product stands in `header.metadata`.
Left out: terms of an issue beyond its size and price, and rosters.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from common.model.document import encode_document
from common.model.enumerations import BOND_PRODUCTS, EQUITY_PRODUCTS, NOT_STATED, REGIONAL_EQUITY_MARKET, UNITS
from common.model.quantities import MAX_PLACES, PRICE_PLACES, Quantity, exact_quantity
from common.model.values import believed_in, group_in, number_in, referenced, text_in

PRODUCT: Final = "product"
_UNIT_WORDS: Final = {code: word for word, code in UNITS.items()}


def product_body(
    *,
    code: str,
    name: str,
    product_type: int,
    unit: str,
    currency: str,
    scale: int,
    authorised_quantity: int,
    holder_limit: int | None,
    total_before: int,
    total: int,
    holders: int,
    face_value_e4: int | None,
    issue_price_e4: int | None,
    market_ref: str,
    market_name: str,
    issuer_ref: str,
    issuer_name: str,
    maintained_at: str,
) -> bytes:
    """Canonical JSON of a product; quantities are integers with `scale` decimal places.

    `issue_price_e4` is the price of its latest issue that had one.
    """
    basic: dict[str, Any] = {
        "product_trading_market_category": REGIONAL_EQUITY_MARKET,
        "product_market_subject_ref": market_ref,
        "product_market_subject_name": market_name,
        "product_issuer_subject_ref": issuer_ref,
        "product_issuer_name": issuer_name,
        "product_code": code,
        "product_name": name,
        "product_type": product_type,
        "product_scale_unit": UNITS[unit],
        "product_scale_currency": currency,
        "product_scale": exact_quantity(authorised_quantity, scale),
        "product_create_time": maintained_at,
    }
    if holder_limit is not None:
        basic["product_account_number_max"] = holder_limit
    issue: dict[str, Any] = {}
    if issue_price_e4 is not None:
        issue["product_issue_price"] = exact_quantity(issue_price_e4, PRICE_PLACES)
    registered = exact_quantity(total, scale)
    if product_type in EQUITY_PRODUCTS:
        issue["product_shares_issued_class"] = [NOT_STATED]
        shares = {
            "product_before_authorized_shares": exact_quantity(total_before, scale),
            "product_after_authorized_shares": registered,
        }
        issue |= {name: quantity for name, quantity in shares.items() if isinstance(quantity, int)}
        branch = {"equity_issue_information": issue}
    elif product_type in BOND_PRODUCTS:
        issue["product_actual_issue_size"] = registered
        if face_value_e4 is not None:
            issue["product_face_value"] = exact_quantity(face_value_e4, PRICE_PLACES)
        branch = {"private_convertible_bonds": issue}
    else:
        fund = {"product_total_fund_share": registered, "product_fund_unit_holders_number": str(holders)}
        branch = {"private_offering_fund": {"fund_basic_information": fund}}
    information = {
        "essential_information": {"basic_product_information": basic},
        "release_information": branch,
    }
    return encode_document({"product_information": information})


def product_metadata(
    *, product_type: int, holders: int, total: int, scale: int, face_value_e4: int | None
) -> dict[str, Any]:
    """What the model has no field for: holder count, registered total, decimal places of a quantity, and the face value
    of what is no bond.
    """
    metadata: dict[str, Any] = {
        "holders": holders,
        "registered_total": exact_quantity(total, scale),
        "quantity_scale": scale,
    }
    if face_value_e4 is not None and product_type not in BOND_PRODUCTS:
        metadata["face_value"] = exact_quantity(face_value_e4, PRICE_PLACES)
    return metadata


class ProductFacts(msgspec.Struct, frozen=True):
    """A security as issued."""

    code: str | None
    name: str | None
    issuer_subject: str | None
    product_type: int | None
    issue_size: Quantity | None
    unit: str | None
    scale: int | None
    """Decimal places of its smallest part, if the chain states them."""
    registered_total: Quantity | None
    registered_holders: int | None
    issue_price: Quantity | None = None


def product_facts(body: dict[str, Any], metadata: Any = None) -> ProductFacts:
    """Facts of a product's body.

    What the market itself counts as registered stands in `header.metadata` of our business chains; the data model's own
    field for it is the number of shares after the issue. There too stand the decimal places of its smallest part
    (`quantity_scale`): the data model's `product_scale` (产品规模总额) is the size of the issue.
    """
    info = group_in(body, "product_information")
    basic = group_in(info, "essential_information", "basic_product_information")
    equity = group_in(info, "release_information", "equity_issue_information")
    bonds = group_in(info, "release_information", "private_convertible_bonds")
    local = metadata if isinstance(metadata, dict) else {}
    total, price = believed_in(local, "registered_total"), believed_in(equity, "product_issue_price")
    unit, places = number_in(basic, "product_scale_unit"), number_in(local, "quantity_scale")
    return ProductFacts(
        code=text_in(basic, "product_code"),
        name=text_in(basic, "product_name"),
        issuer_subject=referenced(text_in(basic, "product_issuer_subject_ref")),
        product_type=number_in(basic, "product_type"),
        issue_size=believed_in(basic, "product_scale"),
        unit=None if unit is None else _UNIT_WORDS.get(unit),
        scale=places if places is not None and 0 <= places <= MAX_PLACES else None,
        registered_total=believed_in(equity, "product_after_authorized_shares") if total is None else total,
        registered_holders=number_in(local, "holders"),
        issue_price=believed_in(bonds, "product_issue_price") if price is None else price,
    )
