"""The registrations that the benchmarks submit: one company, many accounts, transfers between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cli.localnet.markets import REGIONS
from tests.support.market import Market, operation

FIRST_HOLDING = 1_000_000_000
BATCH = 200
Operation = dict[str, Any]


def product_code(region: str) -> str:
    """The benchmark's security in a region."""
    return f"{REGIONS[region][0]}000009.ESVUFR2601"


def foundations(region: str, accounts: int) -> Iterator[list[Operation]]:
    """A company, its product, and `accounts` accounts of one institution that all hold shares."""
    letters, product = REGIONS[region][0], product_code(region)
    first: list[Operation] = [
        operation(
            "subject.register",
            "bench-issuer",
            object_id=f"{letters}000009",
            kind="organisation",
            name="样例股份有限公司",
            enterprise_code=f"{letters}000009",
        ),
        operation(
            "subject.register",
            "bench-holder",
            object_id="R000000009",
            kind="organisation",
            name="样例投资有限公司",
            investor_code="R000000009",
        ),
        operation(
            "product.issue",
            "bench-product",
            product=product,
            issuer=f"{letters}000009",
            name="普通股",
            product_type=2,
            unit="share",
            scale=0,
            authorised_quantity=FIRST_HOLDING * accounts * 2,
        ),
    ]
    yield first
    pending: list[Operation] = []
    for number in range(accounts):
        pending.append(
            operation(
                "account.open",
                f"bench-a{number}",
                account=f"B{number}",
                subject="R000000009",
                account_type="securities",
            )
        )
        pending.append(
            operation(
                "registration.initial",
                f"bench-i{number}",
                product=product,
                account=f"B{number}",
                quantity=FIRST_HOLDING,
            )
        )
        if len(pending) >= BATCH:
            yield pending
            pending = []
    if pending:
        yield pending


def transfers(market: Market, accounts: int, *, operations: int, prefix: str) -> Iterator[bytes]:
    """Signed envelopes for ever, each with `operations` transfers between neighbouring accounts."""
    product, number = product_code(market.region), 0
    while True:
        batch = []
        for _ in range(operations):
            batch.append(
                operation(
                    "registration.transfer",
                    f"{prefix}-{number}",
                    product=product,
                    from_account=f"B{number % accounts}",
                    to_account=f"B{(number + 1 + number % (accounts - 1)) % accounts}",
                    quantity=1,
                    price_e4=10_000,
                )
            )
            number += 1
        yield market.sign(batch)
