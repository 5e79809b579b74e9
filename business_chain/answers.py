"""Answers of the business queries as models: for the OpenAPI document and for building them with types.

Quantities are integers in the product's scale. Binary values are lowercase hex. Left out: reading (queries).
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class AsOf(BaseModel):
    """The block after which the answer holds."""

    network: str
    height: int
    block_id: str = Field(description="id of that block, hex; the genesis id at height 0")
    block_time_ms: int


class ProvenEntry(BaseModel):
    """One authenticated value with its proof against the header's state root."""

    key: str = Field(description="key of the authenticated state, ASCII")
    value: str | None = Field(description="its canonical JSON text; null proves absence")
    proof: dict[str, Any] = Field(description="state proof, format tongjian/state-proof/v1")


class StateEvidence(BaseModel):
    """What proves the answer to somebody who knows the chain's validators."""

    header: str | None = Field(description="wire bytes of the block's header, hex; null at genesis")
    certificate: str | None = Field(description="wire bytes of its commit certificate, hex; null at genesis")
    entries: list[ProvenEntry]


class Provable(BaseModel):
    """What every answer has."""

    as_of: AsOf
    evidence: StateEvidence | None = Field(default=None, description="with `proof=true`")


class ProductAnswer(BaseModel):
    """A product as it is."""

    product: str = Field(examples=["BJ000001.ESVUFR2601"])
    name: str
    issuer: str = Field(description="object id of the issuer's subject")
    product_type: int
    unit: str
    scale: int
    currency: str
    face_value_e4: int | None
    holder_limit: int | None = Field(description="most accounts with a balance; null: no limit of its own")
    authorised_quantity: int
    registered_total: int
    share_natures: list[NatureTotal] = Field(description="the total by share nature, ascending")
    holders: int = Field(description="accounts with a balance")
    version: int


class FiguresAnswer(BaseModel):
    """What is held of one product, and what binds it. A freeze may lie on pledged shares."""

    held: int
    available: int = Field(description="held, without what a pledge or a freeze binds")
    pledged: int = Field(description="what pledges cover; at most what is held")
    frozen: int = Field(description="what freezes cover; at most what is held")


class NatureFigures(FiguresAnswer):
    """The same of one share nature."""

    share_nature: int = Field(description="share nature (股份性质)")


class BalancesAnswer(FiguresAnswer):
    """Balances of one account in one product, over all share natures and by each."""

    share_natures: list[NatureFigures] = Field(description="natures of which something is held, ascending")


class NatureTotal(BaseModel):
    """What is registered of one share nature."""

    share_nature: int = Field(description="share nature (股份性质)")
    registered: int


class RegisterEntry(BalancesAnswer):
    """One line of a register of members (股东名册)."""

    account: str
    subject: str
    subject_kind: str
    name: str | None = Field(description="of an organisation; persons have a commitment on chain, no name")
    investor_code: str | None
    enterprise_code: str | None


class HoldingEntry(BalancesAnswer):
    """One product on an account."""

    product: str
    name: str
    unit: str
    scale: int


class ProductsAnswer(Provable):
    """Products in the order of their codes."""

    products: list[ProductAnswer]
    next_cursor: str | None = Field(description="give it as `cursor` for the next page; null on the last")


class RegisterAnswer(Provable):
    """A register of members in the order of account ids.

    Complete: the product's own authenticated value says how many holders there are (`holders`) and what they hold
    together by share nature (`share_natures`), so a proven register cannot leave anybody out.
    """

    product: ProductAnswer
    holders: list[RegisterEntry]
    next_cursor: str | None


class HoldingsAnswer(Provable):
    """What an account holds, in the order of product codes."""

    account: str
    account_type: str
    status: str
    subject: str
    version: int
    holdings: list[HoldingEntry]
    next_cursor: str | None


class SubjectAnswer(Provable):
    """A subject with its codes, and a page of its accounts and of its products, each in the order of their ids."""

    object_id: str
    kind: str
    version: int
    name: str | None
    name_commitment: str | None
    identity_commitment: str | None
    investor_code: str | None
    enterprise_code: str | None
    credit_code: str | None
    qualification_category: int | None
    shareholders: int = Field(description="distinct subjects that hold its shares or equity interests")
    accounts: list[str]
    products: list[str]
    truncated: bool = Field(description="whether it has more accounts or products than this page and those before")
    next_cursor: str | None = Field(description="goes on with both; null on the last page")
