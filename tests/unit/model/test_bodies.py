"""Bodies that are written as text are the canonical JSON of what they say, whatever stands in them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from business_chain.balances import Figures
from common.model.document import encode_document, parse_document
from common.model.enumerations import NOT_STATED, OTHER, SUBJECT_TYPES, UNITS
from common.model.kinds.registration import registration_body
from common.model.kinds.transactionreport import issue_parties, report_body, report_metadata, transfer_parties
from common.model.object_header import CREATE, assemble_snapshot, build_snapshot
from common.model.quantities import MAX_PLACES, MAX_QUANTITY, PRICE_PLACES, exact_quantity

PLAIN = st.from_regex(r"[A-Za-z0-9._:-]{1,64}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
SCALES = st.integers(0, MAX_PLACES)
QUANTITIES = st.integers(0, MAX_QUANTITY)
FIGURES = st.builds(Figures, QUANTITIES, QUANTITIES, QUANTITIES, QUANTITIES)


def without_none(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if value is not None}


@given(
    texts=st.fixed_dictionaries(
        dict.fromkeys(
            (
                *("business_id", "product_ref", "currency", "account_ref", "subject_ref", "registered_at"),
                *("maintained_at", "note"),
            ),
            PLAIN,
        )
    ),
    scale=SCALES,
    unit=st.sampled_from(sorted(UNITS)),
    subject_kind=st.sampled_from(sorted(SUBJECT_TYPES)),
    event_type=st.integers(1, 2),
    report_ref=st.none() | PLAIN,
    thaw=st.none() | TEXT,
    before=FIGURES,
    after=FIGURES,
)
def test_a_registration_is_its_canonical_json(
    texts: dict[str, str],
    scale: int,
    unit: str,
    subject_kind: str,
    event_type: int,
    report_ref: str | None,
    thaw: str | None,
    before: Figures,
    after: Figures,
) -> None:
    def group(kind: str, name: str, names: tuple[str, str, str]) -> dict[str, Any]:
        held, left = getattr(before, kind), getattr(after, kind)
        stated = (exact_quantity(figure, scale) for figure in (held, left, left - held))
        return {f"register_{name}_balance{suffix}": figure for suffix, figure in zip(names, stated, strict=True)}

    description = {
        "register_serial_number": texts["business_id"],
        "register_time": texts["registered_at"],
        "register_subject_ref": texts["subject_ref"],
        "register_subject_type": SUBJECT_TYPES[subject_kind],
        "register_subject_account_ref": texts["account_ref"],
        "register_asset_type": OTHER,
        "register_asset_unit": UNITS[unit],
        "register_asset_currency": texts["currency"],
        "register_product_ref": texts["product_ref"],
        "register_create_time": texts["maintained_at"],
        "register_transaction_ref": report_ref,
    }
    frozen = group("frozen", "frozen", ("", "_after", "_change")) | {"register_thaw_description": thaw}
    rights = {
        "basic_information_description": without_none(description),
        "available_registration": group("available", "asset", ("_before", "_after", "_change")),
        "pledge_registration": group("pledged", "pledge", ("_before", "_after", "_change")),
        "freezing_registration": without_none(frozen),
        "description_status_information": {"register_source_type": OTHER, "register_asset_note": texts["note"]},
    }
    plain = {
        "registration_information": {
            "register_basic_information": {"register_object_type": 1, "register_event_type": event_type},
            "registration_rights": {"basic_information_rights": rights},
        }
    }
    body = registration_body(
        before,
        after,
        **texts,
        scale=scale,
        unit=unit,
        subject_kind=subject_kind,
        event_type=event_type,
        report_ref=report_ref,
        freeze_description=thaw,
    )
    assert body == encode_document(plain)


@given(
    texts=st.fixed_dictionaries(
        dict.fromkeys(("business_id", "currency", "product_ref", "settled_at", "maintained_at"), PLAIN)
    ),
    transaction_type=st.integers(0, 255),
    quantity=QUANTITIES,
    scale=SCALES,
    price_e4=st.none() | QUANTITIES,
    refs=st.tuples(PLAIN, PLAIN),
    parties=st.sampled_from(["transfer", "issue", "issue to one"]),
)
def test_a_report_is_its_canonical_json(
    texts: dict[str, str],
    transaction_type: int,
    quantity: int,
    scale: int,
    price_e4: int | None,
    refs: tuple[str, str],
    parties: str,
) -> None:
    first, second = refs
    if parties == "transfer":
        stated, name = transfer_parties(first, second), "transaction_party_information"
        group = {"transaction_investor_original_ref": first, "transaction_investor_counterparty_ref": second}
    else:
        investor = second if parties == "issue to one" else None
        stated, name = issue_parties(first, investor), "financing_transaction_party_information"
        group = without_none({"transaction_issuer_ref": first, "transaction_investor_ref": investor})
    exact = exact_quantity(quantity, scale)
    content = {
        "transaction_series_number": texts["business_id"],
        "transaction_settlement_currency": texts["currency"],
        "transaction_settlement_time": texts["settled_at"],
        "transaction_settlement_quantity": exact if isinstance(exact, int) else None,
        "transaction_settlement_price": None if price_e4 is None else exact_quantity(price_e4, PRICE_PLACES),
    }
    basic = {
        "basic_information_remark": {
            "transaction_market_type": 1,
            "transaction_type": transaction_type,
            "transaction_method": 2,
            "transaction_create_time": texts["maintained_at"],
        },
        "trading_asset_information": {
            "asset_custody_state": {"transaction_product_custody_status": NOT_STATED},
            "custody_asset_transaction": {"transaction_custody_product_ref": texts["product_ref"]},
        },
    }
    plain = {
        "transaction_report_information": {
            "basic_transaction_information": basic,
            "transaction_information": {"transaction_content_information": without_none(content), name: group},
        }
    }
    body = report_body(
        **texts,
        transaction_type=transaction_type,
        quantity=quantity,
        scale=scale,
        price_e4=price_e4,
        parties=stated,
    )
    assert body == encode_document(plain)
    assert report_metadata(quantity, scale) == ({} if isinstance(exact, int) else {"quantity": exact})


@given(
    kind=PLAIN,
    object_id=PLAIN,
    timestamp_s=st.integers(0, 2**40),
    body=st.dictionaries(PLAIN, TEXT),
    metadata=st.none() | st.dictionaries(PLAIN, TEXT),
    remark=st.none() | TEXT,
)
def test_a_snapshot_of_texts_is_that_of_values_and_canonical(
    kind: str,
    object_id: str,
    timestamp_s: int,
    body: dict[str, str],
    metadata: dict[str, str] | None,
    remark: str | None,
) -> None:
    header = {
        "kind": kind,
        "object_id": object_id,
        "version": 0,
        "operation": CREATE,
        "timestamp_s": timestamp_s,
    }
    data = build_snapshot(**header, body=body, metadata=metadata, remark=remark)  # type: ignore[arg-type]
    stated = None if metadata is None else encode_document(metadata)
    text = encode_document(body)
    assert data == assemble_snapshot(**header, body=text, metadata=stated, remark=remark)  # type: ignore[arg-type]
    assert data == encode_document(parse_document(data, max_size=1 << 20))
