"""Both tiers together: what this chain emits for honest business, the custody chain takes in without anomaly or alert,
and its positions are the balances here.
"""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

import msgspec
import pytest

from business_chain.balances import Figures
from business_chain.operation_schemas import STORY
from business_chain.operations.fields import Entries, plan_of
from business_chain.operations.operation_types import OPERATION_RECORDS
from common.core.errors import Rejected
from common.model.document import encode_document
from common.model.enumerations import NOT_TRADING, TRADING
from common.model.quantities import MAX_QUANTITY
from common.model.values import date
from custody_chain.tables.movements import MOVEMENTS, Movement, MovementKey
from custody_chain.tables.objects import BODIES, OBJECTS, ObjectKey
from custody_chain.tables.registry import PRODUCTS
from tests.support.chains import ChainBuilder
from tests.support.custody import Custody
from tests.unit.business.market import NOW_MS, PRODUCT, Market, signers_for
from tests.unit.business.refusal_cases import SECOND, movements

BOND = "BJ000001.DCFGFR2601"
ENTRIES = [{"account": "A1", "quantity": MAX_QUANTITY - 1}, {"account": "A2", "quantity": 1}]


class BothTiers(Market):
    """A market whose every block is delivered to a custody chain."""

    def __init__(self) -> None:
        super().__init__()
        self.region = ChainBuilder()
        self.custody = Custody([self.region])

    def apply(self, *operations: dict[str, Any], signers: tuple[str, ...] = ("operator",)) -> list[dict[str, Any]]:
        snapshots = super().apply(*operations, signers=signers)
        self.custody.deliver(self.region, *(encode_document(snapshot) for snapshot in snapshots))
        return snapshots

    def check_positions(self, code: str = PRODUCT) -> None:
        """Custody's positions of all accounts are the holdings here."""
        product = self.state_product(code)
        record = self.custody.get("product", "beijing", code)
        assert (record["accounts"], record["issuer"]) == (product.holders, "BJ000001")
        assert record["held"] == product.total
        for account, holding in self.register(code).items():
            investor = f"Q{int(account.removeprefix('A-').removeprefix('A')):09d}"
            figures = holding.figures
            expected = (figures.available, figures.pledged, figures.frozen)
            assert self.custody.position(investor, code, account) == expected
            position = self.custody.get("position", investor, "beijing", code, account)
            assert position["held"] == figures.held
            assert position["share_natures"] == [
                {name: getattr(balance, name) for name in ("share_nature", *Figures.__struct_fields__)}
                for balance in holding.balances
            ]


def test_the_story_of_the_documents_raises_no_alert_and_gives_equal_positions() -> None:
    tiers = BothTiers()
    for operation in STORY:
        tiers.apply(operation, signers=signers_for(operation))
        assert tiers.custody.alerts() == [], operation
    tiers.check_positions()
    assert tiers.custody.region()["anomalies"] == 0


def test_holders_come_and_go_and_both_tiers_count_the_same() -> None:
    tiers = BothTiers()
    tiers.apply(*tiers.foundations(400, 300, 300))
    tiers.apply(tiers.transfer(3, 1, 300), tiers.pledge(1, 600, business_id="loan"), tiers.freeze(2, 50))
    tiers.apply(tiers.op("registration.release", pledge="loan", quantity=100), tiers.transfer(1, 3, 200))
    tiers.check_positions()
    assert tiers.custody.alerts() == []
    assert tiers.custody.get("product", "beijing", PRODUCT)["holders"] == 3


def test_overlapping_bindings_of_an_honest_market_raise_no_alert_and_give_equal_positions() -> None:
    tiers = BothTiers()
    tiers.apply(*tiers.foundations(400, 300, 100), tiers.initial(1, 200, share_nature=24))
    steps = (
        tiers.pledge(1, 350, business_id="loan", parts=[{"quantity": 150, "share_nature": 24}]),
        tiers.freeze(
            1,
            220,
            business_id="order",
            parts=[{"quantity": 120, "pledge": "loan"}, {"quantity": 70, "pledge": "loan", "share_nature": 24}],
        ),
        tiers.op("registration.release", pledge="loan", quantity=250),
        tiers.transfer(1, 2, 100),
        tiers.op("registration.unfreeze", freeze="order", quantity=100),
        tiers.transfer(1, 3, 60, share_nature=24),
        tiers.op("registration.release", pledge="loan"),
        tiers.op("registration.unfreeze", freeze="order"),
    )
    for step in steps:
        tiers.apply(step)
        tiers.check_positions()
        assert tiers.custody.alerts() == [], step
    assert tiers.custody.get("encumbrance", "beijing", PRODUCT, "A1", "freeze", "order") is None


class Terse(BothTiers):
    """A market of another make: it states what the data model has fields for, and nothing of its own."""

    def apply(self, *operations: dict[str, Any], signers: tuple[str, ...] = ("operator",)) -> list[dict[str, Any]]:
        snapshots = Market.apply(self, *operations, signers=signers)
        for snapshot in snapshots:
            if snapshot["header"]["content"]["type"] == "registration":
                snapshot["header"].pop("metadata")
        self.custody.deliver(self.region, *(encode_document(snapshot) for snapshot in snapshots))
        return snapshots


def random_business(random: Random, market: Market, pledges: list[str], freezes: list[str]) -> dict[str, Any]:
    """An operation that may well be refused; pledges and freezes that it makes are remembered."""
    account, other = random.sample((1, 2, 3), 2)
    quantity, nature = random.choice((1, 20, 60, 150)), random.choice((0, 0, 24))
    chosen = {"share_nature": nature}
    match random.randrange(7):
        case 0:
            operation = market.pledge(account, quantity, pledgee=f"P{other}", **chosen)
            pledges.append(operation["business_id"])
        case 1:
            operation = market.freeze(account, quantity, **chosen)
            freezes.append(operation["business_id"])
        case 2 if pledges:
            parts = [{"quantity": quantity, "pledge": random.choice(pledges)}]
            operation = market.freeze(account, quantity + random.choice((0, 5)), parts=parts, **chosen)
            freezes.append(operation["business_id"])
        case 3 if pledges:
            operation = market.op("registration.release", pledge=random.choice(pledges), quantity=quantity)
        case 4 if freezes:
            operation = market.op("registration.unfreeze", freeze=random.choice(freezes), quantity=quantity)
        case _:
            operation = market.transfer(account, other, quantity, **chosen)
    return operation


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("market", [BothTiers, Terse])
def test_no_honest_business_raises_an_alert(market: type[BothTiers], seed: int) -> None:
    """Whatever overlaps, and whether or not the market states more than the data model has fields for."""
    random = Random(seed)
    tiers = market()
    tiers.apply(*tiers.foundations(300, 300, 100), *(tiers.initial(at, 100, share_nature=24) for at in (1, 2, 3)))
    pledges: list[str] = []
    freezes: list[str] = []
    applied = 0
    for _ in range(80):
        try:
            tiers.apply(random_business(random, tiers, pledges, freezes))
        except Rejected:
            continue
        applied += 1
        assert tiers.custody.alerts() == []
    assert applied > 30
    assert any(holding.figures.pledged and holding.figures.frozen for holding in tiers.register().values())
    if market is BothTiers:
        tiers.check_positions()


def test_the_day_of_effect_that_an_operation_states_reaches_movements_and_positions() -> None:
    """One for each kind of operation that moves a holding; without one it is the day on which the business happened."""
    tiers = BothTiers()
    tiers.apply(*tiers.foundations(700, 300), tiers.product(product=SECOND))
    assert date(NOW_MS - 60_000) == "2026-02-02"
    assert tiers.custody.get("position", "Q000000001", "beijing", PRODUCT, "A1")["effective_date"] == "2026-02-02"
    days = [f"2026-01-{number:02d}" for number in range(1, 8)]
    stated = [movements(tiers, effective_date=day)[number] for number, day in enumerate(days)]
    for operation, day in zip(stated, days, strict=True):
        made = tiers.apply(operation)
        moved = [snapshot for snapshot in made if snapshot["header"]["content"]["type"] == "registration"]
        assert moved
        for snapshot in made:
            assert snapshot["header"]["metadata"].get("effective_date") == (day if snapshot in moved else None)
        for snapshot in moved:
            movement, position = _movement_and_position(tiers, snapshot["header"]["content"]["object_id"])
            assert (movement.effective_date, position["effective_date"]) == (day, day)
    assert tiers.custody.alerts() == []


def _movement_and_position(tiers: BothTiers, object_id: str) -> tuple[Movement, dict[str, Any]]:
    """Custody's movement of a registration, and the position that it made."""
    index = tiers.custody.state.index
    place = OBJECTS.decode(index[OBJECTS.path(ObjectKey("beijing", object_id))]).place
    movement = MOVEMENTS.decode(
        index[MOVEMENTS.path(MovementKey("beijing", place.product, place.account, place.number))]
    )
    position = tiers.custody.get("position", f"Q{int(place.account[1:]):09d}", "beijing", place.product, place.account)
    assert (movement.object_id, position["object_id"]) == (object_id, object_id)
    return movement, position


def test_the_event_type_of_a_movement_reaches_custody() -> None:
    """2 where the report of an issue or a trade stands behind it, else 1."""
    tiers = BothTiers()
    tiers.apply(*tiers.foundations(700, 300), tiers.product(product=SECOND))
    event_types = {}
    for operation in [*movements(tiers), tiers.transfer(1, 2, 5, price_e4=125_000)]:
        for snapshot in tiers.apply(operation):
            if snapshot["header"]["content"]["type"] == "registration":
                movement, _ = _movement_and_position(tiers, snapshot["header"]["content"]["object_id"])
                event_types[operation["type"], operation.get("price_e4")] = movement.event_type
    traded = {("registration.increase", None), ("registration.transfer", 125_000)}
    assert event_types == {kind: TRADING if kind in traded else NOT_TRADING for kind in event_types}
    assert len(event_types) == 8


@pytest.mark.parametrize(("product", "fields"), [(PRODUCT, {}), (BOND, {"product_type": 3, "unit": "bond"})])
def test_the_price_of_the_latest_issue_reaches_custody(product: str, fields: dict[str, Any]) -> None:
    """An issue without a price, and a transfer by trade, leave it."""
    tiers = BothTiers()
    tiers.apply(*tiers.foundations(), *([] if product == PRODUCT else [tiers.product(product=product, **fields)]))
    assert tiers.custody.get("product", "beijing", product)["issue_price"] is None
    for price_e4, price in ((20_000, 2), (125_000, Decimal("12.5")), (None, Decimal("12.5"))):
        priced: dict[str, Any] = {} if price_e4 is None else {"price_e4": price_e4}
        entries = [{"account": "A1", "quantity": 10}]
        tiers.apply(tiers.op("registration.increase", product=product, entries=entries, **priced))
        tiers.apply(tiers.transfer(1, 2, 1, product=product, price_e4=990_000))
        record = PRODUCTS.decode(tiers.custody.state.values[PRODUCTS.path(ObjectKey("beijing", product))])
        assert record.issue_price == price


def test_freeze_thaw_and_closing_of_an_account_reach_custody() -> None:
    """Each group joins the account's body as custody merges it, with the day in +08:00 on which it happened."""
    tiers = BothTiers()
    tiers.apply(*tiers.foundations())
    day_ms, order = 86_400_000, {"authority": "样例人民法院", "order_number": "(2026)京01执2号"}
    opened = {"account_opening_information": {"account_opening_date": "2026-02-02"}}
    assert _account_body(tiers) == (1, opened)
    frozen = {"account_frozen_date": "2026-01-30", "account_frozen_remark": "样例人民法院 (2026)京01执2号"}
    tiers.apply(tiers.op("account.freeze", account="A3", occurred_at_ms=NOW_MS - 3 * day_ms, **order))
    assert _account_body(tiers) == (3, opened | {"freeze_information": frozen})
    thawed = {"unfreezing_information": {"account_thaw_date": "2026-01-31"}}
    tiers.apply(tiers.op("account.unfreeze", account="A3", occurred_at_ms=NOW_MS - 2 * day_ms))
    assert _account_body(tiers) == (1, opened | {"freeze_information": frozen} | thawed)
    closed = {"account_cancellation_information": {"account_closing_date": "2026-02-01"}}
    tiers.apply(tiers.op("account.close", account="A3", occurred_at_ms=NOW_MS - day_ms))
    assert _account_body(tiers) == (2, opened | {"freeze_information": frozen} | thawed | closed)
    assert (tiers.custody.alerts(), tiers.custody.region()["anomalies"]) == ([], 0)


def _account_body(tiers: BothTiers) -> tuple[int, dict[str, Any]]:
    """Status and groups of A3 as custody holds them."""
    body = BODIES.decode(tiers.custody.state.index[BODIES.path(ObjectKey("beijing", "A3"))])
    account = body["account_information"]
    return account["basic_account_information"]["account_status"], account["account_cycle_information"]


def test_a_movement_may_take_effect_on_the_day_of_the_block_and_not_later() -> None:
    """The day is that of +08:00, and ends with the same allowance for clocks as `occurred_at_ms`."""
    market = Market().open_for_business(700, 300)
    day_ms = 86_400_000
    ahead_ms = market.context().parameters.max_clock_ahead_ms
    midnight_ms = (NOW_MS // day_ms) * day_ms + day_ms - 8 * 3_600_000
    midnight_ms += day_ms * (midnight_ms <= NOW_MS)
    today, tomorrow = date(midnight_ms - 1), date(midnight_ms)
    assert today < tomorrow
    market.time_ms = midnight_ms - ahead_ms - 1000 - 1  # the next block's time is a second later
    with pytest.raises(Rejected, match="takes effect"):
        market.apply(market.transfer(1, 2, 1, effective_date=tomorrow))
    market.time_ms = midnight_ms - ahead_ms - 1000 - 1
    market.apply(market.transfer(1, 2, 1, effective_date=today))
    market.time_ms = midnight_ms - ahead_ms - 1000
    market.apply(market.transfer(1, 2, 1, effective_date=tomorrow))


def test_decimal_places_unit_and_size_of_a_fund_reach_the_supervisor_under_their_own_names() -> None:
    tiers = BothTiers()
    fund = "BJ000001.CFUXXR2602"
    tiers.apply(*tiers.foundations(1))
    tiers.apply(tiers.product(product=fund, product_type=5, unit="fund_unit", scale=2, authorised_quantity=500_000))
    record = tiers.custody.get("product", "beijing", fund)
    assert (record["scale"], record["unit"], record["issue_size"]) == (2, "fund_unit", 5_000)
    shares = tiers.custody.get("product", "beijing", PRODUCT)
    assert (shares["scale"], shares["unit"]) == (0, "share")


def test_the_largest_quantity_of_the_market_is_one_that_supervision_counts() -> None:
    tiers = BothTiers()
    tiers.apply(*tiers.foundations())
    tiers.apply(tiers.op("registration.increase", product=PRODUCT, authorised_quantity=MAX_QUANTITY, entries=ENTRIES))
    tiers.check_positions()
    tiers.apply(tiers.pledge(1, MAX_QUANTITY - 2, business_id="loan"), tiers.freeze(1, 1), tiers.transfer(2, 1, 1))
    tiers.apply(tiers.op("registration.release", pledge="loan"))
    tiers.check_positions()
    assert (tiers.custody.alerts(), tiers.custody.region()["anomalies"]) == ([], 0)
    record = tiers.custody.get("product", "beijing", PRODUCT)
    assert record["available"] + record["pledged"] + record["frozen"] == MAX_QUANTITY
    with pytest.raises(Rejected, match="authorised"):
        tiers.apply(tiers.initial(2, 1))


def test_every_quantity_field_has_the_common_limit() -> None:
    def quantities(record: type[msgspec.Struct]) -> list[Any]:
        found = []
        for field in plan_of(record):
            if isinstance(field.specification, Entries):
                found += quantities(field.specification.record)
            elif "quantity" in field.name:
                found.append(field.specification)
        return found

    limits = [item.maximum for record in OPERATION_RECORDS.values() for item in quantities(record)]
    assert len(limits) == 11
    assert set(limits) == {MAX_QUANTITY}
