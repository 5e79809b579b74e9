"""Freezes on pledged shares, and balances by share nature: honest markets are not accused, others are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.chains import ChainBuilder
from tests.support.custody import Custody, Triple, holder, market_with_product, product, registration

CODE = "BJ000001.ESVUFR2601"
OWNER = "Q000000001"


@pytest.fixture
def custody(chain: ChainBuilder) -> Custody:
    """A market with one holder of 700 shares, 400 of them pledged; so far it states three balances alone."""
    custody = Custody([chain])
    custody.report(*market_with_product(), *holder(1, 700))
    custody.report(registration("p1:0", CODE, "A1", before=(700, 0, 0), change=(-400, 400, 0)))
    assert custody.alerts() == []
    return custody


def stating(
    object_id: str,
    before: Triple,
    change: Triple,
    held: tuple[int, int],
    *natures: tuple[int, int, int, int, int],
    **options: Any,
) -> bytes:
    """A registration whose metadata says what is held, also by nature: nature, held, available, pledged, frozen."""
    names = ("share_nature", "held", "available", "pledged", "frozen")
    metadata: dict[str, Any] = {"held_before": held[0], "held_after": held[1]}
    if natures:
        metadata["share_natures"] = [dict(zip(names, nature, strict=True)) for nature in natures]
    metadata |= options.pop("metadata", {})
    return registration(object_id, CODE, "A1", before=before, change=change, metadata=metadata, **options)


def position(custody: Custody) -> Any:
    return custody.get("position", OWNER, "beijing", CODE, "A1")


def rules(custody: Custody) -> set[str]:
    return {alert["rule"] for alert in custody.alerts()}


def test_a_court_freezes_pledged_shares_and_nobody_is_accused(custody: Custody) -> None:
    custody.report(stating("f1:0", (300, 400, 0), (-50, 0, 200), (700, 700), (0, 700, 250, 400, 200)))
    assert (position(custody)["held"], custody.get("product", "beijing", CODE)["held"]) == (700, 700)
    custody.report(stating("r1:0", (250, 400, 200), (250, -400, 0), (700, 700), (0, 700, 500, 0, 200)))
    custody.report(stating("u1:0", (500, 0, 200), (200, 0, -200), (700, 700), (0, 700, 700, 0, 0)))
    assert custody.alerts() == []
    assert position(custody)["share_natures"] == [
        {"share_nature": 0, "held": 700, "available": 700, "pledged": 0, "frozen": 0}
    ]


def test_nor_where_the_chain_states_three_balances_alone(custody: Custody) -> None:
    custody.report(registration("f1:0", CODE, "A1", before=(300, 400, 0), change=(0, 0, 150)))
    assert custody.alerts() == []
    assert (position(custody)["held"], position(custody)["share_natures"]) == (850, None)
    custody.report(registration("u1:0", CODE, "A1", before=(300, 400, 150), change=(0, 0, -150)))
    custody.report(registration("r1:0", CODE, "A1", before=(300, 400, 0), change=(400, -400, 0)))
    assert custody.alerts() == []
    assert position(custody)["held"] == custody.get("product", "beijing", CODE)["held"] == 700


@pytest.mark.parametrize(
    "wrong",
    [
        stating("x:0", (300, 400, 0), (0, 300, 0), (700, 700)),  # free shares that are pledged
        stating("x:0", (300, 400, 0), (-300, 400, 0), (700, 700)),  # 800 pledged of 700
        stating("x:0", (300, 400, 0), (-300, 0, 701), (700, 701)),  # 701 frozen, and a share from nowhere
        stating("x:0", (300, 400, 0), (0, 100, 0), (700, 800)),  # held grows with the pledge
        stating("x:0", (300, 400, 0), (0, 0, 0), (700, 699)),
        stating("x:0", (300, 400, 0), (0, 0, 0), (700, 700), (0, 500, 300, 200, 0), (24, 200, 0, 201, 0)),
        stating("x:0", (300, 400, 0), (0, 0, 0), (700, 700), (0, 500, 300, 400, 0), (24, 200, 0, 0, 0)),
        registration("x:0", CODE, "A1", before=(300, 400, 0), change=(0, 300, 0)),
    ],
)
def test_rule_encumbered_over_held_compares_each_alone(custody: Custody, wrong: bytes) -> None:
    custody.report(wrong)
    assert "encumbered_over_held" in rules(custody)


def test_frozen_shares_that_leave_are_found_where_held_is_stated(custody: Custody) -> None:
    custody.report(stating("f1:0", (300, 400, 0), (0, 0, 200), (700, 700)))
    custody.report(stating("t1:0", (300, 400, 200), (0, -150, 0), (700, 550), report="r1"))
    assert rules(custody) == {"encumbered_moved"}


@pytest.mark.parametrize(("sold", "fits"), [((0, 200, 200, 0, 0), True), ((24, 300, 0, 300, 0), False)])
def test_bound_shares_of_one_nature_do_not_leave_for_free_ones_of_another(
    custody: Custody, sold: tuple[int, int, int, int, int], fits: bool
) -> None:
    """100 of 300 free shares are sold; all 400 shares of nature 24 are pledged."""
    both = {0: (0, 300, 300, 0, 0), 24: (24, 400, 0, 400, 0)}
    custody.report(stating("n1:0", (300, 400, 0), (0, 0, 0), (700, 700), *both.values()))
    assert custody.alerts() == []
    after = {**both, sold[0]: sold}
    custody.report(stating("t1:0", (300, 400, 0), (-100, 0, 0), (700, 600), *after.values(), report="r1"))
    assert ("encumbered_moved" in rules(custody)) == (not fits)


def test_natures_add_up_to_the_balances_or_the_arithmetic_is_wrong(custody: Custody) -> None:
    wrong = stating("f1:0", (300, 400, 0), (0, 0, 200), (700, 700), (0, 690, 290, 400, 200))
    custody.report(wrong)
    (alert,) = custody.alerts()
    assert (alert["rule"], alert["details"]["held_after"]) == ("balance_arithmetic", 700)
    right = stating(
        "f1:0",
        (300, 400, 0),
        (0, 0, 200),
        (700, 700),
        (0, 690, 290, 400, 200),
        (24, 10, 10, 0, 0),
        version=0,
        operation="overwrite",
    )
    custody.report(right)
    assert custody.alerts() == []
    assert [nature["share_nature"] for nature in position(custody)["share_natures"]] == [0, 24]


def test_what_is_held_follows_from_one_registration_to_the_next(custody: Custody) -> None:
    custody.report(stating("f1:0", (300, 400, 0), (0, 0, 200), (700, 700)))
    custody.report(stating("u1:0", (300, 400, 200), (0, 0, -100), (710, 710)))
    (alert,) = custody.alerts()
    assert alert["rule"] == "balance_chain"
    assert alert["details"] == {"stated_before": [300, 400, 200, 710], "previous_after": [300, 400, 200, 700]}
    custody.report(stating("u1:0", (300, 400, 200), (0, 0, -100), (700, 700), version=0, operation="overwrite"))
    assert custody.alerts() == []


def test_a_registration_that_moves_elsewhere_leaves_what_stood_before(custody: Custody) -> None:
    first = (0, 700, 250, 400, 200)
    custody.report(stating("f1:0", (300, 400, 0), (-50, 0, 200), (700, 700), first))
    custody.report(stating("f2:0", (250, 400, 200), (-50, 0, 50), (700, 700), (0, 700, 200, 400, 250)))
    custody.report(*holder(2, 50))
    elsewhere = registration(
        "f2:0", CODE, "A2", before=(50, 0, 0), change=(-50, 0, 50), version=0, operation="overwrite"
    )
    custody.report(elsewhere)
    stands = position(custody)
    assert (stands["held"], stands["frozen"], stands["share_natures"][0]["available"]) == (700, 200, 250)
    assert custody.get("product", "beijing", CODE)["held"] == 750


@pytest.mark.parametrize(
    "stated",
    [
        "0: 700",
        [700],
        [{"share_nature": 0, "held": 700, "available": 700, "pledged": 0}],
        [{"share_nature": 0, "held": True, "available": 700, "pledged": 0, "frozen": 0}],
        [{"share_nature": 0, "held": 10**15 + 1, "available": 700, "pledged": 0, "frozen": 0}],
        [{"share_nature": 0, "held": 350, "available": 350, "pledged": 0, "frozen": 0}] * 2,
        [{"share_nature": n, "held": 0, "available": 0, "pledged": 0, "frozen": 0} for n in range(65)],
    ],
)
def test_natures_that_are_none_are_not_stated(custody: Custody, stated: Any) -> None:
    """`header.metadata` is the region's own: another meaning of a name there is no fault."""
    custody.report(stating("r1:0", (300, 400, 0), (400, -400, 0), (700, 700), metadata={"share_natures": stated}))
    assert custody.alerts() == []
    assert (position(custody)["held"], position(custody)["share_natures"]) == (700, None)


def test_what_is_held_beyond_belief_is_an_anomaly(custody: Custody) -> None:
    custody.report(stating("f1:0", (300, 400, 0), (0, 0, 200), (700, 10**15 + 1)))
    assert custody.region()["anomalies"] == 1
    assert position(custody)["held"] == 700


@pytest.mark.parametrize(("stated", "fits"), [(True, (700, 700)), (False, (700, 900))])
def test_the_markets_own_total_is_compared_with_what_is_held(
    custody: Custody, chain: ChainBuilder, stated: bool, fits: tuple[int, int]
) -> None:
    """Of 400 pledged and 200 frozen, 200 may be both; a chain that does not say so may count either."""
    before, change = (300, 400, 0), (0, 0, 200)
    plain = registration("f1:0", CODE, "A1", before=before, change=change)
    custody.report(stating("f1:0", before, change, (700, 700)) if stated else plain)
    for version, total in enumerate((fits[0] - 1, fits[0], fits[1], fits[1] + 1), 1):
        counted = {"registered_total": total, "holders": 1}
        custody.report(product(CODE, "issuer", version=version, metadata=counted))
        assert rules(custody) == (set() if fits[0] <= total <= fits[1] else {"register_mismatch"})


def test_a_freeze_names_the_pledges_that_it_lies_on(custody: Custody) -> None:
    parts: list[dict[str, Any]] = [
        {"share_nature": 0, "quantity": 50},
        {"share_nature": 0, "quantity": 150, "pledge": "p1"},
    ]
    named = {"freeze": "f1", "authority": "样例人民法院", "order_number": "1", "parts": parts}
    custody.report(stating("f1:0", (300, 400, 0), (-50, 0, 200), (700, 700), metadata=named))
    record = custody.get("encumbrance", "beijing", CODE, "A1", "freeze", "f1")
    assert record["quantity"] == 200
    assert record["parts"] == parts
