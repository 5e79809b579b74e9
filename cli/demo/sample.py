"""Invented registrations for the demonstration: persons and companies here do not exist.

One investor holds shares in three regions, pledges some of them, and one company has one holder more than the law
allows (Decree 132, Art. 13: at most 200), so that the look-through answer and one alert have something to find."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cli.localnet.markets import REGIONS

INVESTOR = "Q000000001"
"""The natural person who holds shares in Beijing, Shanghai and Shenzhen."""
CROWDED_REGION = "zhejiang"
"""The region whose company has 201 holders."""
HOLDERS_OVER_THE_CAP = 201
OCCURRED_AT_MS = 1_767_225_600_000
"""1 January 2026, 00:00 UTC: the business time of the sample operations."""
OPERATIONS_A_TRANSACTION = 150

CREDIT_CODES = {
    "beijing": "91110000FAKE00013H",
    "shanghai": "91310000FAKE00013Y",
    "jiangsu": "91320000FAKE000133",
    "zhejiang": "91330000FAKE000137",
    "shenzhen": "91440300FAKE00013H",
}
"""Unified social credit codes with a right check character and an impossible body (FAKE)."""

COMPANIES = {
    "beijing": "北京样例智能科技股份有限公司",
    "shanghai": "上海样例精密仪器股份有限公司",
    "jiangsu": "江苏样例新材料股份有限公司",
    "zhejiang": "浙江样例生物医药股份有限公司",
    "shenzhen": "深圳样例半导体股份有限公司",
}


@dataclass(frozen=True, kw_only=True)
class ExpectedPosition:
    """What the look-through answer must say of the investor in one region, in shares."""

    region: str
    product: str
    available: int
    pledged: int

    @property
    def held(self) -> int:
        """Available and pledged together."""
        return self.available + self.pledged


def commitment(*parts: str) -> str:
    """A salted commitment to personal data, 64 hex characters; a market keeps the salt beside the data it hides."""
    return hashlib.sha256("|".join(("demonstration salt", *parts)).encode()).hexdigest()


def product_code(region: str) -> str:
    """The company's common shares, first issue of 2026 (the class letters are this project's own, CFI-style)."""
    return f"{REGIONS[region][0]}000001.ESVUFR2601"


def expected_positions(regions: list[str]) -> list[ExpectedPosition]:
    """The investor's positions after all sample operations, in the order of `regions`."""
    held = {"beijing": (70_000, 30_000), "shanghai": (50_000, 0), "shenzhen": (20_000, 0)}
    return [
        ExpectedPosition(
            region=region, product=product_code(region), available=held[region][0], pledged=held[region][1]
        )
        for region in regions
        if region in held
    ]


def transactions(region: str) -> Iterator[list[dict[str, Any]]]:
    """The operations to submit in `region`, one list a transaction, in order."""
    yield _foundations(region)
    yield _business(region)
    if region == CROWDED_REGION:
        crowd = list(_crowd(region))
        for start in range(0, len(crowd), OPERATIONS_A_TRANSACTION):
            yield crowd[start : start + OPERATIONS_A_TRANSACTION]


def _operation(region: str, operation_type: str, business_id: str, /, **fields: Any) -> dict[str, Any]:
    return {
        "type": operation_type,
        "business_id": f"{region}-{business_id}",
        "occurred_at_ms": OCCURRED_AT_MS,
        **fields,
    }


def _person(region: str, investor: str) -> list[dict[str, Any]]:
    """A person and the person's securities account."""
    return [
        _operation(
            region,
            "subject.register",
            f"subject-{investor}",
            object_id=f"person-{investor}",
            kind="person",
            investor_code=investor,
            name_commitment=commitment(region, investor, "name"),
            identity_commitment=commitment(region, investor, "identity"),
        ),
        _operation(
            region,
            "account.open",
            f"account-{investor}",
            account=f"A-{investor}",
            subject=f"person-{investor}",
            account_type="securities",
        ),
    ]


def _foundations(region: str) -> list[dict[str, Any]]:
    """The company, its shares, and the persons who hold them."""
    letters = REGIONS[region][0]
    founder, second = f"Q{_number(region)}00000001", f"Q{_number(region)}00000002"
    return [
        _operation(
            region,
            "subject.register",
            "issuer",
            object_id=f"{letters}000001",
            kind="organisation",
            name=COMPANIES.get(region, f"{REGIONS[region][1]}样例股份有限公司"),
            enterprise_code=f"{letters}000001",
            **({"credit_code": CREDIT_CODES[region]} if region in CREDIT_CODES else {}),
        ),
        *_person(region, founder),
        *_person(region, second),
        *_person(region, INVESTOR),
        _operation(
            region,
            "product.issue",
            "product",
            product=product_code(region),
            issuer=f"{letters}000001",
            name="普通股",
            product_type=2,
            unit="share",
            scale=0,
            authorised_quantity=10_000_000,
            face_value_e4=10_000,
        ),
    ]


def _business(region: str) -> list[dict[str, Any]]:
    """First registration, transfers and, in Beijing, a pledge."""
    product = product_code(region)
    founder, second = f"A-Q{_number(region)}00000001", f"A-Q{_number(region)}00000002"
    operations = [
        _operation(region, "registration.initial", "initial-1", product=product, account=founder, quantity=800_000),
        _operation(region, "registration.initial", "initial-2", product=product, account=second, quantity=200_000),
    ]
    bought = {"beijing": 100_000, "shanghai": 50_000, "shenzhen": 20_000}.get(region)
    if bought is not None:
        operations.append(
            _operation(
                region,
                "registration.transfer",
                "transfer-1",
                product=product,
                from_account=founder,
                to_account=f"A-{INVESTOR}",
                quantity=bought,
                price_e4=125_000,
                basis={
                    "kind": "contract",
                    "number": f"{REGIONS[region][0]}-2026-001",
                    "issuer": "demonstration",
                    "date": "2026-01-01",
                },
            )
        )
    if region == "beijing":
        operations.append(
            _operation(
                region,
                "registration.pledge",
                "pledge-1",
                product=product,
                account=f"A-{INVESTOR}",
                quantity=30_000,
                pledgee=f"person-Q{_number(region)}00000002",
                contract_number="BJ-PLEDGE-2026-001",
            )
        )
    return operations


def _crowd(region: str) -> Iterator[dict[str, Any]]:
    """Enough further holders to pass the cap of 200: two hold shares already."""
    for number in range(3, HOLDERS_OVER_THE_CAP + 1):
        investor = f"Q{_number(region)}{number:08d}"
        yield from _person(region, investor)
        yield _operation(
            region,
            "registration.transfer",
            f"crowd-{number}",
            product=product_code(region),
            from_account=f"A-Q{_number(region)}00000001",
            to_account=f"A-{investor}",
            quantity=100,
        )


def _number(region: str) -> int:
    """A digit that keeps the regions' invented investor codes apart."""
    return list(REGIONS).index(region) % 9 + 1
