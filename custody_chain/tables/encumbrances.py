"""Single pledges and freezes, and pledge contracts over all markets."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import msgspec

from common.model.kinds.registration import StatedPart
from common.model.quantities import Quantity
from custody_chain.tables.table import Foreign, Table


class EncumbranceKey(NamedTuple):
    """One pledge or freeze of a position."""

    region: str
    product: Foreign
    account: Foreign
    kind: str
    id: Foreign


class Encumbrance(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a pledge or freeze, and what its newest registration says of it."""

    kind: Literal["pledge", "freeze"]
    id: str
    quantity: Quantity
    investor: str
    """Who the account led to when it was opened."""
    object_id: str
    height: int
    index: int
    time_ms: int
    contract_number: str | None = None
    """Of a pledge, as its pledgee."""
    pledgee: str | None = None
    authority: str | None = None
    """Of a freeze, as its order and its end."""
    order_number: str | None = None
    until_ms: int | None = None
    parts: tuple[StatedPart, ...] | None = None
    """What is left by share nature, and of a freeze on which pledge it lies, where the chain states it."""


ENCUMBRANCES: Final = Table("encumbrance", EncumbranceKey, Encumbrance)
SETTLED: Final = Table("settled", EncumbranceKey, Encumbrance, index=True)
"""Those of which nothing is left: their quantity is zero, or below while a registration is missing."""


class AgreementKey(NamedTuple):
    """One contract of one pledgor."""

    investor: str
    contract: Foreign


class PledgeContract(msgspec.Struct, frozen=True):
    """How many open pledges a contract has in each region."""

    regions: dict[str, int]
    alerts: dict[str, str] = {}


AGREEMENTS: Final = Table("agreement", AgreementKey, PledgeContract)
