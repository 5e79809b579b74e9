"""Facts taken out of a snapshot's body: the few fields that supervision reads, by the names of the data model v2.0.0.

Extraction never fails: a field that is absent or of a shape that the schema does not fix is None. The schema has passed
before, so types are right wherever a field is present.

References: data model v2.0.0 (kinds subject, account, product, registration); JR/T 0314-2024 (a reference is
`<object id>/<version>`). Left out: disclosures, settlements and transaction reports, which are counted and versioned
but not interpreted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from custody_chain.supervision import codes

MAX_METADATA_TEXT = 256
"""Characters of a text in `header.metadata` that is kept; the data model bounds references alike."""

MAX_SCALE = 18
"""Decimal places that are believed: no quantity has more digits."""

UNITS: dict[int | None, str] = {1: "yuan", 2: "fund_unit", 3: "bond", 4: "share", 5: "wealth_unit"}
"""`product_scale_unit` of data model v2.0.0 -> the word that business chains use for it."""

RIGHTS = 1
"""`register_object_type`: rights of one account; 2 is a roster of members."""


def _group(parent: Any, *names: str) -> dict[str, Any]:
    for name in names:
        parent = parent.get(name)
        if not isinstance(parent, dict):
            return {}
    return parent if isinstance(parent, dict) else {}


def _text(parent: dict[str, Any], name: str) -> str | None:
    value = parent.get(name)
    return value if isinstance(value, str) and value else None


def _number(parent: dict[str, Any], name: str) -> int | None:
    value = parent.get(name)
    return value if type(value) is int else None


def referenced(reference: str | None) -> str | None:
    """The object id of a reference `<object id>/<version>`; a text without a version is taken as an id."""
    if not reference:
        return None
    object_id, slash, version = reference.rpartition("/")
    return object_id if slash and object_id and version.isascii() and version.isdigit() else reference


@dataclass(frozen=True, slots=True)
class SubjectFacts:
    """Who a subject is. Persons carry no name here: none is on chain in clear."""

    investor: str | None
    enterprise: str | None
    organisation: bool
    name: str | None
    shareholders: int | None


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """Whose account it is (object id of the subject)."""

    subject: str | None
    account_type: int | None


@dataclass(frozen=True, slots=True)
class ProductFacts:
    """A security as issued."""

    code: str | None
    name: str | None
    issuer_subject: str | None
    product_type: int | None
    issue_size: int | None
    unit: str | None
    scale: int | None
    """Decimal places of a quantity, if the chain states them."""
    registered_total: int | None
    registered_holders: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """One balance of a registration: available, pledged or frozen, in the product's unit. None: not stated."""

    before: int | None
    change: int | None
    after: int | None


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

    @property
    def parts(self) -> tuple[Part, Part, Part]:
        """Available, pledged, frozen."""
        return (self.available, self.pledged, self.frozen)


def subject_facts(body: dict[str, Any], metadata: Any) -> SubjectFacts:
    """Facts of a subject's body. `subject_id` carries an investor code or an enterprise code.

    An organisation that issues and invests has both: our business chains name each in `header.metadata`
    (`investor_code`, `enterprise_code`), which the data model reserves for the local chain.
    """
    info = _group(body, "subject_information")
    general = _group(info, "basic_information_subject", "general_information_subject")
    company = _group(
        info, "organization_subject_information", "basic_information_of_enterprise", "basic_information_description"
    )
    named = _text(general, "subject_id")
    local = metadata if isinstance(metadata, dict) else {}
    return SubjectFacts(
        investor=codes.investor_code(named) or codes.investor_code(_text(local, "investor_code")),
        enterprise=codes.enterprise_key(named) or codes.enterprise_key(_text(local, "enterprise_code")),
        organisation="organization_subject_information" in info,
        name=_text(company, "subject_company_name"),
        shareholders=_number(company, "subject_shareholders_number"),
    )


def account_facts(body: dict[str, Any]) -> AccountFacts:
    """Facts of an account's body."""
    basic = _group(body, "account_information", "basic_account_information")
    return AccountFacts(
        subject=referenced(_text(basic, "account_subject_ref")), account_type=_number(basic, "account_type")
    )


def _decimal_places(local: dict[str, Any]) -> int | None:
    places = _number(local, "quantity_scale")
    return places if places is not None and 0 <= places <= MAX_SCALE else None


def product_facts(body: dict[str, Any], metadata: Any = None) -> ProductFacts:
    """Facts of a product's body.

    What the market itself counts as registered stands in `header.metadata` of our business chains; the data model's own
    field for it is the number of shares after the issue. There too stand the decimal places of its quantities
    (`quantity_scale`): the data model's `product_scale` (产品规模总额) is the size of the issue.
    """
    info = _group(body, "product_information")
    basic = _group(info, "essential_information", "basic_product_information")
    equity = _group(info, "release_information", "equity_issue_information")
    local = metadata if isinstance(metadata, dict) else {}
    total = _number(local, "registered_total")
    return ProductFacts(
        code=_text(basic, "product_code"),
        name=_text(basic, "product_name"),
        issuer_subject=referenced(_text(basic, "product_issuer_subject_ref")),
        product_type=_number(basic, "product_type"),
        issue_size=_number(basic, "product_scale"),
        unit=UNITS.get(_number(basic, "product_scale_unit")),
        scale=_decimal_places(local),
        registered_total=_number(equity, "product_after_authorized_shares") if total is None else total,
        registered_holders=_number(local, "holders"),
    )


def encumbrance_facts(metadata: Any) -> Encumbrance | None:
    """The pledge or freeze that a registration's metadata names.

    The data model has no field for pledgee, contract or court order; a chain that does not name them gives None.
    """
    local = metadata if isinstance(metadata, dict) else {}
    pledge, freeze = _short(local, "pledge"), _short(local, "freeze")
    if pledge is not None:
        names = {"contract_number": _short(local, "contract_number")}
        return Encumbrance("pledge", pledge, {**names, "pledgee": referenced(_short(local, "pledgee_ref"))})
    if freeze is not None:
        names = {"authority": _short(local, "authority"), "order_number": _short(local, "order_number")}
        return Encumbrance("freeze", freeze, {**names, "until_ms": _number(local, "until_ms")})
    return None


def _short(parent: dict[str, Any], name: str) -> str | None:
    value = _text(parent, name)
    return value if value is not None and len(value) <= MAX_METADATA_TEXT else None


def registration_facts(body: dict[str, Any], metadata: Any = None) -> RegistrationFacts | None:
    """Facts of a registration of rights; None for a roster of members, which moves no balance."""
    info = _group(body, "registration_information")
    if _number(_group(info, "register_basic_information"), "register_object_type") not in (RIGHTS, None):
        return None
    rights = _group(info, "registration_rights", "basic_information_rights")
    basic = _group(rights, "basic_information_description")
    available = _group(rights, "available_registration")
    pledge = _group(rights, "pledge_registration")
    freeze = _group(rights, "freezing_registration")
    return RegistrationFacts(
        product=referenced(_text(basic, "register_product_ref")),
        account=referenced(_text(basic, "register_subject_account_ref")),
        subject=referenced(_text(basic, "register_subject_ref")),
        transaction=referenced(_text(basic, "register_transaction_ref")),
        available=Part(
            _number(available, "register_asset_balance_before"),
            _number(available, "register_asset_balance_change"),
            _number(available, "register_asset_balance_after"),
        ),
        pledged=Part(
            _number(pledge, "register_pledge_balance_before"),
            _number(pledge, "register_pledge_balance_change"),
            _number(pledge, "register_pledge_balance_after"),
        ),
        frozen=Part(
            _number(freeze, "register_frozen_balance"),
            _number(freeze, "register_frozen_balance_change"),
            _number(freeze, "register_frozen_balance_after"),
        ),
        encumbrance=encumbrance_facts(metadata),
    )
