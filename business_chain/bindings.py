"""Bindings: pledges and freezes as records of their own, and which shares they lie on.

Shares of one nature on one account are alike, so a binding names amounts and not pieces. Where a part of it lies
decides with what it overlaps:

  * A pledge takes free shares and sets them aside as a *pile* of its own, one for each share nature.
  * A freeze lies on free shares, or on the pile of a pledge that it names.
  * A pledge binds the first `quantity` shares of its pile; the freezes on it bind the first `covered`. So the pile is
    as high as the higher of the two.

    bound = sum over the pledges of max(quantity, covered) + sum over the freezes of what lies on no pile
    free  = held - bound

Invariants
  B4  When a freeze is laid on a pile, the pledge binds that much which no other freeze covers. Freezes do not overlap:
      a second order on the same shares has to wait.
  B5  A release lowers a pledge's own quantity and an unfreeze the freeze's: what the other still covers stays bound.
  B6  A pledge of which nothing is left stays in the state while a freeze lies on its pile.
  B7  An operation reads and writes one holding, one binding and at most MAX_PARTS pledges.

A further kind of binding is a further `kind` with its own fields, which are absent elsewhere. One that waits covers
nothing: its parts begin when it takes effect. One below pledges (a lock-up) is a pile on which piles stand; its height
is the higher of its quantity and of what stands on it.

Reference: docs/adr/0081. Left out: who may bind what (operations.bindings).
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

BindingKind = Literal["freeze", "pledge"]
MAX_PARTS: Final = 16
"""Parts that an operation may name: a freeze of more pledges takes several operations of one transaction."""


class BindingPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a binding covers of one share nature, in one place (quantities in the product's scale)."""

    covered: int = 0
    """Of a pledge: what freezes cover of its pile."""
    pledge: str | None = None
    """Of a freeze: the pledge on whose pile this part lies; None lies on no pile."""
    quantity: int
    share_nature: int

    @property
    def height(self) -> int:
        """How many shares of the pile are bound."""
        return max(self.quantity, self.covered)

    @property
    def place(self) -> tuple[int, str]:
        """Share nature and pledge; the order of parts, no pledge first."""
        return self.share_nature, self.pledge or ""

    def with_quantity(self, change: int) -> BindingPart:
        """The part after so much more or less is bound."""
        return msgspec.structs.replace(self, quantity=self.quantity + change)

    def with_covered(self, change: int) -> BindingPart:
        """A pledge's part after freezes cover so much more or less of its pile."""
        return msgspec.structs.replace(self, covered=self.covered + change)


class Binding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is left of a pledge or a freeze; its parts stand in the order of their places, each place once."""

    account: str
    authority: str | None = None
    contract_number: str | None = None
    kind: BindingKind
    order_number: str | None = None
    parts: tuple[BindingPart, ...]
    pledgee: str | None = None
    product: str
    until_ms: int | None = None

    @property
    def quantity(self) -> int:
        """What it covers in all natures and places."""
        return sum(part.quantity for part in self.parts)

    def part(self, share_nature: int) -> BindingPart:
        """A pledge's part of one share nature, of quantity zero if it has none."""
        for part in self.parts:
            if part.share_nature == share_nature:
                return part
        return BindingPart(quantity=0, share_nature=share_nature)

    def replace(self, changed: BindingPart) -> Binding:
        """The binding with another part in that place; a part of nothing is left out."""
        parts = [part for part in self.parts if part.place != changed.place]
        if changed.height:
            parts.append(changed)
        return msgspec.structs.replace(self, parts=in_order(parts))


def in_order(parts: list[BindingPart]) -> tuple[BindingPart, ...]:
    """Parts as a record lists them."""
    return tuple(sorted(parts, key=lambda part: part.place))


_decoder: Final = msgspec.json.Decoder(Binding)


def decode_binding(data: bytes) -> Binding:
    """A binding from its stored bytes."""
    return _decoder.decode(data)
