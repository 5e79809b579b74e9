"""Operations as models with JSON Schema, and examples: for the OpenAPI document and docs/api-operations.md.

Made from the records (operations.records), so a field cannot be documented otherwise than it is read. The examples
tell one story in order and are applied by a test.

Left out: validation of what clients send; the chain reads operations with `operation_types.parse_operation` alone.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from types import GenericAlias
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, WithJsonSchema, create_model

from business_chain.operations.fields import PlannedField, Specification, plan_of
from business_chain.operations.operation_records import Operation
from business_chain.operations.operation_types import OPERATION_RECORDS
from common.core.suite import DEFAULT_SUITE

_OCCURRED_AT_MS: Final = 1_767_225_600_000
_NODE_KEY: Final = DEFAULT_SUITE.format_key(
    bytes.fromhex("a0ceee2144491a9eb8246adca9922f82f6268f43c56318daaf6e6e9ec6474fd6")
)
_SIGNER_KEY: Final = DEFAULT_SUITE.format_key(
    bytes.fromhex("927909645edac346537a4373bcf2d73e2419882860de8730b86cef5511e87dc4")
)
_PRODUCT: Final = "BJ000001.ESVUFR2601"


def _example(operation_type: str, business_id: str, **fields: Any) -> dict[str, Any]:
    return {"type": operation_type, "business_id": business_id, "occurred_at_ms": _OCCURRED_AT_MS, **fields}


def _person(number: int) -> dict[str, Any]:
    return _example(
        "subject.register",
        f"subject-{number}",
        object_id=f"person-{number}",
        kind="person",
        investor_code=f"Q{number:09d}",
        name_commitment=f"{number:02d}" * 32,
        identity_commitment=f"{number + 10:02d}" * 32,
        qualification={"category": 5, "certified_at_ms": _OCCURRED_AT_MS - 86_400_000},
    )


def _account(number: int) -> dict[str, Any]:
    return _example(
        "account.open",
        f"account-{number}",
        account=f"A-{number}",
        subject=f"person-{number}",
        account_type="securities",
    )


STORY: Final[tuple[dict[str, Any], ...]] = (
    _example(
        "subject.register",
        "subject-issuer",
        object_id="BJ000001",
        kind="organisation",
        name="北京样例智能科技股份有限公司",
        enterprise_code="BJ000001",
        credit_code="91110000FAKE00013H",
    ),
    _person(1),
    _person(2),
    _account(1),
    _account(2),
    _example(
        "product.issue",
        "product-1",
        product=_PRODUCT,
        issuer="BJ000001",
        name="北京样例智能科技股份有限公司普通股",
        product_type=2,
        unit="share",
        scale=0,
        authorised_quantity=1_000_000,
        currency="156",
        face_value_e4=10_000,
    ),
    _example(
        "registration.initial",
        "initial-1",
        product=_PRODUCT,
        account="A-1",
        quantity=1_000_000,
        share_nature=24,
        effective_date="2025-12-31",
    ),
    _example(
        "registration.increase",
        "increase-1",
        product=_PRODUCT,
        entries=[{"account": "A-1", "quantity": 50_000}, {"account": "A-2", "quantity": 150_000}],
        price_e4=20_000,
        authorised_quantity=1_200_000,
        basis={
            "kind": "resolution",
            "number": "2026-01",
            "issuer": "北京样例智能科技股份有限公司",
            "date": "2026-01-01",
        },
    ),
    _example(
        "registration.transfer",
        "transfer-1",
        product=_PRODUCT,
        from_account="A-1",
        to_account="A-2",
        quantity=100_000,
        share_nature=24,
        price_e4=125_000,
        basis={"kind": "contract", "number": "BJ-2026-001", "issuer": "样例经纪有限公司", "date": "2026-01-01"},
    ),
    _example(
        "registration.pledge",
        "pledge-1",
        product=_PRODUCT,
        account="A-2",
        quantity=30_000,
        pledgee="person-1",
        contract_number="BJ-PLEDGE-2026-001",
    ),
    _example("registration.release", "release-1", pledge="pledge-1", quantity=10_000),
    _example(
        "registration.freeze",
        "freeze-1",
        product=_PRODUCT,
        account="A-1",
        quantity=5_000,
        authority="样例人民法院",
        order_number="(2026)京01执1号",
        until_ms=_OCCURRED_AT_MS + 31_536_000_000,
    ),
    _example(
        "registration.freeze",
        "freeze-2",
        product=_PRODUCT,
        account="A-2",
        quantity=25_000,
        parts=[{"quantity": 20_000, "pledge": "pledge-1"}, {"quantity": 4_000, "share_nature": 24}],
        authority="样例人民法院",
        order_number="(2026)京01执3号",
    ),
    _example("registration.release", "release-2", pledge="pledge-1"),
    _example("registration.unfreeze", "unfreeze-1", freeze="freeze-1"),
    _example("registration.unfreeze", "unfreeze-2", freeze="freeze-2"),
    _example(
        "account.freeze", "account-freeze-1", account="A-1", authority="样例人民法院", order_number="(2026)京01执2号"
    ),
    _example("account.unfreeze", "account-unfreeze-1", account="A-1"),
    _example("account.open", "account-3", account="A-3", subject="person-2", account_type="cash"),
    _example("account.close", "account-close-1", account="A-3"),
    _example(
        "validators.change",
        "validators-1",
        validators=[{"name": "beijing-1", "organisation": "beijing-exchange", "public_key": _NODE_KEY}],
        effective_height=2_000,
        reason="the market replaces its node",
    ),
    _example("protocol.activate", "protocol-1", version=2, height=5_000, reason="every node supports version 2"),
    _example(
        "parameters.set",
        "parameters-1",
        values={"heartbeat_ms": 5_000},
        height=6_000,
        reason="signs of life twice as often",
    ),
    _example(
        "policy.set",
        "policy-1",
        rules=[{"operation_type": "registration.freeze", "maker": ["operator"], "checkers": [["operator"]]}],
        height=6_000,
        reason="freezes are checked by a second person",
    ),
    _example(
        "signer.set",
        "signer-1",
        public_key=_SIGNER_KEY,
        organisation="beijing-exchange",
        role="operator",
        person="staff-17",
        label="北京样例股权交易中心",
        reason="a new member of staff",
    ),
    _example("signer.remove", "signer-2", public_key=_SIGNER_KEY, reason="the member of staff has left"),
)
"""Operations that follow from each other, in order."""

EXAMPLES: Final[dict[str, dict[str, Any]]] = {operation["type"]: operation for operation in reversed(STORY)}
"""Operation type -> its first example in the story."""


def _model_field(field: PlannedField) -> Any:
    documented = Annotated[Any, WithJsonSchema(field.specification.json_schema())]
    return (documented, ...) if field.required else (documented, None)


def _model(record: type[Operation]) -> type[BaseModel]:
    fields = {field.name: _model_field(field) for field in plan_of(record)}
    fields["type"] = (Literal[record.TYPE], ...)
    config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLES[record.TYPE]]})
    return create_model(record.__name__, __config__=config, __doc__=record.__doc__, **fields)


OPERATION_MODELS: Final = {record.TYPE: _model(record) for record in OPERATION_RECORDS.values()}
"""One model an operation, so that each stands in the OpenAPI document under its own name. They validate nothing."""

_operations_type: Any = GenericAlias(list, (reduce(or_, OPERATION_MODELS.values()),))
ExampleStory: Final = create_model(
    "ExampleStory", __doc__="Operations that follow from each other.", operations=(_operations_type, ...)
)


def describe_type(specification: Specification) -> str:
    """A specification in words, for the field tables of docs/api-operations.md."""
    return _in_words(specification.json_schema())


def _in_words(schema: dict[str, Any]) -> str:
    note = schema.get("description")
    if "enum" in schema and schema["type"] == "string":
        words = "one of " + ", ".join(f"`{word}`" for word in schema["enum"])
    elif "enum" in schema:
        words = "integer from the table in docs/adr/0033"
    elif schema["type"] == "integer":
        words = f"integer {schema['minimum']}..{schema['maximum']}"
    elif schema["type"] == "array" and "items" not in schema:
        return f"list: {note}"
    elif schema["type"] == "array":
        words = f"list of 1..{schema['maxItems']} objects {_in_words(schema['items'])}"
    elif schema["type"] == "object" and "properties" not in schema:
        return f"object: {note}"
    elif schema["type"] == "object":
        inner = (f"`{name}`: {_in_words(part)}" for name, part in schema["properties"].items())
        words = "{" + "; ".join(inner) + "}"
    elif "pattern" in schema:
        words = f"string `{schema['pattern'].strip('^$')}`".replace("|", "\\|")
    else:
        words = f"string of at most {schema['maxLength']} characters"
    return f"{words}: {note}" if note and schema["type"] != "object" else words
