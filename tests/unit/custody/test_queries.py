"""What a bearer's scope and a market's own reports can do to the answers that regulators get."""

from __future__ import annotations

from typing import Any

import pytest

from custody_chain.queries import holdings
from custody_chain.queries.moment import Moment, Questions
from tests.support.chains import ChainBuilder
from tests.support.custody import company, holder, market_with_product, product
from tests.support.custody_node import CustodyNode

ENTERPRISE = "BJ000001"
ALL = ("beijing", "shanghai")


@pytest.fixture
def node() -> CustodyNode:
    """Two markets that report products of one enterprise."""
    node = CustodyNode([ChainBuilder(network=network) for network in ALL])
    for number, chain in enumerate(node.chains, start=1):
        code = f"{ENTERPRISE}.ESVUFR260{number}"
        node.deliver(chain, *market_with_product(code), *holder(number, 100, code))
    return node


def issuer(node: CustodyNode, *seen: str, proof: bool = False) -> dict[str, Any]:
    """The envelope about the enterprise for a bearer who sees these regions."""

    def question(moment: Moment) -> dict[str, Any]:
        return holdings.issuer(moment, ENTERPRISE, None, None, 50)

    return Questions(node.chain, lambda network: network in seen).answer(question, proof=proof)


def regions_of(rows: list[dict[str, Any]]) -> list[str]:
    return sorted({row["region"] for row in rows})


def test_a_scoped_bearers_proof_holds_no_key_of_another_region(node: CustodyNode) -> None:
    envelope = issuer(node, "shanghai", proof=True)
    proven = [entry["key"] for entry in envelope["evidence"]["state"]]
    assert [key for key in proven if "beijing" in key] == []
    for kind in ("company", "issued", "product", "holding", "position"):
        assert [key.partition("/")[0] for key in proven].count(kind) == 1, kind


def test_no_markets_reports_hide_those_of_another(node: CustodyNode) -> None:
    beijing = node.chains[0]
    node.deliver(beijing, *[product(f"{ENTERPRISE}.ESVUFR{number}", "issuer") for number in range(3000, 3200)])
    node.deliver(beijing, *[company(f"company-{number}", ENTERPRISE) for number in range(200)])
    for seen in (ALL, ALL[1:]):
        data = issuer(node, *seen)["data"]
        assert regions_of(data["companies"]) == regions_of(data["products"]) == sorted(seen)
        assert regions_of(data["holders"]) == sorted(seen)
        assert data["truncated"] is ("beijing" in seen), "what is not seen is not counted"
    data = issuer(node, *ALL)["data"]
    assert [len(data[name]) for name in ("companies", "products")] == [101, 101]


def test_a_market_that_reports_alone_has_all_the_room(node: CustodyNode) -> None:
    codes = [f"{ENTERPRISE}.ESVUFR{number}" for number in range(3000, 3199)]
    node.deliver(node.chains[0], *[product(code, "issuer") for code in codes])
    data = issuer(node, "beijing")["data"]
    assert (len(data["products"]), data["truncated"]) == (holdings.MAX_LISTED, False)
    node.deliver(node.chains[0], product(f"{ENTERPRISE}.ESVUFR4000", "issuer"))
    data = issuer(node, "beijing")["data"]
    assert (len(data["products"]), data["truncated"]) == (holdings.MAX_LISTED, True)
