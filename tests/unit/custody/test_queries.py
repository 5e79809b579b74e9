"""What a bearer's scope and a market's own reports can do to the answers that regulators get."""

from __future__ import annotations

from typing import Any

import pytest

from custody_chain.queries import holdings
from custody_chain.queries.moment import Moment, Questions
from tests.support.chains import ChainBuilder
from tests.support.custody import holder, market_with_product
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
