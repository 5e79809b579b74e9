"""Balances of accounts, who they are filed under, and who counts as a holder of what."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from common.model.quantities import MAX_QUANTITY
from custody_chain.tables.table import UNRESOLVED, Foreign, Table, component


class Balances(NamedTuple):
    """Balances of one account in one product, in the product's unit."""

    available: int
    pledged: int
    frozen: int

    @property
    def held(self) -> int:
        """Everything in the account, free or not."""
        return self.available + self.pledged + self.frozen

    @property
    def in_range(self) -> bool:
        """Whether all three can be believed and summed (`MAX_QUANTITY`)."""
        return all(-MAX_QUANTITY <= value <= MAX_QUANTITY for value in self)


NOTHING: Final = Balances(0, 0, 0)


class PositionKey(NamedTuple):
    """A position; `investor` is a checked code or `UNRESOLVED`."""

    investor: str
    region: str
    product: Foreign
    account: Foreign


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """What an account has of a product after its newest registration."""

    available: int
    pledged: int
    frozen: int
    object_id: str
    """The registration."""
    height: int
    index: int
    time_ms: int
    """Of the region's block."""

    @property
    def balances(self) -> Balances:
        """All three."""
        return Balances(self.available, self.pledged, self.frozen)


POSITIONS: Final = Table("position", PositionKey, Position)


class HoldingKey(NamedTuple):
    """An account's holding of a product."""

    region: str
    product: Foreign
    account: Foreign


class Holding(msgspec.Struct, frozen=True):
    """Under which investor the position is filed."""

    investor: str


HOLDINGS: Final = Table("holding", HoldingKey, Holding)


class HolderKey(NamedTuple):
    """A holder of a product."""

    region: str
    product: Foreign
    holder: str


class Holder(msgspec.Struct, frozen=True):
    """How many accounts of the holder have a balance, and the security that the holder is counted to."""

    accounts: int
    security: str | None


HOLDERS: Final = Table("holder", HolderKey, Holder, index=True)


def holder_name(investor: str, region: str, account: str) -> str:
    """Who counts as one holder: the investor, or each account by itself while its owner is unresolved."""
    return investor if investor != UNRESOLVED else f"{region}:{component(account)}"


class SecurityKey(NamedTuple):
    """A security over all its instalments and markets."""

    security: str


class SecurityRegion(msgspec.Struct, frozen=True):
    """A region's part of a security: holders of its products, added up, and one product if it has an instalment."""

    holders: int
    product: str | None


class Security(msgspec.Struct, frozen=True):
    """Who holds a security. It has no record while nobody does."""

    holders: int
    """Different ones."""
    instalments: int
    """Products that have any of them."""
    regions: dict[str, SecurityRegion]
    alerts: dict[str, str] = {}


SECURITIES: Final = Table("security", SecurityKey, Security)


class SecurityHolderKey(NamedTuple):
    """A holder of a security."""

    security: str
    holder: str


class SecurityHolder(msgspec.Struct, frozen=True):
    """In how many of its products the holder has a balance."""

    products: int


SECURITY_HOLDERS: Final = Table("security_holder", SecurityHolderKey, SecurityHolder, index=True)


class InstalmentKey(NamedTuple):
    """A product as an instalment of a security."""

    security: str
    region: str
    product: Foreign


class Instalment(msgspec.Struct, frozen=True):
    """How many holders of the product are counted to the security."""

    holders: int


INSTALMENTS: Final = Table("instalment", InstalmentKey, Instalment, index=True)
