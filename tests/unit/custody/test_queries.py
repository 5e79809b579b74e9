"""What a bearer's scope and a market's own reports can do to the answers that regulators get."""

from __future__ import annotations

from typing import Any

import pytest

from custody_chain.queries import chains, holdings
from custody_chain.queries.moment import QueryMoment, Questions
from custody_chain.supervision import refile
from tests.support.chains import ChainBuilder
from tests.support.custody import company, holder, market_with_product, person, product, recovery
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

    def question(moment: QueryMoment) -> dict[str, Any]:
        return holdings.issuer(moment, ENTERPRISE, None, None, 50)

    return Questions(node.chain, lambda network: network in seen).answer(question, proof=proof)


def regions_of(rows: list[dict[str, Any]]) -> list[str]:
    return sorted({row["region"] for row in rows})


def test_a_scoped_bearers_proof_holds_no_key_of_another_region(node: CustodyNode) -> None:
    envelope = issuer(node, "shanghai", proof=True)
    proven = [entry["key"] for entry in envelope["evidence"]["state"]]
    assert [key for key in proven if "beijing" in key] == []
    for kind in ("company", "issued", "product", "position"):
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
    assert [len(data[name]) for name in ("companies", "products")] == [200, 200]


def test_a_market_that_reports_alone_has_all_the_room(node: CustodyNode) -> None:
    codes = [f"{ENTERPRISE}.ESVUFR{number}" for number in range(3000, 3199)]
    node.deliver(node.chains[0], *[product(code, "issuer") for code in codes])
    data = issuer(node, "beijing")["data"]
    assert (len(data["products"]), data["truncated"]) == (holdings.MAX_LISTED, False)
    node.deliver(node.chains[0], product(f"{ENTERPRISE}.ESVUFR4000", "issuer"))
    data = issuer(node, "beijing")["data"]
    assert (len(data["products"]), data["truncated"]) == (holdings.MAX_LISTED, True)


@pytest.mark.parametrize(
    ("counts", "most", "shares"),
    [
        ({}, 9, {}),
        ({"a": 3, "b": 3}, 9, {"a": 3, "b": 3}),
        ({"a": 9, "b": 1, "c": 9}, 9, {"a": 4, "b": 1, "c": 4}),
        ({"a": 5, "b": 2, "c": 9}, 12, {"a": 5, "b": 2, "c": 5}),
        ({"a": 7, "b": 7, "c": 7}, 2, {"a": 1, "b": 1, "c": 1}),
    ],
)
def test_what_a_market_does_not_need_of_the_room_is_the_others(
    counts: dict[str, int], most: int, shares: dict[str, int]
) -> None:
    assert holdings.shares_of(counts, most) == shares


def test_answers_are_incomplete_where_a_recovery_skipped_blocks(node: CustodyNode) -> None:
    before, chain = issuer(node, *ALL), node.chains[0]
    assert before["complete"] is True
    assert [entry["gaps"] for entry in before["basis"]] == [[], []]
    node.commit(time_ms=node.time_ms + 60_000)
    chain.extend(holder(7, 5), time_ms=node.time_ms)
    node.govern(recovery(chain, 2, chain.id_at(1).hex()))
    for each in node.chains:
        node.deliver(each)
    answer = issuer(node, *ALL)
    assert {entry["region"]: (entry["state"], entry["gaps"]) for entry in answer["basis"]} == {
        "beijing": ("active", [[2, 2]]),
        "shanghai": ("active", []),
    }
    assert answer["complete"] is False
    assert issuer(node, "shanghai")["complete"] is True
    questions = Questions(node.chain, lambda network: True)
    regions = questions.answer(chains.all_regions)["data"]["regions"]
    assert {row["region"]: row["gaps"] for row in regions} == {"beijing": [[2, 2]], "shanghai": []}
    assert questions.answer(chains.all_regions, as_of_ms=before["as_of_ms"])["complete"] is True


def test_an_answer_is_not_complete_while_work_of_a_region_is_open(
    node: CustodyNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subject whose code changes has positions that wait to be moved: at that moment, and told so later too."""
    beijing = node.chains[0]
    assert issuer(node, *ALL)["complete"] is True
    monkeypatch.setattr(refile, "MAX_UNITS", 0)
    node.deliver(beijing, person("person-1", "Q000000099", version=1))
    answer = issuer(node, *ALL)
    assert answer["complete"] is False
    assert [entry["open_work"] for entry in answer["basis"]] == [True, False]
    assert issuer(node, "shanghai")["complete"] is True
    monkeypatch.setattr(refile, "MAX_UNITS", 256)
    node.deliver(beijing)
    node.deliver(beijing)
    assert issuer(node, *ALL)["complete"] is True
    past = Questions(node.chain, lambda network: network in ALL).answer(chains.all_regions, as_of_ms=answer["as_of_ms"])
    assert past["complete"] is False
