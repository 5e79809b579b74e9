"""Business queries and proven registers, on a chain store with real blocks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from business_chain.answers import StateEvidence
from business_chain.queries import Queries
from business_chain.register_proof import ProvenValue, verify_register
from common.core.errors import Gone, Malformed, NotFound, ProofInvalid
from common.core.header import Header
from common.core.state_proof import StateProof
from common.core.suite import ED25519_SHA256
from common.node.store.chain_prune import keep_past_trees
from tests.unit.business.market import COMPANY, ISSUER, PRODUCT
from tests.unit.business.stored_market import StoredMarket


@pytest.fixture(scope="module")
def chain() -> StoredMarket:
    """Seven holders; then, two blocks later, A1 has pledged and sold, and A7 has left."""
    market = StoredMarket()
    market.commit(*market.foundations(700, 50, 50, 50, 50, 50, 50))
    market.commit(market.pledge(1, 100), market.transfer(1, 2, 100))
    market.commit(market.transfer(7, 1, 50))
    return market


def proven(evidence: StateEvidence | None) -> tuple[bytes, list[ProvenValue]]:
    """State root of the evidence's header, and its values."""
    assert evidence.header is not None
    header = Header.decode(bytes.fromhex(evidence.header))
    values = [
        ProvenValue(entry.key.encode(), (entry.value or "").encode(), StateProof.from_json(entry.proof))
        for entry in evidence.entries
    ]
    return header.state_root, values


def test_register_names_holders_with_their_codes(chain: StoredMarket) -> None:
    answer = Queries(chain.chain).register(PRODUCT, None, 100, None, False)
    assert (answer.product.holders, answer.product.registered_total) == (6, 1000)
    assert [entry.account for entry in answer.holders] == [f"A{number}" for number in range(1, 7)]
    first = answer.holders[0]
    assert (first.available, first.pledged, first.frozen, first.held) == (550, 100, 0, 650)
    assert (first.subject, first.investor_code, first.name) == ("P1", "Q000000001", None)
    assert answer.next_cursor is None
    assert answer.evidence is None


def test_register_of_the_past(chain: StoredMarket) -> None:
    past = Queries(chain.chain).register(PRODUCT, 1, 100, None, False)
    assert [entry.held for entry in past.holders] == [700, 50, 50, 50, 50, 50, 50]
    assert (past.product.holders, past.as_of.height) == (7, 1)
    assert past.as_of.block_id == chain.chain.block_id(1).hex()
    with pytest.raises(NotFound, match="product_unknown"):
        Queries(chain.chain).register(PRODUCT, 0, 100, None, False)
    with pytest.raises(NotFound, match="height_unknown"):
        Queries(chain.chain).register(PRODUCT, 9, 100, None, False)


def test_pages_follow_each_other(chain: StoredMarket) -> None:
    seen: list[str] = []
    cursor = None
    while True:
        page = Queries(chain.chain).register(PRODUCT, None, 4, cursor, False)
        seen += [entry.account for entry in page.holders]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == [f"A{number}" for number in range(1, 7)]


def test_holdings_subjects_products(chain: StoredMarket) -> None:
    queries = Queries(chain.chain)
    holdings = queries.holdings("A1", 100, None, False)
    assert [(entry.product, entry.held) for entry in holdings.holdings] == [(PRODUCT, 650)]
    assert queries.holdings("A7", 100, None, False).holdings == []
    issuer = queries.subject(ISSUER, 9, None, False)
    assert (issuer.name, issuer.shareholders, issuer.products) == (COMPANY, 6, [PRODUCT])
    person = queries.subject("P1", 9, None, False)
    assert (person.name, person.accounts, person.investor_code) == (None, ["A1"], "Q000000001")
    assert [product.product for product in queries.products(100, None, False).products] == [PRODUCT]
    assert queries.products(100, PRODUCT, False).products == []
    for ask in (lambda: queries.subject("X", 9, None, False), lambda: queries.holdings("X", 1, None, False)):
        with pytest.raises(NotFound):
            ask()


def test_a_proven_register_is_complete(chain: StoredMarket) -> None:
    answer = Queries(chain.chain).register(PRODUCT, None, 100, None, True)
    root, values = proven(answer.evidence)
    product, holdings = verify_register(ED25519_SHA256, root, PRODUCT, values)
    assert product.holders == len(holdings) == 6
    assert {entry.account: entry.held for entry in answer.holders} == {
        account: holding.figures.held for account, holding in holdings.items()
    }


def without_one(values: list[ProvenValue]) -> list[ProvenValue]:
    return values[:-1]


def with_one_twice(values: list[ProvenValue]) -> list[ProvenValue]:
    return [*values[:-1], values[1]]


def without_the_product(values: list[ProvenValue]) -> list[ProvenValue]:
    return values[1:]


def with_another_balance(values: list[ProvenValue]) -> list[ProvenValue]:
    return [*values[:-1], replace(values[-1], value=values[-1].value.replace(b"50", b"51"))]


def with_anothers_proof(values: list[ProvenValue]) -> list[ProvenValue]:
    return [*values[:-1], replace(values[-1], proof=values[-2].proof)]


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (without_one, "register_incomplete"),
        (with_one_twice, "register_repeated"),
        (without_the_product, "register_product_missing"),
        (with_another_balance, "state_proof_value"),
        (with_anothers_proof, "state_proof"),
    ],
)
def test_r6_a_register_with_something_missing_or_changed_is_refused(
    chain: StoredMarket, tamper: Any, code: str
) -> None:
    answer = Queries(chain.chain).register(PRODUCT, None, 100, None, True)
    root, values = proven(answer.evidence)
    with pytest.raises(ProofInvalid, match=code):
        verify_register(ED25519_SHA256, root, PRODUCT, tamper(values))


def test_a_value_of_something_else_does_not_pass_for_a_holding(chain: StoredMarket) -> None:
    queries = Queries(chain.chain)
    root, values = proven(queries.register(PRODUCT, None, 100, None, True).evidence)
    _, foreign = proven(queries.subject("P1", 9, None, True).evidence)
    with pytest.raises(ProofInvalid, match="register_foreign_value"):
        verify_register(ED25519_SHA256, root, PRODUCT, [*values[:-1], *foreign])


def test_registers_of_the_past_are_proven_under_their_own_headers(chain: StoredMarket) -> None:
    queries = Queries(chain.chain)
    sizes = set()
    for height in range(1, chain.chain.tip().height + 1):
        try:
            answer = queries.register(PRODUCT, height, 100, None, True)
        except NotFound:
            continue
        root, values = proven(answer.evidence)
        assert root == chain.chain.header(height).state_root
        product, holdings = verify_register(ED25519_SHA256, root, PRODUCT, values)
        assert {entry.account: entry.held for entry in answer.holders} == {
            account: holding.figures.held for account, holding in holdings.items()
        }
        sizes.add(product.holders)
    assert len(sizes) > 1


def test_a_node_that_keeps_no_past_trees_says_from_where_on_it_proves(chain: StoredMarket) -> None:
    keep_past_trees(chain.chain, False)
    queries = Queries(chain.chain)
    tip = chain.chain.tip().height
    with pytest.raises(Gone, match="proof_pruned") as caught:
        queries.register(PRODUCT, tip - 1, 100, None, True)
    assert caught.value.parameters["lowest"] == tip
    assert queries.register(PRODUCT, tip - 1, 100, None, False).holders


def test_proofs_are_bounded(chain: StoredMarket) -> None:
    queries = Queries(chain.chain)
    with pytest.raises(Malformed, match="proof_limit"):
        queries.products(201, None, True)
    tip = chain.chain.tip().height
    assert queries.register(PRODUCT, tip, 100, None, True).evidence is not None


def test_every_answer_can_be_proven(chain: StoredMarket) -> None:
    queries = Queries(chain.chain)
    answers = (
        queries.products(9, None, True),
        queries.holdings("A1", 9, None, True),
        queries.subject("P1", 9, None, True),
    )
    for answer, count in zip(answers, (1, 2, 1), strict=True):
        assert answer.evidence is not None
        assert len(answer.evidence.entries) == count
        _, values = proven(answer.evidence)
        assert all(value.value for value in values)
