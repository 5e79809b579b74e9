"""Snapshots: the pilot's data model field by field, integers, times, references, nothing personal in clear."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import jsonschema_rs
import pytest
import rfc8785

from common.model import kinds
from common.model.document import encode_document
from common.model.object_header import read_header
from common.model.values import date, date_time
from tests.unit.business import data_model
from tests.unit.business.market import NOW_MS, PRODUCT, Market

BASIS = {"kind": "contract", "number": "1", "issuer": "样例公司", "date": "2026-01-01", "file_hash": "ab" * 32}


def everything() -> list[dict[str, Any]]:
    """Snapshots of every operation with all its optional fields, in the order of business."""
    market = Market()
    op = market.op
    bond, fund = "BJ000001.DCFGFR2601", "BJ000001.CFUXXR2601"
    qualification = {"category": 5, "certified_at_ms": NOW_MS - 86_400_000}
    operations = [
        market.issuer(basis=BASIS, investor_code="R000000001", qualification=qualification | {"category": 1}),
        *(market.person(number, qualification=qualification) for number in (1, 2, 3)),
        *(market.account(number) for number in (1, 2, 3)),
        market.account(9, subject="P1", account_type="cash"),
        market.product(holder_limit=200, face_value_e4=10_000),
        market.product(product=bond, product_type=3, unit="bond", face_value_e4=1_000_000, currency="840"),
        market.product(product=fund, product_type=5, unit="fund_unit", scale=2),
        market.initial(1, 700, share_nature=24, basis=BASIS),
        market.initial(1, 7, product=bond),
        market.initial(2, 700, product=fund),
        op(
            "registration.increase",
            product=PRODUCT,
            entries=[{"account": "A2", "quantity": 300, "share_nature": 1}],
            price_e4=1,
        ),
        market.transfer(1, 3, 100, price_e4=125_000, basis=BASIS, share_nature=24),
        market.transfer(3, 1, 100, share_nature=24),
        market.pledge(1, 50, business_id="loan", share_nature=24, parts=[{"quantity": 50, "share_nature": 24}]),
        op("registration.release", pledge="loan", quantity=20, share_nature=24),
        market.freeze(
            1,
            50,
            business_id="order",
            until_ms=NOW_MS + 86_400_000,
            share_nature=24,
            parts=[{"quantity": 20, "pledge": "loan"}, {"quantity": 10, "share_nature": 24}],
        ),
        op("registration.unfreeze", freeze="order"),
        op("account.freeze", account="A3", authority="样例人民法院", order_number="2"),
        op("account.unfreeze", account="A3"),
        op("account.close", account="A3"),
    ]
    return market.apply(*operations)


EVERYTHING = everything()


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every scalar with its path; list indexes are left out."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, path)
    else:
        yield path, value


def test_bodies_pass_the_closed_schema_of_the_field_dictionary() -> None:
    if not data_model.DICTIONARY.exists():
        pytest.skip("the field dictionary of data model v2.0.0 does not lie beside this checkout")
    schemas = data_model.schemas()
    kinds = set()
    for snapshot in EVERYTHING:
        kind = snapshot["header"]["content"]["type"]
        kinds.add(kind)
        jsonschema_rs.validate(schemas[kind], snapshot["body"])
    assert kinds == {"subject", "account", "product", "registration", "transactionreport"}


def test_the_schema_of_the_field_dictionary_can_fail() -> None:
    if not data_model.DICTIONARY.exists():
        pytest.skip("the field dictionary of data model v2.0.0 does not lie beside this checkout")
    body = json.loads(json.dumps(next(item["body"] for item in EVERYTHING if "account_information" in item["body"])))
    schema = data_model.schemas()["account"]
    basic = body["account_information"]["basic_account_information"]
    for change in ({"account_typ": 1}, {"account_type": 4}, {"account_number": "x" * 65}, {"account_purpose": 0}):
        changed = {"account_information": {"basic_account_information": basic | change}}
        assert not jsonschema_rs.is_valid(schema, changed)


def test_the_custody_chain_accepts_every_snapshot() -> None:
    for snapshot in EVERYTHING:
        kind = snapshot["header"]["content"]["type"]
        path = f"{kinds.__path__[0]}/{kind}.json"
        with open(path, encoding="utf-8") as file:
            jsonschema_rs.validate(json.load(file), snapshot)


def test_headers_follow_jrt_0314_and_versions_follow_each_other() -> None:
    versions: dict[str, int] = {}
    for snapshot in EVERYTHING:
        header = read_header(snapshot)
        expected = versions.get(header.object_id, -1) + 1
        assert header.version == expected
        assert header.operation == ("update" if expected else "create")
        versions[header.object_id] = header.version
    assert len(versions) > 25


def test_every_reference_leads_to_a_version_that_exists_before_it() -> None:
    known: set[str] = set()
    references = 0
    for snapshot in EVERYTHING:
        for path, value in leaves(snapshot):
            if path.endswith("_ref"):
                assert value in known, (path, value)
                references += 1
        content = snapshot["header"]["content"]
        known.add(f"{content['object_id']}/{content['version']}")
    assert references > 50


def test_numbers_are_exact_and_bytes_are_canonical() -> None:
    """What a reader with doubles gets is what was written, and RFC 8785 writes it alike."""
    fractions = 0
    for snapshot in EVERYTHING:
        for _, value in leaves(snapshot):
            assert type(value) in (int, str, bool, Decimal)
            fractions += isinstance(value, Decimal)
        data = encode_document(snapshot)
        assert data == rfc8785.dumps(json.loads(data))
        assert len(data) < 4096
    assert fractions == 5


def test_times_are_written_in_plus_eight_from_chain_time_alone() -> None:
    assert date_time(0) == "1970-01-01T08:00:00+08:00"
    assert date_time(1_709_135_999_999) == "2024-02-28T23:59:59+08:00"
    assert date_time(1_709_136_000_000) == "2024-02-29T00:00:00+08:00"
    assert date(253_402_214_399_999) == "9999-12-31"


def test_privacy_no_personal_field_holds_anything_but_a_commitment() -> None:
    """Personal-data fields of the data model: absent, or 64 hex characters."""
    personal = {
        "subject_investor_name", "subject_id_number", "subject_id_address", "subject_contact_address",
        "subject_contact_number", "subject_cellphone_number", "subject_personal_fax", "subject_id_doc_mailbox",
        "subject_birthday", "subject_native_place", "subject_work_unit", "subject_key_personnel_name",
        "subject_key_personnel_id", "subject_key_personnel_address", "subject_key_personnel_contact",
        "account_opening_agent_name", "account_opening_agent_contact_number", "account_closing_agent_name",
        "account_closing_agent_contact_number", "account_frozen_applicant_name", "account_thaw_applicant_name",
        "settlement_out_bank_account", "settlement_in_bank_account", "settlement_out_account_name",
        "settlement_in_account_name", "register_debt_holder_contact_number", "product_issuer_contact_person",
        "product_issuer_contact_info", "transaction_investor_original_name", "register_investor_name",
        "transaction_investor_counterparty_name", "transaction_investor_name",
    }  # fmt: skip
    commitments = 0
    for snapshot in EVERYTHING:
        for path, value in leaves(snapshot):
            if path.rsplit(".", 1)[1] in personal:
                assert re.fullmatch("[0-9a-f]{64}", value), path
                commitments += 1
    assert commitments == 2 * 3


def test_privacy_state_and_index_hold_persons_by_code_and_commitment_alone() -> None:
    market = Market().open_for_business(700)
    subject = json.loads(market.store.values[b"subject/P1"])
    assert subject.keys() == {"identity_commitment", "investor_code", "kind", "name_commitment"}


def test_subject_id_is_the_investor_code_or_the_enterprise_code() -> None:
    market = Market()
    issuer, person = market.apply(market.issuer(), market.person(1))
    both = market.apply(
        market.issuer(
            object_id="X", enterprise_code="BJ000002G", investor_code="R000000009", credit_code="91310000FAKE00013Y"
        )
    )[0]
    ids = [
        item["body"]["subject_information"]["basic_information_subject"]["general_information_subject"]["subject_id"]
        for item in (issuer, person, both)
    ]
    assert ids == ["BJ000001", "Q000000001", "R000000009"]
    assert both["header"]["metadata"]["enterprise_code"] == "BJ000002G"
