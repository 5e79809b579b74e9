"""An account's holding of a product: one balance a share nature, and how it stands in the state.

Value of a holding's leaf, canonical JSON without blanks, share natures ascending::

    [[nature, held], …]                          a balance on which nothing lies
    [[nature, held, pledged, frozen, bound], …]  one on which a pledge or freeze lies

Invariants
  B1  A nature of which nothing is held is not listed; a holding of nothing is no leaf.
  B2  `pledged` is what all pledges cover together, `frozen` what all freezes do, `bound` the shares on which any of
      them lies (`bindings`): max(pledged, frozen) <= bound <= min(held, pledged + frozen).
  B3  What is available is held - bound. So it is never stated by a caller, and never below zero: a balance changes
      through `with_held` and `with_bindings` alone.

Reference: docs/protocol.md, section 10; docs/adr/0080. Left out: which shares a binding lies on (`bindings`); what a
share nature permits.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final

import msgspec

from common.core.errors import InvariantBroken

DEFAULT_SHARE_NATURE: Final = 0
"""What an operation without a share nature means: 流通股, tradable shares."""


class Figures(msgspec.Struct, frozen=True, gc=False):
    """A balance, or several together, as documents state it (quantities in the product's scale)."""

    held: int
    available: int
    pledged: int
    frozen: int


class Balance(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an account holds of one product in one share nature (quantities in the product's scale)."""

    share_nature: int
    held: int
    pledged: int = 0
    frozen: int = 0
    bound: int = 0

    @property
    def available(self) -> int:
        """What may move: nothing lies on it."""
        return self.held - self.bound

    def with_held(self, change: int) -> Balance:
        """The balance after `change` free shares came or went. Raises `InvariantBroken`: the rule did not check."""
        held = self.held + change
        if held < self.bound:
            raise InvariantBroken(f"{change} of {self}: less would be held than is bound")
        return Balance(self.share_nature, held, self.pledged, self.frozen, self.bound)

    def with_bindings(self, pledged: int, frozen: int, bound: int) -> Balance:
        """The balance after the bindings on it changed by that much. Raises `InvariantBroken`, as above."""
        pledged, frozen, bound = self.pledged + pledged, self.frozen + frozen, self.bound + bound
        if not (0 <= pledged <= bound and 0 <= frozen <= bound and bound <= min(self.held, pledged + frozen)):
            raise InvariantBroken(f"{pledged} pledged, {frozen} frozen, {bound} bound of {self}")
        return Balance(self.share_nature, self.held, pledged, frozen, bound)


class Holding(msgspec.Struct, frozen=True):
    """The balances of one account in one product, share natures ascending (B1)."""

    balances: tuple[Balance, ...]

    def balance(self, share_nature: int) -> Balance:
        """The balance of one share nature, zero if there is none."""
        for balance in self.balances:
            if balance.share_nature == share_nature:
                return balance
        return Balance(share_nature, 0)

    def with_held(self, share_nature: int, change: int) -> Holding:
        """The holding after `change` free shares of one nature came or went. Raises as `Balance.with_held`."""
        return self.replace(self.balance(share_nature).with_held(change))

    def replace(self, changed: Balance) -> Holding:
        """The holding with another balance of that share nature."""
        if len(self.balances) == 1 and self.balances[0].share_nature == changed.share_nature:
            return Holding((changed,)) if changed.held else NOTHING_HELD
        others = [balance for balance in self.balances if balance.share_nature != changed.share_nature]
        if changed.held:
            others.append(changed)
        return Holding(tuple(sorted(others, key=attrgetter("share_nature"))))

    @property
    def figures(self) -> Figures | Balance:
        """Over all share natures; of one alone, its balance itself."""
        if len(self.balances) == 1:
            return self.balances[0]
        held = sum([balance.held for balance in self.balances])
        return Figures(
            held,
            held - sum([balance.bound for balance in self.balances]),
            sum([balance.pledged for balance in self.balances]),
            sum([balance.frozen for balance in self.balances]),
        )


NOTHING_HELD: Final = Holding(())

_decoder: Final = msgspec.json.Decoder(tuple[Balance, ...])
_encoder: Final = msgspec.json.Encoder()


def encode_holding(holding: Holding) -> bytes:
    """The leaf's bytes."""
    return _encoder.encode(
        [
            (balance.share_nature, balance.held, balance.pledged, balance.frozen, balance.bound)
            if balance.bound
            else (balance.share_nature, balance.held)
            for balance in holding.balances
        ]
    )


def decode_holding(data: bytes) -> Holding:
    """A holding from its leaf. Raises `msgspec.MsgspecError` for anything else."""
    return Holding(_decoder.decode(data))
