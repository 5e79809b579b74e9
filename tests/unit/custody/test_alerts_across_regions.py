"""An alert over several regions stands in one that is concerned, names what that region reported, and moves on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.chains import ChainBuilder
from tests.support.custody import (
    Custody,
    company,
    holder,
    market_with_product,
    product,
    registration,
    small_holders,
    snapshot,
)

NETWORKS = ("beijing", "jiangsu", "shanghai")
CODES = {network: f"BJ000001.ESVUFR260{number}" for number, network in enumerate(NETWORKS)}


@pytest.fixture
def chains() -> dict[str, ChainBuilder]:
    return {network: ChainBuilder(network=network) for network in NETWORKS}


@pytest.fixture
def custody(chains: dict[str, ChainBuilder]) -> Custody:
    return Custody(list(chains.values()))


def states(custody: Custody, rule: str) -> dict[str, str]:
    """Region -> state of its alert of a rule; checks the counts of open alerts on the way."""
    for network in NETWORKS:
        opened = [alert for alert in custody.alerts() if alert["region"] == network]
        assert custody.region(network)["alerts_open"] == len(opened)
    return {alert["region"]: alert["state"] for alert in custody.alerts(rule, opened=False)}


def sale(number: int, network: str) -> bytes:
    return registration(f"out-{number}", CODES[network], f"A{number}", before=(1, 0, 0), change=(-1, 0, 0), report="r")


def test_issuer_on_two_chains(custody: Custody, chains: dict[str, ChainBuilder]) -> None:
    for network in ("beijing", "shanghai", "jiangsu"):
        custody.deliver(chains[network], company("issuer", "BJ000001"), product(CODES[network], "issuer"))
    assert states(custody, "issuer_on_two_chains") == {"shanghai": "open"}
    custody.deliver(chains["shanghai"], snapshot("product", CODES["shanghai"], None, version=1, operation="delete"))
    assert states(custody, "issuer_on_two_chains") == {"shanghai": "cleared", "beijing": "open"}
    (alert,) = custody.alerts("issuer_on_two_chains")
    assert alert["details"] == {"regions": ["beijing", "jiangsu"]}
    custody.deliver(chains["beijing"], snapshot("product", CODES["beijing"], None, version=1, operation="delete"))
    assert states(custody, "issuer_on_two_chains") == {"shanghai": "cleared", "beijing": "cleared"}


def test_contract_on_two_chains(custody: Custody, chains: dict[str, ChainBuilder]) -> None:
    pledge: dict[str, Any] = {"metadata": {"pledge": "P1", "contract_number": "HT-1"}}
    for network in ("beijing", "shanghai", "jiangsu"):
        code = CODES[network]
        pledged = registration("p", code, "A1", before=(9, 0, 0), change=(-5, 5, 0), **pledge)
        custody.deliver(chains[network], *market_with_product(code), *holder(1, 9, code), pledged)
    assert states(custody, "contract_on_two_chains") == {"shanghai": "open"}
    released = registration("r", CODES["shanghai"], "A1", before=(4, 5, 0), change=(5, -5, 0), **pledge)
    custody.deliver(chains["shanghai"], released)
    assert states(custody, "contract_on_two_chains") == {"shanghai": "cleared", "beijing": "open"}


def test_holder_cap_instalments(custody: Custody, chains: dict[str, ChainBuilder]) -> None:
    numbers = {"beijing": range(1, 151), "jiangsu": range(151, 201), "shanghai": range(201, 202)}
    for network, held_by in numbers.items():
        custody.deliver(chains[network], *small_holders(held_by, CODES[network]))

    def named() -> list[tuple[str, str, int]]:
        return [
            (alert["region"], alert["objects"][1]["id"], alert["details"]["holders"])
            for alert in custody.alerts("holder_cap_instalments")
        ]

    assert named() == [("shanghai", CODES["shanghai"], 201)]
    custody.deliver(chains["jiangsu"], *holder(300, 1, CODES["jiangsu"]))
    assert named() == [("shanghai", CODES["shanghai"], 202)], "the region's own product, whoever's holders changed"
    custody.deliver(chains["shanghai"], sale(201, "shanghai"))
    assert named() == [("beijing", CODES["beijing"], 201)]
    assert states(custody, "holder_cap_instalments") == {"shanghai": "cleared", "beijing": "open"}
    custody.deliver(chains["jiangsu"], sale(300, "jiangsu"))
    assert named() == []


def test_holder_cap_instalments_moves_when_a_region_leaves_by_holders_who_are_counted_elsewhere_too(
    custody: Custody, chains: dict[str, ChainBuilder]
) -> None:
    custody.deliver(chains["beijing"], *(part for n in range(1, 151) for part in holder(n, 1, CODES["beijing"])))
    custody.deliver(chains["jiangsu"], *(part for n in range(151, 201) for part in holder(n, 1, CODES["jiangsu"])))
    custody.deliver(chains["shanghai"], *holder(201, 1, CODES["shanghai"]))
    custody.deliver(chains["jiangsu"], *holder(201, 1, CODES["jiangsu"]))
    custody.deliver(chains["shanghai"], sale(201, "shanghai"))
    (alert,) = custody.alerts("holder_cap_instalments")
    assert (alert["region"], alert["details"]["holders"]) == ("beijing", 201)


def test_holder_cap_instalments_is_not_for_one_instalment_alone_and_clears_when_only_one_has_holders(
    custody: Custody, chains: dict[str, ChainBuilder]
) -> None:
    custody.deliver(chains["beijing"], *(part for n in range(1, 202) for part in holder(n, 1, CODES["beijing"])))
    assert states(custody, "holder_cap") == {"beijing": "open"}
    custody.deliver(chains["jiangsu"], *holder(1, 1, CODES["jiangsu"]))
    (alert,) = custody.alerts("holder_cap_instalments")
    assert (alert["region"], alert["details"]) == ("jiangsu", {"holders": 201, "instalments": 2, "limit": 200})
    custody.deliver(chains["jiangsu"], *holder(300, 1, CODES["jiangsu"]))
    assert states(custody, "holder_cap_instalments") == {"jiangsu": "open"}
    custody.deliver(chains["jiangsu"], sale(300, "jiangsu"))
    assert states(custody, "holder_cap_instalments") == {"jiangsu": "open"}
    custody.deliver(chains["jiangsu"], sale(1, "jiangsu"))
    assert states(custody, "holder_cap_instalments") == {"jiangsu": "cleared"}
    assert states(custody, "holder_cap") == {"beijing": "open"}
