"""Registrations (登记): one account's movement in one product.

A registration states available, pledged and frozen balances before, change and after, over all share natures, so that
after(n) = before(n + 1) can be checked per account and product. A freeze may lie on pledged shares, so the three do not
add up to what is held. The data model has no field for that, nor for balances by share nature, pledgee, contract or
court order: our business chains state them in `header.metadata`.

Left out: rosters (名册登记), whose place is the register query with its proof; which objects an operation makes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from common.model.enumerations import OTHER, RIGHTS, SUBJECT_TYPES, UNITS
from common.model.quantities import MAX_QUANTITY
from common.model.values import group_in, number_in, referenced, short_text_in, text_in

REGISTRATION: Final = "registration"

MAX_STATED: Final = 64
"""Share natures, and parts of a pledge or freeze, that are read of one registration: more than there are codes."""


class Part(msgspec.Struct, frozen=True, gc=False):
    """One balance of a registration: available, pledged or frozen, in the product's unit. None: not stated."""

    before: int | None
    change: int | None
    after: int | None

    @classmethod
    def between(cls, before: int, after: int) -> Part:
        """The part that says how a balance became another one."""
        return cls(before, after - before, after)


def registration_body(
    *,
    business_id: str,
    product_ref: str,
    unit: str,
    currency: str,
    account_ref: str,
    subject_ref: str,
    subject_kind: str,
    report_ref: str | None,
    available: Part,
    pledged: Part,
    frozen: Part,
    registered_at: str,
    maintained_at: str,
    note: str,
    freeze_description: str | None,
) -> dict[str, Any]:
    """`registration_information` of one holder's movement."""
    description: dict[str, Any] = {
        "register_serial_number": business_id,
        "register_time": registered_at,
        "register_subject_ref": subject_ref,
        "register_subject_type": SUBJECT_TYPES[subject_kind],
        "register_subject_account_ref": account_ref,
        "register_asset_type": OTHER,
        "register_asset_unit": UNITS[unit],
        "register_asset_currency": currency,
        "register_product_ref": product_ref,
        "register_create_time": maintained_at,
    }
    if report_ref is not None:
        description["register_transaction_ref"] = report_ref
    freezing: dict[str, Any] = {
        "register_frozen_balance_change": frozen.change,
        "register_frozen_balance": frozen.before,
        "register_frozen_balance_after": frozen.after,
    }
    if freeze_description is not None:
        freezing["register_thaw_description"] = freeze_description
    return {
        "registration_information": {
            "register_basic_information": {"register_object_type": RIGHTS, "register_event_type": OTHER},
            "registration_rights": {
                "basic_information_rights": {
                    "basic_information_description": description,
                    "available_registration": {
                        "register_asset_balance_change": available.change,
                        "register_asset_balance_before": available.before,
                        "register_asset_balance_after": available.after,
                    },
                    "pledge_registration": {
                        "register_pledge_balance_change": pledged.change,
                        "register_pledge_balance_before": pledged.before,
                        "register_pledge_balance_after": pledged.after,
                    },
                    "freezing_registration": freezing,
                    "description_status_information": {"register_source_type": OTHER, "register_asset_note": note},
                }
            },
        }
    }


class StatedNature(msgspec.Struct, frozen=True, kw_only=True):
    """The balance of one share nature after a registration, as its metadata states it."""

    share_nature: int
    held: int
    available: int
    pledged: int
    frozen: int


class StatedPart(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a pledge or freeze in one share nature; of a freeze, on which pledge it lies (None: on none)."""

    share_nature: int
    quantity: int
    pledge: str | None = None


class NatureBalance(Protocol):
    """What is held of one share nature, and what binds it (quantities in the product's scale)."""

    @property
    def share_nature(self) -> int: ...
    @property
    def held(self) -> int: ...
    @property
    def available(self) -> int: ...
    @property
    def pledged(self) -> int: ...
    @property
    def frozen(self) -> int: ...


def balances_metadata(scale: int, held_before: int, held_after: int, after: Iterable[NatureBalance]) -> dict[str, Any]:
    """What a registration states of its balances beside the model's fields: held, and all after it by share nature."""
    return {
        "quantity_scale": scale,
        "held_before": held_before,
        "held_after": held_after,
        "share_natures": [
            {
                "share_nature": balance.share_nature,
                "held": balance.held,
                "available": balance.available,
                "pledged": balance.pledged,
                "frozen": balance.frozen,
            }
            for balance in after
        ],
    }


@dataclass(frozen=True, slots=True)
class Encumbrance:
    """Which pledge or freeze a registration belongs to, as `header.metadata` of our business chains names it."""

    kind: str
    id: str
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RegistrationFacts:
    """A change of one account's balances in one product."""

    product: str | None
    account: str | None
    subject: str | None
    transaction: str | None
    available: Part
    pledged: Part
    frozen: Part
    encumbrance: Encumbrance | None = None
    held_before: int | None = None
    held_after: int | None = None
    share_natures: tuple[StatedNature, ...] | None = None
    """Balances after it, ascending; None if the chain does not state them."""

    @property
    def parts(self) -> tuple[Part, Part, Part]:
        """Available, pledged, frozen."""
        return (self.available, self.pledged, self.frozen)


def registration_facts(body: dict[str, Any], metadata: Any = None) -> RegistrationFacts | None:
    """Facts of a registration of rights; None for a roster of members, which moves no balance."""
    info = group_in(body, "registration_information")
    if number_in(group_in(info, "register_basic_information"), "register_object_type") not in (RIGHTS, None):
        return None
    rights = group_in(info, "registration_rights", "basic_information_rights")
    basic = group_in(rights, "basic_information_description")
    available = group_in(rights, "available_registration")
    pledge = group_in(rights, "pledge_registration")
    freeze = group_in(rights, "freezing_registration")
    local = metadata if isinstance(metadata, dict) else {}
    return RegistrationFacts(
        product=referenced(text_in(basic, "register_product_ref")),
        account=referenced(text_in(basic, "register_subject_account_ref")),
        subject=referenced(text_in(basic, "register_subject_ref")),
        transaction=referenced(text_in(basic, "register_transaction_ref")),
        available=Part(
            number_in(available, "register_asset_balance_before"),
            number_in(available, "register_asset_balance_change"),
            number_in(available, "register_asset_balance_after"),
        ),
        pledged=Part(
            number_in(pledge, "register_pledge_balance_before"),
            number_in(pledge, "register_pledge_balance_change"),
            number_in(pledge, "register_pledge_balance_after"),
        ),
        frozen=Part(
            number_in(freeze, "register_frozen_balance"),
            number_in(freeze, "register_frozen_balance_change"),
            number_in(freeze, "register_frozen_balance_after"),
        ),
        encumbrance=encumbrance_facts(metadata),
        held_before=number_in(local, "held_before"),
        held_after=number_in(local, "held_after"),
        share_natures=_stated_natures(local.get("share_natures")),
    )


def _stated_natures(stated: Any) -> tuple[StatedNature, ...] | None:
    """Balances by share nature, if that is what stands there: whole numbers that are believed, each nature once."""
    natures: dict[int, StatedNature] = {}
    for item in _items(stated):
        numbers = [_believed_in(item, name) for name in ("share_nature", "held", "available", "pledged", "frozen")]
        share_nature, held, available, pledged, frozen = numbers
        if share_nature is None or held is None or available is None or pledged is None or frozen is None:
            return None
        natures[share_nature] = StatedNature(
            share_nature=share_nature, held=held, available=available, pledged=pledged, frozen=frozen
        )
    if not isinstance(stated, list) or len(natures) != len(stated):
        return None
    return tuple(natures[share_nature] for share_nature in sorted(natures))


def _stated_parts(stated: Any) -> tuple[StatedPart, ...] | None:
    """Parts of a pledge or freeze, if that is what stands there."""
    parts = []
    for item in _items(stated):
        share_nature, quantity = _believed_in(item, "share_nature"), _believed_in(item, "quantity")
        if share_nature is None or quantity is None:
            return None
        parts.append(StatedPart(share_nature=share_nature, quantity=quantity, pledge=short_text_in(item, "pledge")))
    return tuple(parts) if isinstance(stated, list) and len(parts) == len(stated) else None


def _items(stated: Any) -> list[dict[str, Any]]:
    """The groups of a list that is not too long."""
    found = stated if isinstance(stated, list) and len(stated) <= MAX_STATED else []
    return [item if isinstance(item, dict) else {} for item in found]


def _believed_in(group: dict[str, Any], name: str) -> int | None:
    """A whole number that can be summed, else None."""
    number = number_in(group, name)
    return number if number is not None and abs(number) <= MAX_QUANTITY else None


def encumbrance_facts(metadata: Any) -> Encumbrance | None:
    """The pledge or freeze that a registration's metadata names; a chain that does not name them gives None."""
    local = metadata if isinstance(metadata, dict) else {}
    pledge, freeze = short_text_in(local, "pledge"), short_text_in(local, "freeze")
    parts = _stated_parts(local.get("parts"))
    if pledge is not None:
        names = {"contract_number": short_text_in(local, "contract_number"), "parts": parts}
        return Encumbrance("pledge", pledge, {**names, "pledgee": referenced(short_text_in(local, "pledgee_ref"))})
    if freeze is not None:
        names = {"authority": short_text_in(local, "authority"), "order_number": short_text_in(local, "order_number")}
        return Encumbrance("freeze", freeze, {**names, "until_ms": number_in(local, "until_ms"), "parts": parts})
    return None
