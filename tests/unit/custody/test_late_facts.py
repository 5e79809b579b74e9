"""Who issued a product, and which security it is an instalment of, follow facts that come later or are corrected."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.model import codes
from custody_chain.supervision import refile
from tests.support.chains import ChainBuilder
from tests.support.custody import Custody, account, company, product, registration, small_holders, snapshot
from tests.unit.custody.test_refile import changes, drain, index

LEGACY = "LEGACY-1"
FIRST, SECOND, THIRD = "BJ000001.ESVUFR2601", "BJ000001.ESVUFR2602", "BJ000001.ESVUFR2603"


def test_a_corrected_enterprise_code_is_the_issuer_of_all_products_that_name_it_a_bounded_number_a_block(
    custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refile, "MAX_UNITS", 4)
    custody.report(company("issuer", "SH000001"), *(product(f"L{number}", "issuer") for number in range(10)))
    assert len(custody.alerts("issuer_outside_region")) == 10
    custody.report(company("issuer", "BJ000001", operation="overwrite"))
    corrected = []
    for _ in range(4):
        custody.empty_block()
        corrected.append(len(custody.scan("issued/BJ000001/")))
    assert corrected == [4, 8, 10, 10]
    assert custody.alerts() == []
    assert (custody.scan("issued/SH000001/"), custody.scan("work/")) == ({}, {})


def test_holders_of_a_product_whose_code_comes_later_are_holders_of_its_security(custody: Custody) -> None:
    custody.report(*small_holders(range(1, 151), "p1"))
    custody.report(*small_holders(range(151, 251), "p2"))
    both = (registration(f"both-{number}", "p2", f"A{number}", change=(1, 0, 0)) for number in range(101, 151))
    custody.report(*both)
    custody.report(product(FIRST, "issuer", object_id="p1"), product(SECOND, "issuer", object_id="p2"))
    drain(custody)
    assert custody.get("security", "BJ000001.ESVUFR")["holders"] == 250
    assert [alert["rule"] for alert in custody.alerts()] == ["holder_cap_instalments"]
    custody.report(product("BJ000001.DCFGFR2601", "issuer", object_id="p2", operation="overwrite"))
    drain(custody)
    assert custody.get("security", "BJ000001.ESVUFR")["holders"] == 150
    assert custody.get("security", "BJ000001.DCFGFR")["holders"] == 150
    assert custody.alerts() == []


@pytest.fixture
def widely_held(custody: Custody) -> Custody:
    """Three instalments with 250 holders; the alert names the one that was reported first."""
    for code, numbers in ((THIRD, range(211, 251)), (FIRST, range(1, 151)), (SECOND, range(151, 211))):
        custody.report(product(code, "issuer"))
        custody.report(*small_holders(numbers, code))
    assert named(custody) == (250, ["BJ000001.ESVUFR", THIRD])
    return custody


def named(custody: Custody) -> tuple[int, list[str]]:
    """How many holders the alert about instalments counts, and the ids that it names."""
    (alert,) = custody.alerts("holder_cap_instalments")
    return alert["details"]["holders"], [thing["id"] for thing in alert["objects"]]


def test_holder_cap_instalments_names_no_product_that_is_no_instalment_any_more(widely_held: Custody) -> None:
    widely_held.report(product("BJ000001.DCFGFR2601", "issuer", object_id=THIRD, operation="overwrite"))
    drain(widely_held)
    assert named(widely_held) == (210, ["BJ000001.ESVUFR"])
    widely_held.report(registration("more", SECOND, "A1", change=(1, 0, 0)))
    assert named(widely_held) == (210, ["BJ000001.ESVUFR", SECOND])


def test_holder_cap_instalments_names_no_product_that_nobody_holds_any_more(widely_held: Custody) -> None:
    gone = (
        registration(f"gone-{number}", THIRD, f"A{number}", before=(1, 0, 0), change=(-1, 0, 0))
        for number in range(211, 251)
    )
    widely_held.report(*gone)
    assert named(widely_held) == (210, ["BJ000001.ESVUFR"])


PRODUCTS = ["p1", "p2", THIRD]
CODES = [FIRST, SECOND, THIRD, "SH000002.ESVUFR2601", LEGACY]
SUBJECTS, BORNE = ["s1", "s2"], ["BJ000001", "SH000002", "no code", "Q000000001", "Q000000002"]
ACCOUNTS = ["A1", "A2", "A3"]


class Market:
    """Random reports of two subjects, three accounts, three products and who holds them, in any order."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._versions: dict[str, int] = {}
        self._numbers = 0
        self.held: dict[tuple[str, str], bool] = {}

    def report(self) -> bytes:
        """The next snapshot."""
        rng = self._rng
        kind = rng.choice(["subject", "account", "product", "product", "registration", "registration"])
        if kind == "registration":
            self._numbers += 1
            where = product_id, name = rng.choice(PRODUCTS), rng.choice(ACCOUNTS)
            self.held[where] = rng.random() < 0.7
            after = (int(self.held[where]), 0, 0)
            return registration(f"r{self._numbers}", product_id, name, after=after, report="t")
        name = rng.choice({"subject": SUBJECTS, "account": ACCOUNTS, "product": PRODUCTS}[kind])
        version = self._versions.get(name, -1)
        operation = "overwrite" if version >= 0 and rng.random() < 0.4 else ""
        self._versions[name] = version = version + (operation == "")
        options: dict[str, Any] = {"version": version, "operation": operation}
        if kind == "account":
            return account(name, rng.choice([*SUBJECTS, "nobody"]), **options)
        if kind == "subject":
            return company(name, rng.choice(BORNE), **options)
        if version > 0 and rng.random() < 0.1:
            return snapshot("product", name, None, version=version, operation="delete")
        return product(rng.choice(CODES), rng.choice([*SUBJECTS, "nobody"]), object_id=name, **options)


def check_issuers(custody: Custody) -> None:
    """Issuers, their lists and their alerts, from products and subjects alone."""
    listed, counts = set(), dict[str, int]()
    for name in PRODUCTS:
        record = custody.get("product", "beijing", name)
        if record is None or not record["known"]:
            continue
        subject = custody.get("subject", "beijing", record["issuer_subject"]) or {"enterprise": None}
        issuer = codes.product_enterprise(record["code"]) or subject["enterprise"]
        assert record["issuer"] == issuer
        outside = issuer == "SH000002" and not record["deleted"]
        assert ("issuer_outside_region" in record["alerts"]) == outside
        if issuer is not None and not record["deleted"]:
            listed.add(f"issued/{issuer}/beijing/{name}")
            counts[issuer] = counts.get(issuer, 0) + 1
    assert set(custody.scan("issued/")) == listed
    assert {key: value["regions"]["beijing"] for key, value in custody.scan("issuer/").items()} == {
        f"issuer/{issuer}": count for issuer, count in counts.items()
    }


def check_securities(custody: Custody, market: Market) -> None:
    """Holders of every security, all together and added up over its products, from the holdings alone."""
    holders: dict[str, set[tuple[str, str]]] = {}
    for (product_id, name), held in market.held.items():
        record = custody.get("product", "beijing", product_id)
        security = codes.security_of(record["code"] if record["known"] else product_id)
        if held and security is not None:
            investor = custody.get("holding", "beijing", product_id, name)["investor"]
            holders.setdefault(f"security/{security}", set()).add((product_id, name if investor == "-" else investor))
    found = {
        key: (value["holders"], value["regions"]["beijing"]["holders"], value["instalments"])
        for key, value in custody.scan("security/").items()
    }
    assert found == {
        key: (len({who for _, who in pairs}), len(pairs), len({product_id for product_id, _ in pairs}))
        for key, pairs in holders.items()
    }


@settings(max_examples=150, derandomize=True)
@given(st.integers(0, 10**6))
def test_when_the_work_is_done_issuers_and_securities_are_what_the_newest_facts_say(seed: int) -> None:
    rng = random.Random(seed)
    chain, market = ChainBuilder(), Market(rng)
    custody = Custody([chain])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refile, "MAX_UNITS", rng.choice([1, 2, 3, 256]))
        for _ in range(rng.randint(1, 8)):
            custody.deliver(chain, *(market.report() for _ in range(rng.randint(1, 7))))
            for _ in range(rng.choice([0, 0, 1, 3])):
                custody.empty_block()
        drain(custody)
    check_issuers(custody)
    check_securities(custody, market)
    products = {name: custody.get("product", "beijing", name) for name in PRODUCTS}
    assert index(custody, "offered/") == sorted(
        f"{record['issuer_subject']}/{changes(custody, 'subject', record['issuer_subject'])}/{name}"
        for name, record in products.items()
        if record is not None and record["known"]
    )
    counted = sorted(key.rsplit("/", 1)[0] for key in index(custody, "counted/"))
    assert counted == sorted(
        f"{name}/{record['changes']}"
        for name, record in products.items()
        if record is not None
        for _ in range(record["holders"])
    )
