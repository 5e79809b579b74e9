"""Who there is and what was issued: subjects, accounts, products, and enterprises over all markets."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from common.model.quantities import Quantity
from custody_chain.tables.objects import ObjectKey
from custody_chain.tables.table import Foreign, Number, Table


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A person or organisation by its codes."""

    investor: str | None
    enterprise: str | None
    organisation: bool
    name: str | None
    shareholders: int | None
    changes: int
    """How often its codes changed."""
    height: int
    index: int
    deleted: bool


SUBJECTS: Final = Table("subject", ObjectKey, Subject)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Whose account it is."""

    known: bool = False
    """Whether the chain has reported it; else a registration named it first."""
    subject: str | None = None
    account_type: int | None = None
    changes: int = 0
    """How often its owner changed."""
    unresolved: bool = False
    """Whether a balance was filed without an investor's code, and no code has been found since."""
    height: int = 0
    index: int = 0
    deleted: bool = False
    alerts: dict[str, str] = {}


ACCOUNTS: Final = Table("account", ObjectKey, Account)


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """What a market last counted of a product, beside what its registrations added up to then."""

    stated_total: Quantity | None
    least_total: Quantity
    stated_holders: int | None
    registered_total: Quantity
    accounts: int


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """A security as issued, with the sums over its positions."""

    known: bool = False
    """Whether the chain has reported it; else a registration named it first."""
    code: str | None = None
    name: str | None = None
    issuer_subject: str | None = None
    issuer: str | None = None
    security: str | None = None
    product_type: int | None = None
    issue_size: Quantity | None = None
    issue_price: Quantity | None = None
    """Of its latest issue that had one, in whole units of currency."""
    unit: str | None = None
    scale: int | None = None
    """Decimal places of a quantity."""
    count: Count | None = None
    holders: int = 0
    accounts: int = 0
    available: Quantity = 0
    pledged: Quantity = 0
    frozen: Quantity = 0
    held: Quantity = 0
    least_held: Quantity = 0
    changes: int = 0
    """How often its security changed."""
    height: int = 0
    index: int = 0
    deleted: bool = False
    alerts: dict[str, str] = {}


PRODUCTS: Final = Table("product", ObjectKey, Product)


class CompanyKey(NamedTuple):
    """A subject that bears an enterprise code."""

    enterprise: str
    region: str
    subject: Foreign


class Company(msgspec.Struct, frozen=True):
    """That it does."""

    subject: str


COMPANIES: Final = Table("company", CompanyKey, Company)


class EnterpriseKey(NamedTuple):
    """An enterprise."""

    enterprise: str


class Issuer(msgspec.Struct, frozen=True):
    """How many products an enterprise has in each region."""

    regions: dict[str, int]
    alerts: dict[str, str] = {}


ISSUERS: Final = Table("issuer", EnterpriseKey, Issuer)


class IssuedKey(NamedTuple):
    """A product of an enterprise."""

    enterprise: str
    region: str
    product: Foreign


class Issued(msgspec.Struct, frozen=True):
    """That it is."""

    product: str


ISSUED: Final = Table("issued", IssuedKey, Issued)


class Listed(msgspec.Struct, frozen=True):
    """That something is in a list; its key says what."""


LISTED: Final = Listed()

WAITING: Final = Table("waiting", ObjectKey, Listed, index=True)
"""Subjects that something names, and that have not been reported."""


# What is filed as it was after so many changes of its owner: what was filed longest ago comes first. The keys of these
# lists have one shape: region, owner, changes, member.


class FiledKey(NamedTuple):
    """A position of an account."""

    region: str
    account: Foreign
    owner_changes: Number
    code_changes: Number
    """Of the owner's codes."""
    product: Foreign


class OwnedKey(NamedTuple):
    """An account of a subject."""

    region: str
    subject: Foreign
    code_changes: Number
    account: Foreign


class OfferedKey(NamedTuple):
    """A product that names a subject as its issuer."""

    region: str
    subject: Foreign
    code_changes: Number
    product: Foreign


class CountedKey(NamedTuple):
    """A holder of a product, who is counted to the product's security of then."""

    region: str
    product: Foreign
    security_changes: Number
    holder: str


FILED: Final = Table("filed", FiledKey, Listed, index=True)
OWNED: Final = Table("owned", OwnedKey, Listed, index=True)
OFFERED: Final = Table("offered", OfferedKey, Listed, index=True)
COUNTED: Final = Table("counted", CountedKey, Listed, index=True)
