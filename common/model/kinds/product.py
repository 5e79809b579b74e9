"""Products (产品): securities as issued. The size is the authorised quantity; what is registered stands in the branch
of the issue.

The model asks for whole numbers of shares before and after an issue: what is no whole number is left out there. The
registered total of every product stands in `header.metadata`.
Left out: terms of an issue beyond its size and price, and rosters.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from common.model.document import json_text
from common.model.enumerations import BOND_PRODUCTS, EQUITY_PRODUCTS, NOT_STATED, REGIONAL_EQUITY_MARKET, UNITS
from common.model.quantities import MAX_PLACES, PRICE_PLACES, Quantity, decimal_text, exact_quantity, whole_text
from common.model.template import Template
from common.model.values import believed_in, group_in, number_in, referenced, text_in

PRODUCT: Final = "product"
_UNIT_WORDS: Final = {code: word for word, code in UNITS.items()}


def _body(
    branch: dict[str, Any],
    *,
    market_ref: Any,
    market_name: Any,
    issuer_ref: Any,
    issuer_name: Any,
    code: Any,
    name: Any,
    product_type: Any,
    unit: Any,
    currency: Any,
    size: Any,
    create_time: Any,
    holder_limit: Any = None,
) -> dict[str, Any]:
    """`product_information` with the values as they stand in JSON; `branch` is the issue's."""
    basic = {
        "product_trading_market_category": REGIONAL_EQUITY_MARKET,
        "product_market_subject_ref": market_ref,
        "product_market_subject_name": market_name,
        "product_issuer_subject_ref": issuer_ref,
        "product_issuer_name": issuer_name,
        "product_code": code,
        "product_name": name,
        "product_type": product_type,
        "product_scale_unit": unit,
        "product_scale_currency": currency,
        "product_scale": size,
        "product_create_time": create_time,
    }
    if holder_limit is not None:
        basic["product_account_number_max"] = holder_limit
    return {
        "product_information": {
            "essential_information": {"basic_product_information": basic},
            "release_information": branch,
        }
    }


def _equity(*, before: Any = None, after: Any = None, issue_price: Any = None, **rest: Any) -> dict[str, Any]:
    issue = {"product_shares_issued_class": [NOT_STATED]}
    if before is not None:
        issue["product_before_authorized_shares"] = before
    if after is not None:
        issue["product_after_authorized_shares"] = after
    if issue_price is not None:
        issue["product_issue_price"] = issue_price
    return _body({"equity_issue_information": issue}, **rest)


def _bond(*, total: Any, face_value: Any = None, issue_price: Any = None, **rest: Any) -> dict[str, Any]:
    issue = {"product_actual_issue_size": total}
    if face_value is not None:
        issue["product_face_value"] = face_value
    if issue_price is not None:
        issue["product_issue_price"] = issue_price
    return _body({"private_convertible_bonds": issue}, **rest)


def _fund(*, total: Any, holders: Any, **rest: Any) -> dict[str, Any]:
    fund = {"product_total_fund_share": total, "product_fund_unit_holders_number": holders}
    return _body({"private_offering_fund": {"fund_basic_information": fund}}, **rest)


_equity_template: Final = Template(_equity)
_bond_template: Final = Template(_bond)
_fund_template: Final = Template(_fund)


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
) -> str:
    """Canonical JSON of a product; quantities are integers with `scale` decimal places.

    `issue_price_e4` is the price of its latest issue that had one.
    """
    values = {
        "market_ref": json_text(market_ref),
        "market_name": json_text(market_name),
        "issuer_ref": json_text(issuer_ref),
        "issuer_name": json_text(issuer_name),
        "code": json_text(code),
        "name": json_text(name),
        "product_type": str(product_type),
        "unit": str(UNITS[unit]),
        "currency": json_text(currency),
        "size": decimal_text(authorised_quantity, scale),
        "create_time": json_text(maintained_at),
    }
    if holder_limit is not None:
        values["holder_limit"] = str(holder_limit)
    if product_type not in EQUITY_PRODUCTS and product_type not in BOND_PRODUCTS:
        values["total"] = decimal_text(total, scale)
        values["holders"] = json_text(str(holders))
        return _fund_template.text(values)
    if issue_price_e4 is not None:
        values["issue_price"] = decimal_text(issue_price_e4, PRICE_PLACES)
    if product_type in BOND_PRODUCTS:
        values["total"] = decimal_text(total, scale)
        if face_value_e4 is not None:
            values["face_value"] = decimal_text(face_value_e4, PRICE_PLACES)
        return _bond_template.text(values)
    for side, shares in (("before", whole_text(total_before, scale)), ("after", whole_text(total, scale))):
        if shares is not None:
            values[side] = shares
    return _equity_template.text(values)


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
