"""What becomes right later, in any order, ends as if it had been right at once (JR/T 0314-2024, overwrite)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custody_chain.supervision import movements
from tests.support.chains import ChainBuilder
from tests.support.custody import (
    Custody,
    account,
    holder,
    market_with_product,
    person,
    registration,
    small_holders,
    snapshot,
)

CODE = "BJ000001.ESVUFR2601"
INVESTOR = "Q000000001"


@pytest.fixture
def custody(chain: ChainBuilder) -> Custody:
    """A market with one product and one holder of 100 shares."""
    custody = Custody([chain])
    custody.report(*market_with_product(), *holder(1, 100))
    return custody


ROSTER = {"register_basic_information": {"register_object_type": 2, "register_event_type": 255}}
"""What a registration says that is a list of members: no balances."""


def unusable(good: bytes) -> bytes:
    """The same registration with a unit that the schema does not have."""
    return good.replace(b'"register_asset_unit":4', b'"register_asset_unit":77')


def misnamed(good: bytes) -> bytes:
    """The same registration under a kind that the data model does not have."""
    return good.replace(b'"type":"registration"', b'"type":"registratio"')


def incomplete(object_id: str, **options: Any) -> bytes:
    """A registration of rights that names neither account nor product."""
    body = {
        "register_basic_information": {"register_object_type": 1, "register_event_type": 255},
        "registration_rights": {},
    }
    return snapshot("registration", object_id, {"registration_information": body}, **options)


def sale(object_id: str, before: int, quantity: int, **options: Any) -> bytes:
    return registration(object_id, CODE, "A1", before=(before, 0, 0), change=(-quantity, 0, 0), report="r", **options)


def test_where_a_registration_was_taken_away_the_one_before_decides_the_position(custody: Custody) -> None:
    custody.report(*holder(2, 10), sale("t1", 100, 10))
    elsewhere = registration("t1", CODE, "A2", before=(10, 0, 0), change=(-1, 0, 0), report="r", operation="overwrite")
    custody.report(elsewhere)
    custody.report(registration("initial-1", CODE, "A1", change=(120, 0, 0), operation="overwrite"))
    assert custody.position(INVESTOR, CODE, "A1") == (120, 0, 0)
    assert custody.alerts() == []


def test_a_correction_behind_very_many_later_registrations_still_decides_no_position(
    custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(movements, "MAX_LATER", 3)
    custody.report(unusable(sale("t0", 100, 10)))
    custody.report(*(sale(f"t{number}", 91 - number, 1) for number in range(1, 9)))
    custody.report(sale("t0", 100, 10, operation="overwrite"))
    assert custody.position(INVESTOR, CODE, "A1") == (82, 0, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        misnamed,
        lambda good: good.replace(b'"type":"registration"', b'"type":"account"'),
        lambda good: account("initial-2", "person-2", operation="overwrite"),
    ],
    ids=["no such kind", "body of another kind", "another kind"],
)
def test_a_registration_reported_under_a_wrong_kind_is_replaced_by_its_correction_and_counted_once(
    custody: Custody, wrong: Callable[[bytes], bytes]
) -> None:
    custody.report(*holder(2, 10))
    elsewhere = registration(
        "initial-2", CODE, "A1", before=(100, 0, 0), change=(10, 0, 0), report="r", operation="overwrite"
    )
    custody.report(wrong(elsewhere))
    assert [alert["details"]["fault"] for alert in custody.alerts()] == ["kind_changed"]
    custody.report(elsewhere)
    assert custody.position(INVESTOR, CODE, "A1") == (110, 0, 0)
    assert custody.position("Q000000002", CODE, "A2") == (0, 0, 0)
    assert custody.get("product", "beijing", CODE)["available"] == 110
    custody.report(elsewhere)
    assert (custody.alerts(), custody.region()["anomalies_open"]) == ([], 0)


@pytest.mark.parametrize(
    "between",
    [
        incomplete("initial-2", operation="overwrite"),
        snapshot("registration", "initial-2", {"registration_information": ROSTER}, operation="overwrite"),
        snapshot("registration", "initial-2", None, version=1, operation="delete"),
    ],
    ids=["incomplete", "roster", "deletion"],
)
def test_a_registration_that_said_nothing_for_a_while_is_replaced_by_its_correction_and_counted_once(
    custody: Custody, between: bytes
) -> None:
    custody.report(*holder(2, 10))
    custody.report(between)
    elsewhere = registration(
        "initial-2", CODE, "A1", before=(100, 0, 0), change=(10, 0, 0), report="r", operation="overwrite"
    )
    custody.report(elsewhere)
    assert custody.position(INVESTOR, CODE, "A1") == (110, 0, 0)
    assert custody.position("Q000000002", CODE, "A2") == (0, 0, 0)
    assert custody.get("product", "beijing", CODE)["available"] == 110


def test_an_update_is_merged_with_what_was_known_before_a_snapshot_of_a_wrong_kind(custody: Custody) -> None:
    wrong = person("person-1", "Q000000001", version=1).replace(b'"type":"subject"', b'"type":"subjec"')
    custody.report(wrong)
    information = {"basic_information_subject": {"general_information_subject": {"subject_id": "Q000000009"}}}
    body = {"subject_information": information}
    custody.report(snapshot("subject", "person-1", body, version=1, operation="update"))
    assert custody.get("subject", "beijing", "person-1")["investor"] == "Q000000009"
    assert custody.region()["anomalies_open"] == 0


def test_a_deletion_under_a_wrong_kind_deletes_nothing_and_may_be_repeated(custody: Custody) -> None:
    deletion = snapshot("subject", "person-1", None, version=1, operation="delete")
    custody.report(deletion.replace(b'"type":"subject"', b'"type":"subjec"'))
    custody.report(person("person-1", "Q000000001", version=1, operation="overwrite"))
    assert (custody.alerts(), custody.region()["anomalies_open"]) == ([], 0)
    custody.report(snapshot("subject", "person-1", None, version=2, operation="delete"))
    assert (custody.alerts(), custody.get("subject", "beijing", "person-1")["deleted"]) == ([], True)


def test_another_kind_after_an_anomaly_is_a_version_gap(custody: Custody) -> None:
    custody.report(*holder(2, 10), unusable(registration("initial-2", CODE, "A2", operation="overwrite")))
    assert custody.alerts() == []
    custody.report(account("initial-2", "person-2", operation="overwrite"))
    assert [alert["details"]["fault"] for alert in custody.alerts()] == ["kind_changed"]


def encumber(object_id: str, available: int, pledged: int, change: int, **options: Any) -> bytes:
    metadata = {"pledge": "P1", "contract_number": "HT-1", "pledgee_ref": "bank/0"}
    return registration(
        object_id, CODE, "A1", before=(available, pledged, 0), change=(-change, change, 0), metadata=metadata, **options
    )


def left(custody: Custody) -> list[tuple[str, int]]:
    return [(value["contract_number"], value["quantity"]) for value in custody.scan("encumbrance/").values()]


def test_a_full_release_that_is_corrected_to_a_part_leaves_the_rest_of_the_pledge(custody: Custody) -> None:
    custody.report(encumber("p", 100, 0, 20), encumber("r", 80, 20, -20))
    assert (left(custody), custody.scan("agreement/")) == ([], {})
    custody.report(encumber("r", 80, 20, -5, operation="overwrite"))
    assert left(custody) == [("HT-1", 15)]
    assert list(custody.scan("agreement/")) == [f"agreement/{INVESTOR}/HT-1"]
    assert custody.position(INVESTOR, CODE, "A1") == (85, 15, 0)


def test_an_account_whose_owner_was_known_for_less_than_a_block_is_found_again(custody: Custody) -> None:
    custody.report(person("p9", "Q000000009"), registration("i9", CODE, "A9", change=(5, 0, 0)))
    custody.report(account("A9", "p9"), account("A9", "nobody", version=1))
    custody.empty_block()
    assert custody.position("-", CODE, "A9") == (5, 0, 0)
    custody.report(account("A9", "p9", version=2))
    custody.empty_block()
    assert custody.position("Q000000009", CODE, "A9") == (5, 0, 0)
    assert custody.alerts() == []


@pytest.mark.parametrize("holders", [200, 201])
def test_moving_a_holder_to_another_code_neither_raises_nor_clears_holder_cap(custody: Custody, holders: int) -> None:
    custody.report(*small_holders(range(2, holders + 1)))
    before = custody.alerts("holder_cap", opened=False)
    assert len(before) == holders - 200
    custody.report(person("person-7", "Q000000777", operation="overwrite"))
    custody.empty_block()
    assert custody.position("Q000000777", CODE, "A7") == (1, 0, 0)
    assert custody.alerts("holder_cap", opened=False) == before
    assert custody.get("product", "beijing", CODE)["holders"] == holders


def history(rng: random.Random, length: int) -> list[dict[str, Any]]:
    """Registrations of one account in order, as arguments of `registration`; pledges P1 and P2 come and go."""
    balances, pledges, steps = (100, 0, 0), {"P1": 0, "P2": 0}, []
    for step in range(length):
        name = rng.choice(sorted(pledges))
        kind = rng.choice(["in", "out", "pledge", "release"])
        limit = {"in": 50, "out": balances[0], "pledge": balances[0], "release": pledges[name]}[kind]
        amount = rng.randint(0, limit)
        signed = amount if kind in ("in", "pledge") else -amount
        traded = kind in ("in", "out")
        change = (signed, 0, 0) if traded else (-signed, signed, 0)
        if not traded:
            pledges[name] += signed
        named = {"metadata": {"pledge": name, "contract_number": f"HT-{name}"}}
        options = {"report": f"r{step}"} if traded else named
        steps.append({"object_id": f"s{step}", "before": balances, "change": change, **options})
        balances = (balances[0] + change[0], balances[1] + change[1], 0)
    return steps


def spoilt(rng: random.Random, step: dict[str, Any]) -> bytes:
    """A step that the market got wrong at first: unusable, incomplete, on another account, or with another quantity."""
    good = registration(code=CODE, account_id="A1", **step)
    return rng.choice(
        [
            unusable(good),
            misnamed(good),
            incomplete(step["object_id"]),
            registration(code=CODE, account_id="A2", **step),
            registration(
                code=CODE, account_id="A1", **{**step, "change": (step["change"][0] + 1, *step["change"][1:])}
            ),
        ]
    )


def figures(custody: Custody) -> dict[str, Any]:
    """What supervision knows of the account, without where it was delivered."""
    product = custody.get("product", "beijing", CODE)
    return {
        "position": custody.position(INVESTOR, CODE, "A1"),
        "other": custody.position("Q000000002", CODE, "A2"),
        "totals": [product[name] for name in ("holders", "accounts", "available", "pledged", "frozen")],
        "encumbrances": {key: value["quantity"] for key, value in custody.scan("encumbrance/").items()},
        "agreements": custody.scan("agreement/"),
        "alerts": sorted(alert["id"] for alert in custody.alerts()),
    }


@settings(max_examples=60, derandomize=True)
@given(st.integers(0, 10**6))
def test_a_history_that_is_corrected_in_any_order_ends_as_if_it_had_been_right_at_once(seed: int) -> None:
    rng = random.Random(seed)
    steps = history(rng, rng.randint(2, 12))
    wrong = [step for step in steps if rng.random() < 0.4]
    answers = []
    for corrected in (False, True):
        chain = ChainBuilder()
        custody = Custody([chain])
        custody.deliver(chain, *market_with_product(), *holder(1, 100), *holder(2, 9))
        for step in steps:
            good = registration(code=CODE, account_id="A1", **step)
            custody.deliver(chain, spoilt(rng, step) if corrected and step in wrong else good)
        if corrected:
            rng.shuffle(wrong)
            for step in wrong:
                right = registration(code=CODE, account_id="A1", operation="overwrite", **step)
                again = rng.choice([[], [misnamed(right)], [unusable(right)]])
                custody.deliver(chain, *again, right)
        answers.append(figures(custody))
    assert answers[0] == answers[1]
