"""Positions, issuers and every alert rule, each raised by what it is about and by nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from custody_chain.supervision import refile
from tests.support.chains import ChainBuilder
from tests.support.custody import (
    Custody,
    account,
    company,
    holder,
    market_with_product,
    person,
    product,
    registration,
    small_holders,
    snapshot,
)

CODE = "BJ000001.ESVUFR2601"


@pytest.fixture
def custody(chain: ChainBuilder) -> Custody:
    """A market with one product and one holder of 100 shares."""
    custody = Custody([chain])
    custody.report(*market_with_product(), *holder(1, 100))
    assert custody.alerts() == []
    return custody


def only_alert(custody: Custody) -> dict[str, Any]:
    """The one open alert."""
    (alert,) = custody.alerts()
    return alert


def test_a_holding_is_filed_under_the_investor_and_counted(custody: Custody) -> None:
    assert custody.position("Q000000001", CODE, "A1") == (100, 0, 0)
    assert custody.get("holding", "beijing", CODE, "A1") == {"investor": "Q000000001"}
    record = custody.get("product", "beijing", CODE)
    assert (record["issuer"], record["holders"], record["accounts"], record["available"]) == ("BJ000001", 1, 1, 100)
    assert custody.get("issued", "BJ000001", "beijing", CODE) == {"product": CODE}
    assert custody.get("company", "BJ000001", "beijing", "issuer") == {"subject": "issuer"}


def test_a_transfer_pledge_freeze_and_release_move_balances_and_totals(custody: Custody) -> None:
    custody.report(
        person("person-2", "Q000000002"),
        account("A2", "person-2"),
        registration("t1:0", CODE, "A1", before=(100, 0, 0), change=(-40, 0, 0), report="r1"),
        registration("t1:1", CODE, "A2", change=(40, 0, 0), report="r1"),
        registration("p1:0", CODE, "A1", before=(60, 0, 0), change=(-20, 20, 0)),
        registration("f1:0", CODE, "A1", before=(40, 20, 0), change=(-10, 0, 10)),
        registration("u1:0", CODE, "A1", before=(30, 20, 10), change=(5, -5, 0)),
    )
    assert custody.alerts() == []
    assert custody.position("Q000000001", CODE, "A1") == (35, 15, 10)
    assert custody.position("Q000000002", CODE, "A2") == (40, 0, 0)
    record = custody.get("product", "beijing", CODE)
    totals = tuple(record[name] for name in ("holders", "available", "pledged", "frozen"))
    assert totals == (2, 75, 15, 10)


def test_an_emptied_account_is_no_holder_any_more(custody: Custody) -> None:
    custody.report(registration("t1:0", CODE, "A1", before=(100, 0, 0), change=(-100, 0, 0), report="r1"))
    assert custody.get("position", "Q000000001", "beijing", CODE, "A1") is None
    assert custody.get("holding", "beijing", CODE, "A1") is None
    assert custody.get("product", "beijing", CODE)["holders"] == 0


def test_two_accounts_of_one_investor_are_one_holder(custody: Custody) -> None:
    custody.report(account("A1b", "person-1"), registration("i2", CODE, "A1b", change=(5, 0, 0)), *holder(2, 10))
    record = custody.get("product", "beijing", CODE)
    assert (record["holders"], record["accounts"]) == (2, 3)


def test_rule_holder_cap(custody: Custody) -> None:
    custody.report(*small_holders(range(2, 201)))
    assert custody.get("product", "beijing", CODE)["holders"] == 200
    assert custody.alerts() == [], "200 holders are allowed"
    custody.report(*holder(201, 1))
    alert = only_alert(custody)
    assert (alert["rule"], alert["source"]) == ("holder_cap", "CSRC Decree 132, Art. 13")
    assert alert["details"] == {"holders": 201, "limit": 200}
    assert alert["opened"] == {
        "custody_height": custody.height,
        "time_ms": custody.time_ms,
        "region_height": 3,
        "index": 2,
    }
    custody.report(registration("x", CODE, "A201", before=(1, 0, 0), change=(-1, 0, 0), report="r"))
    assert custody.alerts() == []
    assert custody.alerts("holder_cap", opened=False)[0]["state"] == "cleared"


def test_holders_of_different_securities_are_not_added_up(custody: Custody) -> None:
    bond = "BJ000001.DCFGFR2601"
    custody.report(product(bond, "issuer"))
    custody.report(*small_holders(range(2, 151)))
    custody.report(*small_holders(range(151, 251), bond))
    assert custody.alerts() == []


def test_encumbered_shares_that_come_in_are_no_over_pledge(custody: Custody) -> None:
    """Shares may arrive with the pledge on them (a transfer with the creditor's consent)."""
    custody.report(registration("t:1", CODE, "A1", before=(100, 0, 0), change=(0, 50, 0), report="r1"))
    custody.report(registration("p:1", CODE, "A1", before=(100, 50, 0), change=(-100, 100, 0)))
    assert custody.alerts() == []


def test_free_shares_may_move_while_others_are_encumbered(custody: Custody) -> None:
    custody.report(registration("p1:0", CODE, "A1", before=(100, 0, 0), change=(-60, 50, 10)))
    custody.report(registration("t1:0", CODE, "A1", before=(40, 50, 10), change=(-40, 0, 0), report="r1"))
    assert custody.alerts() == []


@pytest.mark.parametrize(("code", "outside"), [("SH000001.ESVUFR2601", True), ("BJ000009.ESVUFR2601", False)])
def test_rule_issuer_outside_region(custody: Custody, code: str, outside: bool) -> None:
    custody.report(product(code, "somebody"))
    assert [alert["rule"] for alert in custody.alerts()] == (["issuer_outside_region"] if outside else [])


def test_rule_issuer_outside_region_reads_the_issuers_own_code_under_a_legacy_product_code(custody: Custody) -> None:
    custody.report(company("far", "SH000007"), product("100123", "far"))
    alert = only_alert(custody)
    assert (alert["rule"], alert["details"]) == (
        "issuer_outside_region",
        {"issuer": "SH000007", "region_letters": "BJ"},
    )
    corrected = product("100123", "issuer", version=1)
    custody.report(corrected)
    assert custody.alerts() == []
    assert custody.get("issued", "SH000007", "beijing", "100123") is None


def test_an_alert_about_several_chains_names_those_that_are_concerned_now() -> None:
    chains = [ChainBuilder(network=network) for network in ("beijing", "shanghai", "zhejiang")]
    custody = Custody(chains)
    for number, chain in enumerate(chains, start=1):
        code = f"BJ000001.ESVUFR260{number}"
        custody.deliver(chain, *market_with_product(code), *holder(1, 100, code), pledge("p:1", 1, 60, "HT-1", code))
    two_chains = ("issuer_on_two_chains", "contract_on_two_chains")
    for rule in two_chains:
        (alert,) = custody.alerts(rule)
        assert (alert["region"], alert["times"]) == ("shanghai", 1)
        assert alert["details"] == {"regions": ["beijing", "shanghai", "zhejiang"]}
    gone = "BJ000001.ESVUFR2601"
    custody.deliver(
        chains[0],
        pledge("p:2", 1, -60, "HT-1", gone, before=(40, 60, 0)),
        snapshot("product", gone, None, version=1, operation="delete"),
    )
    for rule in two_chains:
        (alert,) = custody.alerts(rule)
        assert (alert["times"], alert["details"]) == (1, {"regions": ["shanghai", "zhejiang"]})


def test_rule_balance_arithmetic_and_its_correction(custody: Custody) -> None:
    custody.report(
        registration("t1:0", CODE, "A1", before=(100, 0, 0), change=(-10, 0, 0), after=(95, 0, 0), report="r")
    )
    alert = only_alert(custody)
    assert alert["rule"] == "balance_arithmetic"
    assert {"kind": "registration", "id": "t1:0"} in alert["objects"]
    assert custody.position("Q000000001", CODE, "A1") == (95, 0, 0), "the market's own word stands"
    custody.report(
        registration("t1:0", CODE, "A1", before=(100, 0, 0), change=(-10, 0, 0), report="r", operation="overwrite"),
    )
    assert custody.alerts() == []
    assert custody.position("Q000000001", CODE, "A1") == (90, 0, 0)


def test_rule_balance_chain_and_its_correction(custody: Custody) -> None:
    custody.report(registration("t1:0", CODE, "A1", before=(90, 0, 0), change=(-10, 0, 0), report="r"))
    alert = only_alert(custody)
    assert alert["rule"] == "balance_chain"
    assert alert["details"] == {"stated_before": [90, 0, 0], "previous_after": [100, 0, 0]}
    custody.report(
        registration("t1:0", CODE, "A1", before=(100, 0, 0), change=(-10, 0, 0), report="r", operation="overwrite"),
    )
    assert custody.alerts() == []


def test_a_correction_in_the_past_breaks_and_mends_the_chain_behind_it(custody: Custody) -> None:
    custody.report(registration("t1:0", CODE, "A1", before=(100, 0, 0), change=(-10, 0, 0), report="r"))
    custody.report(registration("initial-1", CODE, "A1", change=(120, 0, 0), operation="overwrite"))
    alert = only_alert(custody)
    assert (alert["rule"], alert["objects"][0]["id"]) == ("balance_chain", "t1:0")
    assert custody.position("Q000000001", CODE, "A1") == (90, 0, 0), "only the newest movement decides the position"
    custody.report(
        registration("t1:0", CODE, "A1", before=(120, 0, 0), change=(-10, 0, 0), report="r", operation="overwrite"),
    )
    assert custody.alerts() == []
    assert custody.position("Q000000001", CODE, "A1") == (110, 0, 0)


def test_a_correction_may_move_a_registration_to_another_account(custody: Custody) -> None:
    custody.report(*holder(2, 10))
    elsewhere: dict[str, Any] = {"before": (100, 0, 0), "change": (10, 0, 0), "report": "r"}
    custody.report(registration("initial-2", CODE, "A1", operation="overwrite", **elsewhere))
    assert custody.alerts() == []
    assert custody.position("Q000000001", CODE, "A1") == (110, 0, 0)
    assert custody.position("Q000000002", CODE, "A2") == (0, 0, 0)
    assert custody.get("product", "beijing", CODE)["holders"] == 1


@pytest.mark.parametrize(
    ("version", "operation", "fault"),
    [
        (3, "update", "not_next"),
        (0, "update", "not_next"),
        (0, "create", "repeated_create"),
        (1, "overwrite", "overwrite_ahead"),
    ],
)
def test_rule_version_gap(custody: Custody, version: int, operation: str, fault: str) -> None:
    custody.report(person("person-1", "Q000000001", version=version, operation=operation))
    alert = only_alert(custody)
    assert (alert["rule"], alert["details"]["fault"]) == ("version_gap", fault)


def test_rule_version_gap_for_objects_that_were_never_created_or_are_deleted(custody: Custody) -> None:
    custody.report(person("person-8", "Q000000008", version=1))
    assert [alert["details"]["fault"] for alert in custody.alerts()] == ["missing_create"]
    custody.report(snapshot("subject", "person-1", None, version=1, operation="delete"))
    custody.report(person("person-1", "Q000000001", version=2))
    faults = sorted(alert["details"]["fault"] for alert in custody.alerts("version_gap"))
    assert faults == ["after_delete", "missing_create"]


def test_updates_in_order_and_complete_overwrites_leave_no_gap(custody: Custody) -> None:
    for version in (1, 2, 3):
        custody.report(person("person-1", "Q000000001", version=version))
    for version in (1, 2, 3):
        custody.report(person("person-1", "Q000000001", version=version, operation="overwrite"))
    custody.report(person("person-1", "Q000000001", version=4))
    assert custody.alerts() == []


def test_an_overwrite_that_stops_half_way_is_a_gap_until_it_is_finished(custody: Custody) -> None:
    for version in (1, 2):
        custody.report(person("person-1", "Q000000001", version=version))
    custody.report(person("person-1", "Q000000001", version=1, operation="overwrite"))
    assert custody.alerts() == []
    custody.report(person("person-1", "Q000000001", version=3))
    assert only_alert(custody)["details"]["fault"] == "overwrite_incomplete"
    custody.report(person("person-1", "Q000000001", version=3, operation="overwrite"))
    assert custody.alerts() == []


def test_rule_reference_unresolved_for_account_and_product(custody: Custody) -> None:
    custody.report(registration("i9", "BJ000001.ESVUFR2699", "A9", change=(5, 0, 0)))
    assert {(alert["rule"], alert["details"]["missing"]) for alert in custody.alerts()} == {
        ("reference_unresolved", "product"),
        ("reference_unresolved", "investor_code"),
    }
    assert custody.position("-", "BJ000001.ESVUFR2699", "A9") == (5, 0, 0)
    custody.report(product("BJ000001.ESVUFR2699", "issuer"), account("A9", "person-9"))
    custody.report(person("person-9", "Q000000009"))
    custody.empty_block()
    assert custody.alerts() == []
    assert custody.position("Q000000009", "BJ000001.ESVUFR2699", "A9") == (5, 0, 0)
    assert custody.position("-", "BJ000001.ESVUFR2699", "A9") == (0, 0, 0)
    assert custody.scan("work/") == {}


def test_rule_incomplete_registration(custody: Custody) -> None:
    body = {
        "register_basic_information": {"register_object_type": 1, "register_event_type": 255},
        "registration_rights": {},
    }
    custody.report(snapshot("registration", "bad", {"registration_information": body}))
    assert only_alert(custody)["rule"] == "incomplete_registration"
    corrected = registration("bad", CODE, "A1", before=(100, 0, 0), change=(5, 0, 0), report="r", operation="overwrite")
    custody.report(corrected)
    assert custody.alerts() == []
    assert custody.position("Q000000001", CODE, "A1") == (105, 0, 0)


def test_a_roster_of_members_moves_no_balance(custody: Custody) -> None:
    body = {"register_basic_information": {"register_object_type": 2, "register_event_type": 255}}
    custody.report(snapshot("registration", "roster", {"registration_information": body}))
    assert custody.alerts() == []
    assert custody.position("Q000000001", CODE, "A1") == (100, 0, 0)


def test_an_investor_is_followed_across_markets() -> None:
    beijing, shanghai = ChainBuilder(), ChainBuilder(network="shanghai")
    custody = Custody([beijing, shanghai])
    custody.deliver(beijing, *market_with_product(), *holder(1, 100))
    custody.deliver(shanghai, *market_with_product("SH000001.ESVUFR2601"), *holder(1, 30, "SH000001.ESVUFR2601"))
    assert list(custody.scan("position/Q000000001/")) == [
        "position/Q000000001/beijing/BJ000001.ESVUFR2601/A1",
        "position/Q000000001/shanghai/SH000001.ESVUFR2601/A1",
    ]


def test_a_changed_investor_code_moves_the_positions_a_bounded_number_a_block(
    custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refile, "MAX_UNITS", 4)
    products = [f"BJ000001.ESVUFR26{number:02d}" for number in range(10, 20)]
    custody.report(*(product(code, "issuer") for code in products))
    custody.report(*(registration(f"i{code}", code, "A1", change=(1, 0, 0)) for code in products))
    custody.report(person("person-1", "Q000000077", version=1))
    moved = []
    for _ in range(8):
        custody.empty_block()
        moved.append(len(custody.scan("position/Q000000077/")))
    assert moved[:3] == [4, 8, 11]
    assert custody.scan("position/Q000000001/") == {}
    assert custody.scan("work/") == {}
    assert custody.get("product", "beijing", CODE)["holders"] == 1
    custody.report(registration("t:0", CODE, "A1", before=(100, 0, 0), change=(-1, 0, 0), report="r"))
    assert custody.position("Q000000077", CODE, "A1") == (99, 0, 0)


def test_an_organisation_may_be_issuer_and_investor_at_once(custody: Custody) -> None:
    metadata = {"investor_code": "R000000005", "enterprise_code": "BJ000005F"}
    custody.report(company("both", "R000000005", metadata=metadata), account("A5", "both"))
    record = custody.get("subject", "beijing", "both")
    assert (record["investor"], record["enterprise"]) == ("R000000005", "BJ000005")


def pledge(object_id: str, number: int, change: int, contract: str, code: str = CODE, **options: Any) -> bytes:
    """A registration that changes pledge P1 of the holder with 100 shares."""
    before = options.pop("before", (100, 0, 0))
    metadata = {"pledge": "P1", "contract_number": contract, "pledgee_ref": "bank/0"}
    return registration(
        object_id, code, f"A{number}", before=before, change=(-change, change, 0), metadata=metadata, **options
    )


def encumbrances(custody: Custody) -> list[tuple[str, str, int]]:
    return [(value["kind"], value["id"], value["quantity"]) for value in custody.scan("encumbrance/").values()]


def test_a_pledge_is_followed_from_contract_to_release(custody: Custody) -> None:
    custody.report(pledge("p:1", 1, 60, "HT-1"))
    (value,) = custody.scan("encumbrance/").values()
    assert (value["contract_number"], value["pledgee"], value["investor"]) == ("HT-1", "bank", "Q000000001")
    custody.report(pledge("p:2", 1, -20, "HT-1", before=(40, 60, 0)))
    assert encumbrances(custody) == [("pledge", "P1", 40)]
    custody.report(pledge("p:2", 1, -50, "HT-1", before=(40, 60, 0), operation="overwrite"))
    assert encumbrances(custody) == [("pledge", "P1", 10)], "a correction takes its first change back"
    custody.report(pledge("p:3", 1, -10, "HT-1", before=(90, 10, 0)))
    assert encumbrances(custody) == []
    assert custody.scan("agreement/") == {}
    assert custody.alerts() == []


def test_a_freeze_names_authority_and_order(custody: Custody) -> None:
    metadata = {"freeze": "F1", "authority": "样例法院", "order_number": "(2026)1", "until_ms": 5}
    custody.report(registration("f:1", CODE, "A1", before=(100, 0, 0), change=(-7, 0, 7), metadata=metadata))
    (value,) = custody.scan("encumbrance/").values()
    assert (value["kind"], value["quantity"], value["authority"], value["until_ms"]) == ("freeze", 7, "样例法院", 5)


def test_a_pledge_moved_to_another_account_by_correction_leaves_the_old_one(custody: Custody) -> None:
    custody.report(*holder(2, 100), pledge("p:1", 1, 60, "HT-1"))
    custody.report(pledge("p:1", 2, 60, "HT-1", operation="overwrite"))
    assert list(custody.scan("encumbrance/")) == [f"encumbrance/beijing/{CODE}/A2/pledge/P1"]
    assert list(custody.scan("agreement/")) == ["agreement/Q000000002/HT-1"]


def test_rule_contract_on_two_chains() -> None:
    beijing, shanghai = ChainBuilder(), ChainBuilder(network="shanghai")
    custody = Custody([beijing, shanghai])
    other = "SH000001.ESVUFR2601"
    custody.deliver(beijing, *market_with_product(), *holder(1, 100), pledge("p:1", 1, 60, "HT-1"))
    custody.deliver(shanghai, *market_with_product(other), *holder(1, 100, other), *holder(2, 100, other))
    custody.deliver(shanghai, pledge("p:1", 1, 60, "HT-2", other), pledge("p:2", 2, 60, "HT-1", other))
    assert custody.alerts() == [], "another contract, or another pledgor"
    custody.deliver(shanghai, pledge("p:3", 1, -60, "HT-2", other, before=(40, 60, 0)))
    custody.deliver(shanghai, pledge("p:4", 1, 60, "HT-1", other))
    (alert,) = custody.alerts()
    assert (alert["rule"], alert["region"]) == ("contract_on_two_chains", "shanghai")
    assert alert["details"] == {"regions": ["beijing", "shanghai"]}
    custody.deliver(beijing, pledge("p:5", 1, -60, "HT-1", before=(40, 60, 0)))
    assert custody.alerts() == []


def test_rule_register_mismatch(custody: Custody) -> None:
    custody.report(product(CODE, "issuer", version=1, metadata={"registered_total": 100, "holders": 1}))
    assert custody.alerts() == []
    custody.report(product(CODE, "issuer", version=2, metadata={"registered_total": 120, "holders": 2}))
    alert = only_alert(custody)
    assert (alert["rule"], alert["details"]) == (
        "register_mismatch",
        {"stated_total": 120, "registered_total": 100, "stated_holders": 2, "accounts": 1},
    )
    custody.report(
        *holder(2, 20),
        product(CODE, "issuer", version=3, metadata={"registered_total": 120, "holders": 2}),
    )
    assert custody.alerts() == []


def test_an_update_without_metadata_leaves_the_decimal_places_of_a_product(custody: Custody) -> None:
    stated = {"quantity_scale": 2}
    custody.report(product(CODE, "issuer", version=1, metadata=stated))
    custody.report(product(CODE, "issuer", version=2))
    assert custody.get("product", "beijing", CODE)["scale"] == 2
    for version, nonsense in enumerate((-1, 19, "2", True), start=3):
        custody.report(product(CODE, "issuer", version=version, metadata={"quantity_scale": nonsense}))
        assert custody.get("product", "beijing", CODE)["scale"] == 2
