"""Products (产品): securities as issued. The size is the authorised quantity; what is registered stands in the branch
of the issue.

Left out: terms of an issue beyond its size, and rosters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from common.model.enumerations import BOND_PRODUCTS, EQUITY_PRODUCTS, NOT_STATED, REGIONAL_EQUITY_MARKET, UNITS
from common.model.quantities import MAX_SCALE, PRICE_SCALE
from common.model.values import group_in, number_in, referenced, text_in

PRODUCT: Final = "product"
_UNIT_WORDS: Final = {code: word for word, code in UNITS.items()}


def product_body(
    *,
    code: str,
    name: str,
    product_type: int,
    unit: str,
    currency: str,
    authorised_quantity: int,
    holder_limit: int | None,
    total_before: int,
    total: int,
    holders: int,
    face_value_e4: int | None,
    market_ref: str,
    market_name: str,
    issuer_ref: str,
    issuer_name: str,
    maintained_at: str,
) -> dict[str, Any]:
    """`product_information`. Quantities in the product's scale."""
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
        "product_scale": authorised_quantity,
        "product_create_time": maintained_at,
    }
    if holder_limit is not None:
        basic["product_account_number_max"] = holder_limit
    return {
        "product_information": {
            "essential_information": {"basic_product_information": basic},
            "release_information": _release_information(product_type, total_before, total, holders, face_value_e4),
        }
    }


def _release_information(
    product_type: int, total_before: int, total: int, holders: int, face_value_e4: int | None
) -> dict[str, Any]:
    """The branch of the issue that belongs to the product's type."""
    if product_type in EQUITY_PRODUCTS:
        return {
            "equity_issue_information": {
                "product_shares_issued_class": [NOT_STATED],
                "product_before_authorized_shares": total_before,
                "product_after_authorized_shares": total,
            }
        }
    if product_type in BOND_PRODUCTS:
        bonds: dict[str, Any] = {"product_actual_issue_size": total}
        if face_value_e4 is not None:
            bonds["product_face_value"] = face_value_e4
        return {"private_convertible_bonds": bonds}
    return {
        "private_offering_fund": {
            "fund_basic_information": {
                "product_total_fund_share": total,
                "product_fund_unit_holders_number": str(holders),
            }
        }
    }


def product_metadata(*, holders: int, total: int, scale: int, face_value_e4: int | None) -> dict[str, Any]:
    """What the model has no field for: holder count, registered total, and the scales of the integers in bodies."""
    metadata = {
        "holders": holders,
        "registered_total": total,
        "quantity_scale": scale,
        "price_scale": PRICE_SCALE,
    }
    if face_value_e4 is not None:
        metadata["face_value_e4"] = face_value_e4
    return metadata


@dataclass(frozen=True, slots=True)
class ProductFacts:
    """A security as issued."""

    code: str | None
    name: str | None
    issuer_subject: str | None
    product_type: int | None
    issue_size: int | None
    unit: str | None
    scale: int | None
    """Decimal places of a quantity, if the chain states them."""
    registered_total: int | None
    registered_holders: int | None


def product_facts(body: dict[str, Any], metadata: Any = None) -> ProductFacts:
    """Facts of a product's body.

    What the market itself counts as registered stands in `header.metadata` of our business chains; the data model's own
    field for it is the number of shares after the issue. There too stand the decimal places of its quantities
    (`quantity_scale`): the data model's `product_scale` (产品规模总额) is the size of the issue.
    """
    info = group_in(body, "product_information")
    basic = group_in(info, "essential_information", "basic_product_information")
    equity = group_in(info, "release_information", "equity_issue_information")
    local = metadata if isinstance(metadata, dict) else {}
    total = number_in(local, "registered_total")
    unit = number_in(basic, "product_scale_unit")
    return ProductFacts(
        code=text_in(basic, "product_code"),
        name=text_in(basic, "product_name"),
        issuer_subject=referenced(text_in(basic, "product_issuer_subject_ref")),
        product_type=number_in(basic, "product_type"),
        issue_size=number_in(basic, "product_scale"),
        unit=None if unit is None else _UNIT_WORDS.get(unit),
        scale=_decimal_places(local),
        registered_total=number_in(equity, "product_after_authorized_shares") if total is None else total,
        registered_holders=number_in(local, "holders"),
    )


def _decimal_places(local: dict[str, Any]) -> int | None:
    places = number_in(local, "quantity_scale")
    return places if places is not None and 0 <= places <= MAX_SCALE else None
