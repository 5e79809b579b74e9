"""Bodies of data-object snapshots, in the pilot's data model v2.0.0 (field names exactly as there).

JR/T 0314-2024 gives the header (common.core.snapshot); the bodies follow the model of the 2020-21 pilot, the
predecessor of JR/T 0315-2024, to which no conformance is claimed (docs/adr/0032). Invariants
  * Numbers are integers: quantities in the product's scale, prices in 1/10,000 of the currency; `metadata` says so.
  * No personal data in clear: a person's name and identity number fields hold salted commitments, other personal
    fields are left out; refs lead to the subject, which carries the investor code.
  * Times come from the chain and the operation, written in +08:00, so every validator writes the same bytes.
  * Where the model's codes are printed without a meaning, 0 (none) says "not stated" and 255 (other) "stated
    elsewhere"; no meaning is invented.

Left out: headers, versions and order (ledger), registrations and transfer reports (registration_snapshots).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from business_chain.operations.records import UNITS
from business_chain.state import Account, Product, Subject

SUBJECT: Final = "subject"
ACCOUNT: Final = "account"
PRODUCT: Final = "product"
TRANSACTION_REPORT: Final = "transactionreport"
REGISTRATION: Final = "registration"

NOT_STATED: Final = 0
OTHER: Final = 255
PRICE_SCALE: Final = 4
"""Decimal places of a price in a body: 125000 means 12.5000."""

SUBJECT_TYPES: Final = {"organisation": 1, "person": 2}
_ACCOUNT_TYPES: Final = {"securities": 1, "cash": 2}
_ACCOUNT_STATUSES: Final = {"open": 1, "closed": 2, "frozen": 3}
_REGIONAL_EQUITY_MARKET: Final = 1
_EPOCH_IN_CHINA: Final = datetime(1970, 1, 1, 8)


@lru_cache(maxsize=4096)
def _date_time_of_second(time_s: int) -> str:
    return (_EPOCH_IN_CHINA + timedelta(seconds=time_s)).isoformat() + "+08:00"


def date_time(time_ms: int) -> str:
    """RFC 3339 in +08:00, whole seconds: 0 -> 1970-01-01T08:00:00+08:00."""
    return _date_time_of_second(time_ms // 1000)


def date(time_ms: int) -> str:
    """The day in +08:00, YYYY-MM-DD."""
    return _date_time_of_second(time_ms // 1000)[:10]


def reference(object_id: str, version: int) -> str:
    """Object reference: id and version at the time of business (JR/T 0314-2024)."""
    return f"{object_id}/{version}"


def subject_body(object_id: str, subject: Subject, *, shareholders: int, maintained_at: str) -> dict[str, Any]:
    """`subject_information`. `subject_id` carries the investor code, else the enterprise code, else the object id's own
    identity (the market: its credit code).
    """
    general: dict[str, Any] = {
        "subject_id": subject.investor_code or subject.enterprise_code or subject.credit_code or object_id,
        "subject_type": SUBJECT_TYPES[subject.kind],
        "subject_main_administrative_region": NOT_STATED,
        "subject_create_time": maintained_at,
    }
    basic: dict[str, Any] = {"general_information_subject": general}
    if subject.qualification_category is not None and subject.qualification_certified_at_ms is not None:
        basic["subject_qualification_information"] = [
            {
                "investor_suitability_information": [
                    {
                        "subject_investor_qualification": OTHER,
                        "subject_investor_qualification_sub": str(subject.qualification_category),
                        "subject_investor_qualification_description": "CSRC Decree 132 Art. 13",
                        "subject_investor_qualification_certificate_time": date_time(
                            subject.qualification_certified_at_ms
                        ),
                        "subject_investor_qualification_status": True,
                    }
                ]
            }
        ]
    information: dict[str, Any] = {"basic_information_subject": basic}
    if subject.kind == "person":
        information["personal_subject_information"] = {
            "personal_subject_basic_information": {
                "subject_investor_name": subject.name_commitment,
                "subject_id_type": NOT_STATED,
                "subject_id_number": subject.identity_commitment,
            }
        }
    else:
        description: dict[str, Any] = {
            "subject_company_name": subject.name,
            "subject_shareholders_number": shareholders,
        }
        if subject.credit_code is not None:
            description["subject_document_information"] = [{"code": subject.credit_code}]
        information["organization_subject_information"] = {
            "basic_information_of_enterprise": {"basic_information_description": description}
        }
    return {"subject_information": information}


def subject_metadata(subject: Subject) -> dict[str, Any]:
    """Codes of a subject, each under its own name, since `subject_id` has room for one."""
    codes = {
        "enterprise_code": subject.enterprise_code,
        "investor_code": subject.investor_code,
        "qualification_category": subject.qualification_category,
    }
    return {name: value for name, value in codes.items() if value is not None}


def account_body(
    account_id: str, account: Account, *, subject_ref: str, depository_ref: str, maintained_at: str
) -> dict[str, Any]:
    """`account_information`."""
    return {
        "account_information": {
            "basic_account_information": {
                "account_subject_ref": subject_ref,
                "account_depository_ref": depository_ref,
                "account_number": account_id,
                "account_type": _ACCOUNT_TYPES[account.account_type],
                "account_purpose": [NOT_STATED],
                "account_status": _ACCOUNT_STATUSES[account.status],
                "account_create_time": maintained_at,
            },
            "account_cycle_information": {
                "account_opening_information": {"account_opening_date": date(account.opened_at_ms)}
            },
        }
    }


def product_body(
    code: str,
    product: Product,
    *,
    total_before: int,
    market_ref: str,
    market_name: str,
    issuer_ref: str,
    issuer_name: str,
    maintained_at: str,
) -> dict[str, Any]:
    """`product_information`. The size is the authorised quantity; what is registered stands in the issue's branch."""
    basic: dict[str, Any] = {
        "product_trading_market_category": _REGIONAL_EQUITY_MARKET,
        "product_market_subject_ref": market_ref,
        "product_market_subject_name": market_name,
        "product_issuer_subject_ref": issuer_ref,
        "product_issuer_name": issuer_name,
        "product_code": code,
        "product_name": product.name,
        "product_type": product.product_type,
        "product_scale_unit": UNITS[product.unit],
        "product_scale_currency": product.currency,
        "product_scale": product.authorised_quantity,
        "product_create_time": maintained_at,
    }
    if product.holder_limit is not None:
        basic["product_account_number_max"] = product.holder_limit
    return {
        "product_information": {
            "essential_information": {"basic_product_information": basic},
            "release_information": _release_information(product, total_before),
        }
    }


def _release_information(product: Product, total_before: int) -> dict[str, Any]:
    """The branch of the issue that belongs to the product's type."""
    if product.product_type <= 2:
        return {
            "equity_issue_information": {
                "product_shares_issued_class": [NOT_STATED],
                "product_before_authorized_shares": total_before,
                "product_after_authorized_shares": product.total,
            }
        }
    if product.product_type <= 4:
        bonds: dict[str, Any] = {"product_actual_issue_size": product.total}
        if product.face_value_e4 is not None:
            bonds["product_face_value"] = product.face_value_e4
        return {"private_convertible_bonds": bonds}
    return {
        "private_offering_fund": {
            "fund_basic_information": {
                "product_total_fund_share": product.total,
                "product_fund_unit_holders_number": str(product.holders),
            }
        }
    }


def product_metadata(product: Product) -> dict[str, Any]:
    """What the model has no field for: holder count, registered total, and the scales of the integers in bodies."""
    metadata = {
        "holders": product.holders,
        "registered_total": product.total,
        "quantity_scale": product.scale,
        "price_scale": PRICE_SCALE,
    }
    if product.face_value_e4 is not None:
        metadata["face_value_e4"] = product.face_value_e4
    return metadata
