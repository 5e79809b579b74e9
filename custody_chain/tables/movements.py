"""Registrations as movements of positions, one behind the other."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import msgspec

from common.model.kinds.registration import StatedNature
from common.model.quantities import Quantity
from custody_chain.tables.objects import Where
from custody_chain.tables.positions import Balances, HoldingKey, Standing
from custody_chain.tables.table import Foreign, Number, Table


class Stated(NamedTuple):
    """One balance as a registration states it; null where it does not."""

    before: Quantity | None
    change: Quantity | None
    after: Quantity | None


class EncumbranceChange(msgspec.Struct, frozen=True):
    """What a registration changes of a pledge or freeze."""

    kind: Literal["pledge", "freeze"]
    id: str
    change: Quantity


class MovementKey(NamedTuple):
    """A movement by its number; numbers are given in the order of arrival."""

    region: str
    product: Foreign
    account: Foreign
    number: Number


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """One registration's effect on one position."""

    object_id: str
    since: Where
    """Where the registration first appeared; movements follow each other in this order."""
    previous: int | None = None
    next: int | None = None
    preceded_by: Balances
    """The balances after the movement before."""
    before: Balances
    after: Balances
    held_preceded_by: Quantity | None = None
    """Held after the movement before, before and after this one, each where it is stated."""
    held_before: Quantity | None = None
    held_after: Quantity | None = None
    natures_preceded_by: tuple[StatedNature, ...] | None = None
    share_natures: tuple[StatedNature, ...] | None = None
    """Balances by share nature after the movement before and after this one, each where they are stated."""
    event_type: int | None = None
    """`register_event_type` of the data model: whether a trade is reported."""
    effective_date: str | None = None
    """The day on which it takes effect as the market states it, YYYY-MM-DD."""
    stated: tuple[Stated, ...] = ()
    """Available, pledged, frozen."""
    inflow: bool = False
    """Whether shares may have come in: it names a transaction, or is the account's first in the product."""
    encumbrance: EncumbranceChange | None = None
    height: int = 0
    index: int = 0
    alerts: dict[str, str] = {}

    @property
    def standing(self) -> Standing:
        """The position after it."""
        return Standing(self.after, self.held_after, self.share_natures, self.effective_date)


MOVEMENTS: Final = Table("movement", MovementKey, Movement, index=True)


class LastMovement(msgspec.Struct, frozen=True):
    """The newest movement of a position, and how many numbers were given."""

    newest: int | None = None
    made: int = 0


LAST_MOVEMENTS: Final = Table("last_movement", HoldingKey, LastMovement, index=True)
