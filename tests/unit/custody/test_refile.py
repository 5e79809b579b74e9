"""Positions follow the investor behind their account, whatever changes before they are moved."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custody_chain.supervision import refile
from tests.support.chains import ChainBuilder
from tests.support.custody import (
    Custody,
    account,
    holder,
    market_with_product,
    person,
    product,
    registration,
    snapshot,
)

CODE, SECOND = "BJ000001.ESVUFR2601", "BJ000001.ESVUFR2602"


@pytest.fixture
def custody(chain: ChainBuilder) -> Custody:
    """A market with two products and one holder of 100 shares in the first."""
    custody = Custody([chain])
    custody.report(*market_with_product(), product(SECOND, "issuer"), *holder(1, 100))
    return custody


def drain(custody: Custody) -> None:
    """Empty blocks until no work is queued."""
    for _ in range(400):
        if not custody.scan("work/"):
            return
        custody.empty_block()
    raise AssertionError("the work does not end")


def filed(custody: Custody) -> set[str]:
    """Investor, product and account of every position."""
    return {key.removeprefix("position/").replace("beijing/", "") for key in custody.scan("position/")}


def test_a_position_that_ends_before_it_is_moved_leaves_no_work_and_may_begin_again(custody: Custody) -> None:
    custody.report(
        person("person-1", "Q000000077", version=1),
        registration("out", CODE, "A1", before=(100, 0, 0), change=(-100, 0, 0), report="r"),
    )
    drain(custody)
    assert filed(custody) == set()
    custody.report(registration("in", CODE, "A1", change=(7, 0, 0), report="r"))
    custody.report(person("person-1", "Q000000078", version=2))
    drain(custody)
    assert custody.position("Q000000078", CODE, "A1") == (7, 0, 0)


@pytest.mark.parametrize("busy", ["beijing", "shanghai"])
@pytest.mark.parametrize("steps", [4, 5])
def test_a_region_with_endless_work_holds_up_no_other_one(
    monkeypatch: pytest.MonkeyPatch, busy: str, steps: int
) -> None:
    monkeypatch.setattr(refile, "MAX_UNITS", steps)
    chains = {network: ChainBuilder(network=network) for network in ("beijing", "shanghai")}
    custody = Custody(list(chains.values()))
    calm = "shanghai" if busy == "beijing" else "beijing"
    custody.deliver(chains[calm], *market_with_product(), *holder(5, 30))
    custody.deliver(chains[busy], *(person(f"p{number}", f"Q{number:09d}") for number in range(10)))
    for version in range(1, 7):
        renamed = (person(f"p{number}", f"Q{version}0000000{number}", version=version) for number in range(10))
        custody.deliver(chains[busy], *renamed)
        if version == 3:
            custody.deliver(chains[calm], person("person-5", "Q000000055", version=1))
    assert len(custody.scan(f"work/{busy}/")) > 5, "the region has work all the time"
    assert custody.position("Q000000055", CODE, "A5", calm) == (30, 0, 0)
    assert custody.scan(f"work/{calm}/") == {}


def test_steps_that_cannot_be_shared_go_to_the_regions_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refile, "MAX_UNITS", 1)
    networks = ("beijing", "jiangsu", "shanghai")
    chains = {network: ChainBuilder(network=network) for network in networks}
    custody = Custody(list(chains.values()))
    for network in networks:
        custody.deliver(chains[network], *(person(f"p{number}", f"Q{number:09d}") for number in range(9)))
    monkeypatch.setattr(refile, "MAX_UNITS", 0)
    for network in networks:
        custody.deliver(chains[network], *(person(f"p{number}", "Q000000077", version=1) for number in range(9)))
    monkeypatch.setattr(refile, "MAX_UNITS", 1)
    for _ in range(6):
        custody.empty_block()
    assert [len(custody.scan(f"work/{network}/")) for network in networks] == [7, 7, 7]


def test_steps_that_one_region_does_not_need_go_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = ("beijing", "shanghai")
    chains = {network: ChainBuilder(network=network) for network in networks}
    custody = Custody(list(chains.values()))
    for network, count in zip(networks, (1, 9), strict=True):
        custody.deliver(chains[network], *(person(f"p{number}", f"Q{number:09d}") for number in range(count)))
    monkeypatch.setattr(refile, "MAX_UNITS", 0)
    for network, count in zip(networks, (1, 9), strict=True):
        renamed = (person(f"p{number}", "Q000000077", version=1) for number in range(count))
        custody.deliver(chains[network], *renamed)
    if custody.context().height % 2:
        custody.empty_block()
    monkeypatch.setattr(refile, "MAX_UNITS", 8)
    custody.empty_block()
    assert [len(custody.scan(f"work/{network}/")) for network in networks] == [0, 2]


def test_an_account_is_unresolved_until_the_last_of_its_positions_is_moved(
    chain: ChainBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    custody = Custody([chain])
    products = [f"BJ000001.ESVUFR260{number}" for number in range(2, 6)]
    held = (registration(f"r{number}", code, "A1", change=(1, 0, 0)) for number, code in enumerate(products))
    custody.deliver(chain, *market_with_product(), *(product(code, "issuer") for code in products), *held)
    monkeypatch.setattr(refile, "MAX_UNITS", 0)
    custody.deliver(chain, person("person-1", "Q000000001"), account("A1", "person-1"))
    monkeypatch.setattr(refile, "MAX_UNITS", 1)
    unresolved = []
    for _ in range(8):
        waiting = [key for key in custody.scan("position/") if key.startswith("position/-/")]
        unresolved.append(len(waiting))
        assert bool(custody.alerts("reference_unresolved")) or not waiting
        custody.empty_block()
    assert unresolved[:5] == [4, 3, 2, 1, 0]
    assert custody.alerts() == []


def index(custody: Custody, prefix: str) -> list[str]:
    """Keys of the index below a prefix, without it and the region; numbers in decimal."""
    keys = [key.decode().split("/")[2:] for key in custody.state.index if key.startswith(prefix.encode())]
    return sorted("/".join(str(int(step, 16)) if len(step) == 16 else step for step in key) for key in keys)


def changes(custody: Custody, what: str, object_id: str | None) -> int:
    """How often what a subject, account or product leads to changed."""
    record = None if object_id is None else custody.get(what, "beijing", object_id)
    return 0 if record is None else int(record["changes"])


def check_lists(custody: Custody, held: set[tuple[str, str]]) -> None:
    """Nothing is listed as before a change, nothing twice, and nothing is missing."""
    owners = {name: custody.get("account", "beijing", name) for name in ACCOUNTS}
    filings = {
        name: f"{changes(custody, 'account', name)}/{changes(custody, 'subject', (owner or {}).get('subject'))}"
        for name, owner in owners.items()
    }
    assert index(custody, "filed/") == sorted(f"{name}/{filings[name]}/{code}" for code, name in held)
    assert index(custody, "owned/") == sorted(
        f"{owner['subject']}/{changes(custody, 'subject', owner['subject'])}/{name}"
        for name, owner in owners.items()
        if owner is not None and owner["known"]
    )


INVESTORS = ["Q000000001", "Q000000002", "R000000003", "no code"]
SUBJECTS, ACCOUNTS = ["s1", "s2", "s3"], ["A1", "A2", "A3"]


class Market:
    """Random reports about three subjects, three accounts and their positions, right and wrong ones in any order."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._versions: dict[str, int] = {}
        self._numbers = 0
        self.shares: dict[tuple[str, str], int] = {}

    def report(self) -> bytes:
        """The next snapshot: a person, an account, or a registration."""
        rng = self._rng
        kind = rng.choice(["subject", "subject", "account", "registration"])
        if kind == "registration":
            self._numbers += 1
            where = code, name = rng.choice([CODE, SECOND]), rng.choice(ACCOUNTS)
            before, after = self.shares.get(where, 0), rng.choice([0, 1, 5])
            self.shares[where] = after
            return registration(
                f"r{self._numbers}", code, name, before=(before, 0, 0), change=(after - before, 0, 0), report="t"
            )
        name = rng.choice(SUBJECTS if kind == "subject" else ACCOUNTS)
        version = self._versions.get(name, -1)
        operation = "overwrite" if version >= 0 and rng.random() < 0.4 else ""
        self._versions[name] = version = version + (operation == "")
        if kind == "account":
            return account(name, rng.choice([*SUBJECTS, "nobody"]), version=version, operation=operation)
        if version > 0 and rng.random() < 0.1:
            return snapshot("subject", name, None, version=version, operation="delete")
        return person(name, rng.choice(INVESTORS), version=version, operation=operation)


def investor_behind(custody: Custody, name: str) -> str:
    """What the account leads to, read from account and subject alone."""
    owner = (custody.get("account", "beijing", name) or {"subject": None})["subject"]
    subject = None if owner is None else custody.get("subject", "beijing", owner)
    return "-" if subject is None or subject["investor"] is None else str(subject["investor"])


@settings(max_examples=150, derandomize=True)
@given(st.integers(0, 10**6))
def test_when_the_work_is_done_every_position_is_under_the_investor_of_its_account(seed: int) -> None:
    rng = random.Random(seed)
    chain, market = ChainBuilder(), Market(rng)
    custody = Custody([chain])
    custody.deliver(chain, *market_with_product(), product(SECOND, "issuer"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refile, "MAX_UNITS", rng.choice([1, 2, 3, 256]))
        for _ in range(rng.randint(1, 8)):
            custody.deliver(chain, *(market.report() for _ in range(rng.randint(1, 6))))
            for _ in range(rng.choice([0, 0, 1, 3])):
                custody.empty_block()
        drain(custody)
    held = {where: shares for where, shares in market.shares.items() if shares}
    behind = {name: investor_behind(custody, name) for name in ACCOUNTS}
    assert filed(custody) == {f"{behind[name]}/{code}/{name}" for code, name in held}
    check_lists(custody, set(held))
    for code in (CODE, SECOND):
        holders = {name if behind[name] == "-" else behind[name] for product_id, name in held if product_id == code}
        assert custody.get("product", "beijing", code)["holders"] == len(holders)
    unresolved = {alert["objects"][0]["id"] for alert in custody.alerts("reference_unresolved")}
    assert {name for _, name in held if behind[name] == "-"} <= unresolved
    assert unresolved <= {name for name in ACCOUNTS if behind[name] == "-"}
