"""What a registration's body costs from its template, and from a dictionary that is built and encoded each time.

`python -m tests.bench.bodies [repetitions]` prints microseconds of processor time, the best of several rounds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from business_chain.balances import Figures
from common.model.document import encode_document
from common.model.enumerations import SUBJECT_TYPES, TRADING, UNITS
from common.model.kinds.registration import _body, registration_body
from common.model.quantities import exact_quantity

TIME = "2026-01-01T08:00:00+08:00"
BEFORE = Figures(held=1000, available=900, pledged=100, frozen=0)
AFTER = Figures(held=950, available=850, pledged=100, frozen=0)
ROUNDS = 7


def from_template() -> bytes:
    """As the chain makes it."""
    return registration_body(
        business_id="transfer-1",
        event_type=TRADING,
        product_ref="BJ000001.ESVUFR2601/4",
        unit="share",
        currency="156",
        scale=2,
        account_ref="A-1/0",
        subject_ref="person-1/0",
        subject_kind="person",
        report_ref="transfer-1:0/0",
        before=BEFORE,
        after=AFTER,
        registered_at=TIME,
        maintained_at=TIME,
        note="registration.transfer",
        freeze_description=None,
    ).encode()


def from_dictionary() -> bytes:
    """The same body, plainly."""
    values: dict[str, Any] = {
        f"{name}_{when}": exact_quantity(number, 2)
        for name in ("available", "pledged", "frozen")
        for when, number in (
            ("before", getattr(BEFORE, name)),
            ("change", getattr(AFTER, name) - getattr(BEFORE, name)),
            ("after", getattr(AFTER, name)),
        )
    }
    body = _body(
        serial_number="transfer-1",
        register_time=TIME,
        subject_ref="person-1/0",
        subject_type=SUBJECT_TYPES["person"],
        account_ref="A-1/0",
        unit=UNITS["share"],
        currency="156",
        product_ref="BJ000001.ESVUFR2601/4",
        create_time=TIME,
        event_type=TRADING,
        note="registration.transfer",
        transaction_ref="transfer-1:0/0",
        **values,
    )
    return encode_document(body)


def cost_us(make: Callable[[], bytes], repetitions: int) -> float:
    """Processor time of one call, the best round."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(repetitions):
            make()
        best = min(best, (time.process_time() - started) / repetitions * 1e6)
    return best


def main() -> None:
    """Print both."""
    if from_template() != from_dictionary():
        raise SystemExit("the two differ")
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for make in (from_dictionary, from_template):
        print(f"{make.__name__}: {cost_us(make, repetitions):.2f} us")


if __name__ == "__main__":
    main()
