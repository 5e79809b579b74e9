"""docs/api-operations.md says what the code does: fields, examples in order, refusal codes of each operation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema_rs
import pytest

from business_chain.operation_schemas import EXAMPLES, OPERATION_MODELS, STORY, describe_type
from business_chain.operations.fields import plan_of
from business_chain.operations.operation_records import Operation
from business_chain.operations.operation_types import OPERATION_RECORDS
from business_chain.refusals import REFUSALS
from common.core.errors import Rejected
from common.node.http.problems import STATUS_OF_KIND
from tests.unit.business.market import Market, signers_for
from tests.unit.business.refusal_cases import CASES, Case

DOCS = Path(__file__).resolve().parents[3] / "docs"
TEXT = (DOCS / "api-operations.md").read_text(encoding="utf-8")
SECTIONS = {part.split()[0]: part for part in TEXT.split("\n## ")[1:]}
COMMON_FIELDS = {field.name for field in plan_of(Operation)}
COMMON_CODES = set(re.findall(r"`(\w+)`", TEXT.split("may earn:")[1].split("\n\n")[0]))


def codes_of(operation_type: str) -> set[str]:
    """The refusal codes that an operation's section names."""
    return set(re.findall(r"`(\w+)`", SECTIONS[operation_type].split("\nRefusals: ")[1].split("\n\n")[0]))


def test_every_operation_has_its_section() -> None:
    assert set(OPERATION_RECORDS) <= set(SECTIONS)


@pytest.mark.parametrize("operation_type", sorted(OPERATION_RECORDS))
def test_field_tables_are_those_of_the_records(operation_type: str) -> None:
    rows = re.findall(r"^\| `(.+?)` \| (\w+) \| (.+) \|$", SECTIONS[operation_type], re.MULTILINE)
    expected = [
        (field.name, "required" if field.required else "optional", describe_type(field.specification))
        for field in plan_of(OPERATION_RECORDS[operation_type])
        if field.name not in COMMON_FIELDS
    ]
    assert rows == expected


@pytest.mark.parametrize("operation_type", sorted(OPERATION_RECORDS))
def test_examples_are_those_of_the_schemas(operation_type: str) -> None:
    text = SECTIONS[operation_type].split("```json\n")[1].split("```")[0]
    example = json.loads(text)
    assert example == EXAMPLES[operation_type]
    schema = OPERATION_MODELS[operation_type].model_json_schema()
    jsonschema_rs.validate(schema, example)
    assert not jsonschema_rs.is_valid(schema, example | {"surprise": 1})


def test_the_examples_can_be_applied_in_their_order() -> None:
    market = Market()
    for operation in STORY:
        jsonschema_rs.validate(OPERATION_MODELS[operation["type"]].model_json_schema(), operation)
        market.check(operation, signers=signers_for(operation))
        market.apply(operation, signers=signers_for(operation))
    assert {operation["type"] for operation in STORY} == set(OPERATION_RECORDS)


def test_the_table_of_refusals_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.+) \| (.+) \|$", SECTIONS["Refusal"], re.MULTILINE)
    expected = [
        (refusal.code, str(STATUS_OF_KIND[refusal.kind]), refusal.rule, refusal.source) for refusal in REFUSALS.values()
    ]
    assert rows == expected


@pytest.mark.parametrize(("code", "operations"), CASES)
def test_sections_name_the_refusals_that_their_operations_earn(code: str, operations: Case) -> None:
    market = Market().open_for_business(700, 300)
    refused = operations(market)
    with pytest.raises(Rejected) as caught:
        market.apply(*refused, signers=signers_for(refused[0]) if "type" in refused[0] else ("operator",))
    operation_type = refused[int(caught.value.parameters["operation_index"])].get("type")
    documented = codes_of(operation_type) if operation_type in OPERATION_RECORDS else set()
    assert code in documented | COMMON_CODES


def test_sections_name_only_codes_that_exist() -> None:
    named = COMMON_CODES.union(*(codes_of(operation_type) for operation_type in OPERATION_RECORDS))
    assert named == set(REFUSALS)
