"""Registrations (登记): one account's movement in one product.

A registration states available, pledged and frozen balances before, change and after, over all share natures, so that
after(n) = before(n + 1) can be checked per account and product. A freeze may lie on pledged shares, so the three do not
add up to what is held. The data model has no field for that, nor for balances by share nature, pledgee, contract or
court order: our business chains state them in `header.metadata`. `register_time` is the business's own time,
`register_create_time` the block's.

Left out: rosters (名册登记), whose place is the register query with its proof; which objects an operation makes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol

import msgspec

from common.model.document import encode_document
from common.model.enumerations import OTHER, RIGHTS, SUBJECT_TYPES, UNITS
from common.model.quantities import Quantity, decimal_text, exact_quantity, is_believed
from common.model.values import (
    believed_in,
    day_of,
    group_in,
    number_in,
    quantity_in,
    referenced,
    short_text_in,
    text_in,
)

REGISTRATION: Final = "registration"

_RIGHTS: Final = str(RIGHTS)
_OTHER: Final = str(OTHER)
_UNITS: Final = {unit: str(code) for unit, code in UNITS.items()}
_SUBJECT_TYPES: Final = {kind: str(code) for kind, code in SUBJECT_TYPES.items()}

MAX_STATED: Final = 64
"""Share natures, and parts of a pledge or freeze, that are read of one registration: more than there are codes."""


class StatedBalances(Protocol):
    """An account's balances in one product, as integers in the product's scale."""

    @property
    def available(self) -> int:
        """What may move."""

    @property
    def pledged(self) -> int:
        """What a pledge lies on."""

    @property
    def frozen(self) -> int:
        """What a freeze lies on."""


def registration_body(
    before: StatedBalances,
    after: StatedBalances,
    *,
    business_id: str,
    event_type: int,
    product_ref: str,
    unit: str,
    currency: str,
    scale: int,
    account_ref: str,
    subject_ref: str,
    subject_kind: str,
    report_ref: str | None,
    registered_at: str,
    maintained_at: str,
    note: str,
    freeze_description: str | None,
) -> bytes:
    """Canonical JSON of one holder's movement; references, times and identifiers are ASCII without quotes.

    `event_type` is `TRADING` or `NOT_TRADING`; balances are integers with `scale` decimal places.
    """
    available_before, available, available_change = _course(before.available, after.available, scale)
    report = "" if report_ref is None else f',"register_transaction_ref":"{report_ref}"'
    text = (
        '{"registration_information":{"register_basic_information":{'
        f'"register_event_type":{event_type},"register_object_type":{_RIGHTS}}},'
        '"registration_rights":{"basic_information_rights":{"available_registration":{'
        f'"register_asset_balance_after":{available},"register_asset_balance_before":{available_before},'
        f'"register_asset_balance_change":{available_change}}},'
        f'"basic_information_description":{{"register_asset_currency":"{currency}","register_asset_type":{_OTHER},'
        f'"register_asset_unit":{_UNITS[unit]},"register_create_time":"{maintained_at}",'
        f'"register_product_ref":"{product_ref}","register_serial_number":"{business_id}",'
        f'"register_subject_account_ref":"{account_ref}","register_subject_ref":"{subject_ref}",'
        f'"register_subject_type":{_SUBJECT_TYPES[subject_kind]},"register_time":"{registered_at}"{report}}},'
        f'"description_status_information":{{"register_asset_note":"{note}","register_source_type":{_OTHER}}},'
        f"{_bound_text(before, after, scale, freeze_description)}}}}}}}}}"
    )
    return text.encode()


def _bound_text(before: StatedBalances, after: StatedBalances, scale: int, freeze_description: str | None) -> str:
    """What is frozen and pledged: nothing, mostly."""
    thaw = ""
    if freeze_description is not None:
        thaw = f',"register_thaw_description":{encode_document(freeze_description).decode()}'
    elif before.pledged == after.pledged == before.frozen == after.frozen == 0:
        return _NOTHING_BOUND
    pledged_before, pledged, pledged_change = _course(before.pledged, after.pledged, scale)
    frozen_before, frozen, frozen_change = _course(before.frozen, after.frozen, scale)
    return (
        f'"freezing_registration":{{"register_frozen_balance":{frozen_before},'
        f'"register_frozen_balance_after":{frozen},"register_frozen_balance_change":{frozen_change}{thaw}}},'
        f'"pledge_registration":{{"register_pledge_balance_after":{pledged},'
        f'"register_pledge_balance_before":{pledged_before},"register_pledge_balance_change":{pledged_change}}}'
    )


_NOTHING_BOUND: Final = (
    '"freezing_registration":{"register_frozen_balance":0,"register_frozen_balance_after":0,'
    '"register_frozen_balance_change":0},"pledge_registration":{"register_pledge_balance_after":0,'
    '"register_pledge_balance_before":0,"register_pledge_balance_change":0}'
)


def _course(before: int, after: int, scale: int) -> tuple[int | str, int | str, int | str]:
    """A figure before and after the movement, and its change, as they stand in the text."""
    if not scale:
        return before, after, after - before
    return decimal_text(before, scale), decimal_text(after, scale), decimal_text(after - before, scale)


class StatedNature(msgspec.Struct, frozen=True, gc=False):
    """The balance of one share nature after a registration, as its metadata states it."""

    share_nature: int
    held: Quantity
    available: Quantity
    pledged: Quantity
    frozen: Quantity


class StatedPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is left of a pledge or freeze in one share nature; of a freeze, on which pledge it lies (None: on none)."""

    share_nature: int
    quantity: Quantity
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


class RegistrationMetadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What our business chains state of a registration beside the model's fields, as `header.metadata` has it."""

    business_id: str
    operation: str
    basis: Any = None
    sealed_bodies: Any = None
    effective_date: str | None = None
    held_before: Quantity
    held_after: Quantity
    share_natures: list[StatedNature]
    """Balances after it, ascending."""
    parts: list[StatedPart] | None = None
    """What is left of the pledge or freeze that it belongs to, which the following name."""
    pledge: str | None = None
    pledgee_ref: str | None = None
    contract_number: str | None = None
    freeze: str | None = None
    authority: str | None = None
    order_number: str | None = None
    until_ms: int | None = None


def stated_natures(scale: int, balances: Iterable[NatureBalance]) -> list[StatedNature]:
    """Balances in the product's scale as a registration's metadata states them."""
    natures = [
        StatedNature(balance.share_nature, balance.held, balance.available, balance.pledged, balance.frozen)
        for balance in balances
    ]
    if not scale:
        return natures
    return [
        StatedNature(
            share_nature=nature.share_nature,
            held=exact_quantity(nature.held, scale),
            available=exact_quantity(nature.available, scale),
            pledged=exact_quantity(nature.pledged, scale),
            frozen=exact_quantity(nature.frozen, scale),
        )
        for nature in balances
    ]


class Part(msgspec.Struct, frozen=True, gc=False):
    """One balance of a registration: available, pledged or frozen, in the product's unit. None: not stated."""

    before: Quantity | None
    change: Quantity | None
    after: Quantity | None


class Encumbrance(msgspec.Struct, frozen=True):
    """Which pledge or freeze a registration belongs to, as `header.metadata` of our business chains names it."""

    kind: str
    id: str
    details: dict[str, Any]


class RegistrationFacts(msgspec.Struct, frozen=True):
    """A change of one account's balances in one product."""

    product: str | None
    account: str | None
    subject: str | None
    transaction: str | None
    available: Part
    pledged: Part
    frozen: Part
    encumbrance: Encumbrance | None = None
    held_before: Quantity | None = None
    held_after: Quantity | None = None
    share_natures: tuple[StatedNature, ...] | None = None
    """Balances after it, ascending; None if the chain does not state them."""
    event_type: int | None = None
    """`TRADING`, `NOT_TRADING`, or another code that the schema permits."""
    effective_date: str | None = None
    """The day on which the movement takes effect, YYYY-MM-DD: as `header.metadata` says, else the day of registration
    as the market writes it."""

    @property
    def parts(self) -> tuple[Part, Part, Part]:
        """Available, pledged, frozen."""
        return (self.available, self.pledged, self.frozen)

    @property
    def is_believed(self) -> bool:
        """Whether all stated figures are within the bounds of quantities."""
        stated = [value for part in self.parts for value in (part.before, part.change, part.after)]
        return all(value is None or is_believed(value) for value in (*stated, self.held_before, self.held_after))


def registration_facts(body: dict[str, Any], metadata: Any = None) -> RegistrationFacts | None:
    """Facts of a registration of rights; None for a roster of members, which moves no balance."""
    info = group_in(body, "registration_information")
    kind = group_in(info, "register_basic_information")
    if number_in(kind, "register_object_type") not in (RIGHTS, None):
        return None
    local = metadata if isinstance(metadata, dict) else {}
    rights = group_in(info, "registration_rights", "basic_information_rights")
    basic = group_in(rights, "basic_information_description")
    available = group_in(rights, "available_registration")
    pledge = group_in(rights, "pledge_registration")
    freeze = group_in(rights, "freezing_registration")
    return RegistrationFacts(
        product=referenced(text_in(basic, "register_product_ref")),
        account=referenced(text_in(basic, "register_subject_account_ref")),
        subject=referenced(text_in(basic, "register_subject_ref")),
        transaction=referenced(text_in(basic, "register_transaction_ref")),
        available=Part(
            quantity_in(available, "register_asset_balance_before"),
            quantity_in(available, "register_asset_balance_change"),
            quantity_in(available, "register_asset_balance_after"),
        ),
        pledged=Part(
            quantity_in(pledge, "register_pledge_balance_before"),
            quantity_in(pledge, "register_pledge_balance_change"),
            quantity_in(pledge, "register_pledge_balance_after"),
        ),
        frozen=Part(
            quantity_in(freeze, "register_frozen_balance"),
            quantity_in(freeze, "register_frozen_balance_change"),
            quantity_in(freeze, "register_frozen_balance_after"),
        ),
        encumbrance=encumbrance_facts(metadata),
        held_before=quantity_in(local, "held_before"),
        held_after=quantity_in(local, "held_after"),
        share_natures=_stated_natures(local.get("share_natures")),
        event_type=number_in(kind, "register_event_type"),
        effective_date=day_of(text_in(local, "effective_date")) or day_of(text_in(basic, "register_time")),
    )


def _stated_natures(stated: Any) -> tuple[StatedNature, ...] | None:
    """Balances by share nature, if that is what stands there: quantities that are believed, each nature once."""
    natures: dict[int, StatedNature] = {}
    for item in _items(stated):
        share_nature = number_in(item, "share_nature")
        held, available = believed_in(item, "held"), believed_in(item, "available")
        pledged, frozen = believed_in(item, "pledged"), believed_in(item, "frozen")
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
        share_nature, quantity = number_in(item, "share_nature"), believed_in(item, "quantity")
        if share_nature is None or quantity is None:
            return None
        parts.append(StatedPart(share_nature=share_nature, quantity=quantity, pledge=short_text_in(item, "pledge")))
    return tuple(parts) if isinstance(stated, list) and len(parts) == len(stated) else None


def _items(stated: Any) -> list[dict[str, Any]]:
    """The groups of a list that is not too long."""
    found = stated if isinstance(stated, list) and len(stated) <= MAX_STATED else []
    return [item if isinstance(item, dict) else {} for item in found]


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
