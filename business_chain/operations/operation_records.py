"""The operations of a business chain as typed records: every field with its type and its specification.

This is the one place that says which fields an operation has; parsing, the OpenAPI document and docs/api-operations.md
follow it. An optional field that is absent is None. Units: quantities are integers in the product's scale, prices
1/10,000 yuan (`_e4`), times milliseconds since the Unix epoch (`_ms`).

Left out: rules between fields and against state (the other modules of this package).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

import msgspec

from business_chain.balances import DEFAULT_SHARE_NATURE
from business_chain.bindings import MAX_PARTS
from business_chain.operations.fields import (
    Choice,
    Code,
    Date,
    Entries,
    Nested,
    Open,
    Pattern,
    ShareNature,
    Text,
    Whole,
)
from common.core.names import IDENTIFIER_PATTERN, PRINCIPAL_PATTERN
from common.core.validators import MAX_VALIDATORS
from common.model import codes
from common.model.enumerations import CURRENCIES, UNITS
from common.model.quantities import MAX_PLACES, MAX_QUANTITY
from common.model.sealed import (
    DIGEST_PATTERN,
    MAX_SEALED_BODIES,
    MAX_SEALED_BYTES,
    MEDIA_TYPE_PATTERN,
    SealedBody,
)

MAX_ENTRIES: Final = 100
"""Holders that one increase may list; a larger issue takes several operations of one transaction."""
MAX_TIME_MS: Final = 253_402_214_400_000
"""31 December 9999, 24:00 in +08:00: dates have four-digit years."""

IDENTIFIER: Final = Pattern(IDENTIFIER_PATTERN, note="identifier")
COMMITMENT: Final = Pattern("[0-9a-f]{64}", note="salted commitment, 64 hex characters; the salt stays with the market")
FILE_HASH: Final = Pattern("[0-9a-f]{64}", note="hash of the file, 64 hex characters")
DATE: Final = Date(note="date, YYYY-MM-DD")
EFFECTIVE_DATE: Final = Date(note="day on which it takes effect, YYYY-MM-DD; default the day of `occurred_at_ms`")
TIME: Final = Whole(0, MAX_TIME_MS, note="milliseconds since the Unix epoch")
QUANTITY: Final = Whole(1, MAX_QUANTITY, note="integer in the product's scale")
PRICE: Final = Whole(0, note="price in 1/10,000 yuan")
SHORT_TEXT: Final = Text(64, note="one line of text")
INVESTOR_CODE: Final = Code(
    codes.is_investor_code, "investor_code_invalid", note="investor code (JR/T 0326-2024)", example="Q000000001"
)
ENTERPRISE_CODE: Final = Code(
    codes.parse_enterprise_code, "enterprise_code_invalid", note="enterprise code (JR/T 0326-2024)", example="BJ000001F"
)
PRODUCT_CODE: Final = Code(
    codes.is_product_code,
    "product_code_invalid",
    note="product code (JR/T 0326-2024)",
    example="BJ000001F.DCFGFR2110",
)
CREDIT_CODE: Final = Code(
    codes.is_credit_code,
    "credit_code_invalid",
    note="unified social credit code (GB 32100-2015)",
    example="91110000FAKE00013H",
)

PUBLIC_KEY: Final = Pattern("[a-z0-9]{1,16}:[0-9a-f]{2,512}", note="public key in the chain's suite, text form")
ROLE: Final = Pattern(IDENTIFIER_PATTERN, note="role that the policy names")
ORGANISATION: Final = Pattern(PRINCIPAL_PATTERN, note="organisation", code="principal_invalid")
PERSON: Final = Pattern(PRINCIPAL_PATTERN, note="pseudonym shared by all keys of one person", code="principal_invalid")
REASON: Final = Text(256, note="why, for the record")
HEIGHT: Final = Whole(1, note="height of this chain")


class Basis(msgspec.Struct, frozen=True, kw_only=True):
    """The document an operation rests on: contract, court order, resolution."""

    kind: Annotated[str, SHORT_TEXT]
    number: Annotated[str, SHORT_TEXT]
    issuer: Annotated[str, Text(128, note="organisation that issued the document; never a person's name")]
    date: Annotated[str, DATE]
    file_hash: Annotated[str | None, FILE_HASH] = None


class SealedEntry(SealedBody, frozen=True, kw_only=True):
    """A body that stays off the chain, by the hash of its bytes."""

    digest: Annotated[str, Pattern(DIGEST_PATTERN, note="hash of the body's bytes in the chain's suite, hex")]
    media_type: Annotated[str, Pattern(MEDIA_TYPE_PATTERN, note="media type without parameters")]
    size_bytes: Annotated[int, Whole(1, MAX_SEALED_BYTES, note="size of the body")]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What every operation has besides its `type`."""

    TYPE: ClassVar[str]

    business_id: Annotated[str, Pattern(IDENTIFIER_PATTERN, note="unique in the network for ever")]
    occurred_at_ms: Annotated[int, TIME]
    basis: Annotated[Basis | None, Nested(Basis)] = None
    sealed_bodies: Annotated[tuple[SealedEntry, ...], Entries(SealedEntry, MAX_SEALED_BODIES)] = ()


class Qualification(msgspec.Struct, frozen=True, kw_only=True):
    """Standing as a qualified investor, CSRC Decree 132 Art. 13."""

    category: Annotated[int, Whole(1, 5, note="1 to 5 as in CSRC Decree 132 Art. 13")]
    certified_at_ms: Annotated[int, TIME]


class RegisterSubject(Operation, frozen=True, kw_only=True):
    """A company, institution or person (主体) becomes known to the market."""

    TYPE = "subject.register"

    object_id: Annotated[str, IDENTIFIER]
    kind: Annotated[str, Choice("organisation", "person", note="kind of subject")]
    name: Annotated[str | None, Text(256, note="name of an organisation")] = None
    name_commitment: Annotated[str | None, COMMITMENT] = None
    identity_commitment: Annotated[str | None, COMMITMENT] = None
    enterprise_code: Annotated[str | None, ENTERPRISE_CODE] = None
    investor_code: Annotated[str | None, INVESTOR_CODE] = None
    credit_code: Annotated[str | None, CREDIT_CODE] = None
    qualification: Annotated[Qualification | None, Nested(Qualification)] = None


class OpenAccount(Operation, frozen=True, kw_only=True):
    """A subject opens an account (开户)."""

    TYPE = "account.open"

    account: Annotated[str, IDENTIFIER]
    subject: Annotated[str, IDENTIFIER]
    account_type: Annotated[str, Choice("securities", "cash", note="kind of account")]


class FreezeAccount(Operation, frozen=True, kw_only=True):
    """No dealings on the account until it is released (账户冻结)."""

    TYPE = "account.freeze"

    account: Annotated[str, IDENTIFIER]
    authority: Annotated[str, Text(128, note="court or authority that ordered it")]
    order_number: Annotated[str, SHORT_TEXT]


class UnfreezeAccount(Operation, frozen=True, kw_only=True):
    """A frozen account is open again (账户解冻)."""

    TYPE = "account.unfreeze"

    account: Annotated[str, IDENTIFIER]


class CloseAccount(Operation, frozen=True, kw_only=True):
    """An empty account is closed for ever (销户)."""

    TYPE = "account.close"

    account: Annotated[str, IDENTIFIER]


class IssueProduct(Operation, frozen=True, kw_only=True):
    """A security of an enterprise is set up with its authorised quantity (产品登记)."""

    TYPE = "product.issue"

    product: Annotated[str, PRODUCT_CODE]
    issuer: Annotated[str, IDENTIFIER]
    name: Annotated[str, Text(128, note="full name of the product")]
    product_type: Annotated[
        int, Whole(1, 5, note="1 equity interest, 2 shares, 3 convertible bond, 4 bond, 5 fund (private, all)")
    ]
    unit: Annotated[str, Choice(*UNITS, note="what one whole unit is")]
    scale: Annotated[int, Whole(0, MAX_PLACES, note="decimal places of a quantity: 0 for whole shares, 2 for 1/100")]
    authorised_quantity: Annotated[int, QUANTITY]
    currency: Annotated[str, Choice(*CURRENCIES, note="GB/T 12406-2008 numeric code, default 156 (yuan)")] = "156"
    face_value_e4: Annotated[int | None, PRICE] = None
    holder_limit: Annotated[int | None, Whole(1, 1_000_000, note="most accounts that may hold this product")] = None


class Registration(Operation, frozen=True, kw_only=True):
    """What every movement of a holding has besides: the market's business day (+08:00) on which it takes effect."""

    effective_date: Annotated[str | None, EFFECTIVE_DATE] = None


class RegisterInitially(Registration, frozen=True, kw_only=True):
    """A first registration of a holder's quantity (初始登记)."""

    TYPE = "registration.initial"

    product: Annotated[str, PRODUCT_CODE]
    account: Annotated[str, IDENTIFIER]
    quantity: Annotated[int, QUANTITY]
    share_nature: Annotated[int, ShareNature()] = DEFAULT_SHARE_NATURE


class IncreaseEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What one holder gets of an increase."""

    account: Annotated[str, IDENTIFIER]
    quantity: Annotated[int, QUANTITY]
    share_nature: Annotated[int, ShareNature()] = DEFAULT_SHARE_NATURE


class Increase(Registration, frozen=True, kw_only=True):
    """New quantity is issued to holders (增发, 增资扩股)."""

    TYPE = "registration.increase"

    product: Annotated[str, PRODUCT_CODE]
    entries: Annotated[tuple[IncreaseEntry, ...], Entries(IncreaseEntry, MAX_ENTRIES)]
    price_e4: Annotated[int | None, PRICE] = None
    authorised_quantity: Annotated[int | None, QUANTITY] = None


class Transfer(Registration, frozen=True, kw_only=True):
    """Quantity moves from one account to another (过户): by trade if it has a price, else a non-trading transfer."""

    TYPE = "registration.transfer"

    product: Annotated[str, PRODUCT_CODE]
    from_account: Annotated[str, IDENTIFIER]
    to_account: Annotated[str, IDENTIFIER]
    quantity: Annotated[int, QUANTITY]
    share_nature: Annotated[int, ShareNature()] = DEFAULT_SHARE_NATURE
    price_e4: Annotated[int | None, PRICE] = None


class PledgePart(msgspec.Struct, frozen=True, kw_only=True):
    """What a pledge takes of one share nature."""

    quantity: Annotated[int, QUANTITY]
    share_nature: Annotated[int | None, ShareNature("that of the operation")] = None


class Pledge(Registration, frozen=True, kw_only=True):
    """Available quantity becomes security for a debt (质押登记); the pledge's id is its business id."""

    TYPE = "registration.pledge"

    product: Annotated[str, PRODUCT_CODE]
    account: Annotated[str, IDENTIFIER]
    quantity: Annotated[int, QUANTITY]
    pledgee: Annotated[str, IDENTIFIER]
    contract_number: Annotated[str, SHORT_TEXT]
    share_nature: Annotated[int, ShareNature()] = DEFAULT_SHARE_NATURE
    parts: Annotated[tuple[PledgePart, ...], Entries(PledgePart, MAX_PARTS)] = ()


class Release(Registration, frozen=True, kw_only=True):
    """A pledge ends, in full or in part (解除质押)."""

    TYPE = "registration.release"

    pledge: Annotated[str, IDENTIFIER]
    quantity: Annotated[int | None, QUANTITY] = None
    share_nature: Annotated[int | None, ShareNature("all")] = None


class FreezePart(msgspec.Struct, frozen=True, kw_only=True):
    """What a freeze takes of one share nature: of free shares, or of those under a pledge."""

    quantity: Annotated[int, QUANTITY]
    share_nature: Annotated[int | None, ShareNature("that of the operation")] = None
    pledge: Annotated[str | None, IDENTIFIER] = None


class Freeze(Registration, frozen=True, kw_only=True):
    """Quantity is frozen by order of an authority (冻结, 司法冻结); the freeze's id is its business id."""

    TYPE = "registration.freeze"

    product: Annotated[str, PRODUCT_CODE]
    account: Annotated[str, IDENTIFIER]
    quantity: Annotated[int, QUANTITY]
    authority: Annotated[str, Text(128, note="court or authority that ordered it")]
    order_number: Annotated[str, SHORT_TEXT]
    until_ms: Annotated[int | None, TIME] = None
    share_nature: Annotated[int, ShareNature()] = DEFAULT_SHARE_NATURE
    parts: Annotated[tuple[FreezePart, ...], Entries(FreezePart, MAX_PARTS)] = ()


class Unfreeze(Registration, frozen=True, kw_only=True):
    """A freeze ends, in full or in part (解冻)."""

    TYPE = "registration.unfreeze"

    freeze: Annotated[str, IDENTIFIER]
    quantity: Annotated[int | None, QUANTITY] = None
    share_nature: Annotated[int | None, ShareNature("all")] = None


class ValidatorEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One member of a validator set."""

    name: Annotated[str, Pattern(PRINCIPAL_PATTERN, note="seat: the node's name", code="principal_invalid")]
    organisation: Annotated[str, ORGANISATION]
    public_key: Annotated[str, PUBLIC_KEY]


class ChangeValidators(Operation, frozen=True, kw_only=True):
    """Another set of validators signs from a later height on (共识节点变更)."""

    TYPE = "validators.change"

    validators: Annotated[tuple[ValidatorEntry, ...], Entries(ValidatorEntry, MAX_VALIDATORS)]
    effective_height: Annotated[int, HEIGHT]
    replaces: Annotated[int | None, HEIGHT] = None
    reason: Annotated[str, REASON]


class ActivateProtocol(Operation, frozen=True, kw_only=True):
    """The next version of the protocol's rules holds from a later height on (协议升级)."""

    TYPE = "protocol.activate"

    version: Annotated[int, Whole(1, 65_535, note="protocol version")]
    height: Annotated[int, HEIGHT]
    replaces: Annotated[int | None, HEIGHT] = None
    reason: Annotated[str, REASON]


class SetParameters(Operation, frozen=True, kw_only=True):
    """Other parameters hold from a later height on; null takes one back to what genesis gives (参数变更)."""

    TYPE = "parameters.set"

    values: Annotated[dict[str, Any], Open(dict, note="parameter -> integer or null")]
    height: Annotated[int, HEIGHT]
    replaces: Annotated[int | None, HEIGHT] = None
    reason: Annotated[str, REASON]


class SetPolicy(Operation, frozen=True, kw_only=True):
    """Other rules of approval hold from a later height on; a type alone goes back to its default (复核规则变更)."""

    TYPE = "policy.set"

    rules: Annotated[list[Any], Open(list, note="of {operation_type, maker, checkers}, or {operation_type} alone")]
    height: Annotated[int, HEIGHT]
    replaces: Annotated[int | None, HEIGHT] = None
    reason: Annotated[str, REASON]


class SetSigner(Operation, frozen=True, kw_only=True):
    """A key is registered, or gets another organisation, role or person (签名人登记)."""

    TYPE = "signer.set"

    public_key: Annotated[str, PUBLIC_KEY]
    organisation: Annotated[str, ORGANISATION]
    role: Annotated[str, ROLE]
    person: Annotated[str | None, PERSON] = None
    label: Annotated[str | None, Text(128, note="shown to people; decides nothing")] = None
    reason: Annotated[str, REASON]


class RemoveSigner(Operation, frozen=True, kw_only=True):
    """A key may sign nothing any more (签名人注销)."""

    TYPE = "signer.remove"

    public_key: Annotated[str, PUBLIC_KEY]
    reason: Annotated[str, REASON]
