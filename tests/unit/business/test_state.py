"""State: canonical values, business ids in chained buckets, genesis settings, and how many keys an operation costs."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from business_chain import application
from business_chain.application import BusinessApplication, operation_hash
from business_chain.operations import operation_types
from business_chain.state import read_business
from common.chain.application import Application
from common.chain.evidence import EVIDENCE_TYPES
from common.core.codec import canonical_json
from common.core.errors import Malformed
from common.core.suite import ED25519_SHA256
from tests.unit.business.market import PRODUCT, Market, genesis, key


def tagged(tag: str, data: bytes) -> bytes:
    """BIP 340's construction, written out once more."""
    digest = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(digest + digest + data).digest()


def test_the_business_chain_is_an_application() -> None:
    market = Market()
    chain = market.application
    assert isinstance(chain, Application)
    described = chain.describe(market.store, market.context())
    assert chain.operation_types(1) == sorted([*described["policy"], *EVIDENCE_TYPES])


def test_every_stored_value_is_canonical_json() -> None:
    market = Market().open_for_business(700, 300)
    name = 'quotes " and \\ and 中文 𠮷'
    market.apply(market.product(product="BJ000001.ESVUFR2602", name=name), market.pledge(1, 5), market.freeze(1, 5))
    for value in market.store.values.values():
        assert canonical_json(json.loads(value)) == value
    assert len({stored.split(b"/")[0] for stored in market.store.values}) == 8


def test_business_ids_are_chained_into_sixteen_buckets() -> None:
    """Protocol rule 12: recomputed by hand from the transactions in order."""
    market = Market()
    chains: dict[bytes, tuple[int, bytes]] = {}
    for first in range(0, 200, 50):
        operations = [market.person(number) for number in range(first, first + 50)]
        tx = market.transaction(*operations)
        market.execute(tx)
        entries: dict[bytes, list[bytes]] = {}
        for operation in operations:
            name = operation["business_id"].encode()
            content = tagged("tongjian/operation/v1", canonical_json(operation))
            bucket = b"business/" + content.hex()[:1].encode()
            entries.setdefault(bucket, []).append(bytes([len(name)]) + name + content)
            assert read_business(market.store, name.decode()) == (content, tx.id)
            assert content == operation_hash(ED25519_SHA256, operation)
        for bucket, entered in entries.items():
            count, chain = chains.get(bucket, (0, bytes(32)))
            step = chain + tx.id + b"".join(entered)
            chains[bucket] = (count + len(entered), tagged("tongjian/business-id-chain/v1", step))
    assert len(chains) == 16
    leaves = {name: value for name, value in market.store.values.items() if name.startswith(b"business/")}
    assert leaves == {
        name: canonical_json({"count": count, "hash": chain.hex()}) for name, (count, chain) in chains.items()
    }


def test_movements_cost_two_authenticated_keys_an_operation() -> None:
    """Protocol rule 13, over a thousand transfers in one transaction."""
    people = 40
    market = Market().open_for_business(*([25] * people))
    transfers = [market.transfer(1 + n % people, 1 + (n + 1) % people, 1) for n in range(1000)]
    market.apply(*transfers)
    assert len(market.last_changes) <= people + 16
    market.apply(market.pledge(1, 5, business_id="loan"))
    assert len(market.last_changes) == 3
    market.apply(market.op("registration.release", pledge="loan"))
    assert len(market.last_changes) == 3


def test_same_transactions_give_the_same_state_and_snapshots() -> None:
    runs = []
    for _ in range(2):
        market = Market().open_for_business(700, 300)
        snapshots = market.apply(market.transfer(1, 3, 5), market.pledge(1, 5))
        runs.append((market.store.values, market.store.index, snapshots))
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    "change",
    [
        {"region_letters": "XX"},
        {"name": ""},
        {"signers": []},
        {"signers": [{"public_key": "ed25519:00", "organisation": "m", "role": "operator"}]},
        {"signers": [{"public_key": key("a"), "organisation": "m", "role": "operator"}] * 2},
        {"signers": [{"public_key": key("a"), "organisation": "m", "role": "operator", "rank": 1}]},
        {"policy": {"registration.gift": {"maker": ["operator"], "checkers": []}}},
        {"policy": {"registration.transfer": {"maker": [], "checkers": []}}},
        {"policy": {"registration.transfer": {"maker": ["operator"]}}},
        {"policy": {"registration.transfer": {"maker": ["operator"], "checkers": ["reviewer"]}}},
        {"market": {"credit_code": "91110000FAKE00013J"}},
        {"colour": "red"},
    ],
)
def test_a_genesis_with_bad_settings_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        BusinessApplication(genesis(**change))


def test_the_market_can_name_itself() -> None:
    market = Market(genesis(market={"object_id": "venue", "credit_code": "91110000FAKE00013H"}))
    snapshot = market.apply(market.person(1), market.account(1))[1]
    general = snapshot["body"]["subject_information"]["basic_information_subject"]["general_information_subject"]
    assert snapshot["header"]["content"]["object_id"] == "venue"
    assert general["subject_id"] == "91110000FAKE00013H"


def test_a_register_is_complete_when_it_matches_its_product_leaf() -> None:
    """S1: the product's leaf says how many holdings there are and what they add up to."""
    market = Market().open_for_business(700, 200, 100)
    market.apply(market.pledge(1, 5), market.freeze(2, 5), market.transfer(3, 1, 100))
    register, product = market.register(PRODUCT), market.state_product(PRODUCT)
    assert len(register) == product.holders == 2
    assert sum(holding.figures.held for holding in register.values()) == product.total == 1000


def test_records_of_admitted_transactions_are_kept_within_a_bound_and_make_room_when_executed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    market = Market().open_for_business(700, 300)
    reads: list[Any] = []
    parse = operation_types.parse_operation

    def counted(document: dict[str, Any], types: Any) -> Any:
        reads.append(document)
        return parse(document, types)

    monkeypatch.setattr(operation_types, "parse_operation", counted)
    first, second = (market.transaction(*(market.transfer(1, 2, 1) for _ in range(3))) for _ in range(2))
    monkeypatch.setattr(application, "MAX_KEPT_BYTES", len(first.envelope) + len(second.envelope) - 1)
    state = market.store
    for tx in (first, first, second):
        market.application.check(tx, state, market.context())
    assert len(reads) == 9
    market.execute(second)
    assert len(reads) == 9  # kept
    market.execute(first)
    assert len(reads) == 12  # made room for the second
    third = market.transaction(*(market.transfer(1, 2, 1) for _ in range(5)))
    market.application.check(third, state, market.context())
    market.execute(third)
    assert len(reads) == 17
