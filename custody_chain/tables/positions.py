"""Balances of accounts, who they are filed under, and who counts as a holder of what."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from common.model.kinds.registration import StatedNature
from common.model.quantities import Quantity, is_believed, plain
from custody_chain.tables.table import UNRESOLVED, Foreign, Table, component


class Balances(NamedTuple):
    """Balances of one account in one product, in the product's unit."""

    available: Quantity
    pledged: Quantity
    frozen: Quantity

    @property
    def most_held(self) -> Quantity:
        """All that is in the account if no freeze lies on pledged shares."""
        return plain(self.available + self.pledged + self.frozen)

    @property
    def least_held(self) -> Quantity:
        """All that is in the account if freezes lie on pledged shares as far as they can."""
        return plain(self.available + max(self.pledged, self.frozen))

    @property
    def in_range(self) -> bool:
        """Whether all three can be believed and summed."""
        return all(map(is_believed, self))


NOTHING: Final = Balances(0, 0, 0)


class Standing(NamedTuple):
    """All that a registration says of a position after it. None: the chain does not state it."""

    balances: Balances
    stated_held: Quantity | None = None
    share_natures: tuple[StatedNature, ...] | None = None
    effective_date: str | None = None

    @property
    def held(self) -> Quantity:
        """Everything in the account: as stated, else what its balances add up to."""
        return self.balances.most_held if self.stated_held is None else self.stated_held

    @property
    def least_held(self) -> Quantity:
        """What is certainly in the account: as stated, else as far as freezes may lie on pledged shares."""
        return self.balances.least_held if self.stated_held is None else self.stated_held

    @property
    def in_range(self) -> bool:
        """Whether all of it can be believed and summed."""
        return self.balances.in_range and is_believed(self.held)


NO_STANDING: Final = Standing(NOTHING)


class PositionKey(NamedTuple):
    """A position; `investor` is a checked code or `UNRESOLVED`."""

    investor: str
    region: str
    product: Foreign
    account: Foreign


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """What an account has of a product after its newest registration."""

    available: Quantity
    pledged: Quantity
    frozen: Quantity
    held: Quantity
    """As stated, else what the three add up to."""
    least_held: Quantity
    """As stated, else the least that the three allow."""
    share_natures: tuple[StatedNature, ...] | None = None
    """The same by share nature, ascending; None: the chain does not state it."""
    object_id: str
    """The registration."""
    height: int
    index: int
    time_ms: int
    """Of the region's block."""
    effective_date: str | None = None
    """The day on which it takes effect as the market states it, YYYY-MM-DD; None: not stated."""


POSITIONS: Final = Table("position", PositionKey, Position)


class HoldingKey(NamedTuple):
    """An account's holding of a product."""

    region: str
    product: Foreign
    account: Foreign


class Filing(msgspec.Struct, frozen=True):
    """Under which investor the position is filed."""

    investor: str


HOLDINGS: Final = Table("holding", HoldingKey, Filing)


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
