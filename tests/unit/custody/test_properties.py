"""Properties: any way of delivering gives the same supervision; positions equal a naive twin; nothing that a region
writes stops its chain; the same inputs give the same state root in any process."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from common.core.codec import canonical_json
from common.core.snapshot import MAX_SNAPSHOT_BYTES
from common.model.schemas import ALLOWED_KEYWORDS, CONTENT_TYPES, MODEL, model_schema_hash
from crosslink.lightclient.delivery import Delivery
from custody_chain.intake import ANOMALY_CODES
from tests.support.chains import BuiltBlock, ChainBuilder
from tests.support.custody import (
    SUITE,
    Custody,
    account,
    entry_of,
    holder,
    market_with_product,
    person,
    product,
    registration,
    snapshot,
)

ROOT = Path(__file__).parents[3]
CODES = ("BJ000001.ESVUFR2601", "BJ000001.ESVUFR2602", "BJ000002.ESVUFR2601")
Balances = tuple[int, int, int]


class NaiveTwin:
    """What positions must be: the last stated balances of each account and product, in plain dicts."""

    def __init__(self) -> None:
        self.balances: dict[tuple[str, str], Balances] = {}

    def before(self, code: str, account_id: str) -> Balances:
        return self.balances.get((code, account_id), (0, 0, 0))

    def expected(self) -> dict[str, Balances]:
        return {
            f"position/Q{int(account_id[1:]):09d}/beijing/{code}/{account_id}": balances
            for (code, account_id), balances in self.balances.items()
            if any(balances)
        }


def business(rng: random.Random, twin: NaiveTwin, length: int) -> list[bytes]:
    """Random honest business of four holders in three products, in order."""
    snapshots = [
        product("BJ000001.ESVUFR2601", "issuer"),
        product("BJ000001.ESVUFR2602", "issuer"),
        product("BJ000002.ESVUFR2601", "issuer"),
    ]
    for number in range(1, 5):
        snapshots += [person(f"p{number}", f"Q{number:09d}"), account(f"A{number}", f"p{number}")]
    for step in range(length):
        code, account_id = rng.choice(CODES), f"A{rng.randint(1, 4)}"
        available, pledged, frozen = before = twin.before(code, account_id)
        kind = rng.choice(["in", "out", "pledge", "release", "freeze", "unfreeze"])
        amount = rng.randint(0, 50)
        change = {
            "in": (amount, 0, 0),
            "out": (-min(amount, available), 0, 0),
            "pledge": (-min(amount, available), min(amount, available), 0),
            "release": (min(amount, pledged), -min(amount, pledged), 0),
            "freeze": (-min(amount, available), 0, min(amount, available)),
            "unfreeze": (min(amount, frozen), 0, -min(amount, frozen)),
        }[kind]
        report = f"r{step}" if kind in ("in", "out") else None
        snapshots.append(registration(f"s{step}", code, account_id, before=before, change=change, report=report))
        twin.balances[code, account_id] = (available + change[0], pledged + change[1], frozen + change[2])
    return snapshots


def blocks_of(rng: random.Random, chain: ChainBuilder, snapshots: list[bytes]) -> list[BuiltBlock]:
    """The snapshots in blocks of random sizes, with empty blocks between."""
    blocks, at = [], 0
    while at < len(snapshots):
        size = rng.randint(0, 6)
        blocks.append(chain.extend(snapshots[at : at + size]))
        at += size
    return blocks


def deliver_somehow(rng: random.Random, custody: Custody, blocks: list[BuiltBlock]) -> None:
    """Two relays deliver the same blocks in random pieces, some twice, some too early, until all are anchored."""
    while True:
        region = custody.region()
        anchored, partial = region["anchored"]["height"], region["partial"]
        if anchored == blocks[-1].height:
            return
        relay = rng.choice(["relay", "second-relay"])
        start = max(1, anchored + 1 - rng.randint(0, 2))
        chunk = blocks[start - 1 : start - 1 + rng.randint(1, 4)]
        following = blocks[anchored]
        count = len(following.snapshots)
        done = 0 if partial is None else partial["delivered"]
        choice = rng.randint(0, 3)
        if choice == 0 and count:
            last = rng.randint(done + 1, count)
            first = rng.randint(0, done)
            custody.submit(
                "beijing", entry_of(following, first=first, last=last, header=partial is None), signers=[relay]
            )
        elif choice == 1 and anchored + 2 <= len(blocks) and (count or partial):
            assert custody.refused("beijing", blocks[anchored + 1]) in ("header_gap", "block_incomplete")
        else:
            custody.submit("beijing", *chunk, signers=[relay])


SUPERVISED = (
    "position/",
    "holding/",
    "product/",
    "subject/",
    "account/",
    "issuer/",
    "issued/",
    "security/",
    "anchored/",
)


def supervision(custody: Custody) -> dict[str, Any]:
    """All state but what says when and by whom something was delivered."""
    return {key: value for prefix in SUPERVISED for key, value in custody.scan(prefix).items()}


@settings(max_examples=30, derandomize=True)
@given(st.integers(0, 10**6))
def test_any_way_of_delivering_gives_the_same_supervision(seed: int) -> None:
    rng = random.Random(seed)
    chain, twin = ChainBuilder(), NaiveTwin()
    blocks = blocks_of(rng, chain, business(rng, twin, 25))
    whole, pieces = Custody([chain]), Custody([chain])
    whole.submit("beijing", *blocks)
    deliver_somehow(rng, pieces, blocks)
    assert supervision(pieces) == supervision(whole)
    assert pieces.region()["journal"] == whole.region()["journal"]
    positions = {
        key: (value["available"], value["pledged"], value["frozen"]) for key, value in whole.scan("position/").items()
    }
    assert positions == twin.expected()
    assert whole.alerts() == []
    check_counts(whole, twin)


def check_counts(custody: Custody, twin: NaiveTwin) -> None:
    """Totals and holder counts of every product, and of every security over its instalments, against brute force."""
    for code in CODES:
        held = {a: b for (c, a), b in twin.balances.items() if c == code and any(b)}
        record = custody.get("product", "beijing", code)
        assert (record["holders"], record["accounts"]) == (len(held), len(held))
        assert [record[name] for name in ("available", "pledged", "frozen")] == [
            sum(balances[part] for balances in held.values()) for part in range(3)
        ]
    holders = {a for (c, a), b in twin.balances.items() if c.startswith("BJ000001.") and any(b)}
    security = custody.get("security", "BJ000001.ESVUFR")
    assert (security or {"holders": 0})["holders"] == len(holders)
    instalments = {c for (c, _), b in twin.balances.items() if c.startswith("BJ000001.") and any(b)}
    assert (security or {"instalments": 0})["instalments"] == len(instalments)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=12,
)


def mutated(rng: random.Random, document: Any, value: Any) -> Any:
    """The document with one random place replaced or removed."""
    if isinstance(document, dict) and document and rng.random() < 0.9:
        key = rng.choice(sorted(document))
        if rng.random() < 0.15:
            return {name: item for name, item in document.items() if name != key}
        return {**document, key: mutated(rng, document[key], value)}
    if isinstance(document, list) and document and rng.random() < 0.9:
        at = rng.randrange(len(document))
        return [*document[:at], mutated(rng, document[at], value), *document[at + 1 :]]
    return value


SEEDS = [*market_with_product(), *holder(1, 10), snapshot("subject", "p", None, version=1, operation="delete")]


@settings(max_examples=150, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 10**6), json_values), min_size=1, max_size=8))
def test_nothing_a_region_writes_stops_its_chain(mutations: list[tuple[int, Any]]) -> None:
    chain = ChainBuilder()
    custody = Custody([chain])
    custody.deliver(chain, *SEEDS)
    snapshots = []
    for seed, value in mutations:
        rng = random.Random(seed)
        document = json.loads(rng.choice(SEEDS))
        for _ in range(rng.randint(1, 3)):
            document = mutated(rng, document, value)
        data = canonical_json(document)
        assert len(data) <= MAX_SNAPSHOT_BYTES
        snapshots.append(data)
    custody.deliver(chain, *snapshots)
    custody.empty_block()
    region = custody.region()
    assert region["anchored"]["height"] == 2
    assert region["snapshots"] == len(SEEDS) + len(snapshots)
    assert {anomaly["code"] for anomaly in custody.scan("anomaly/").values()} <= set(ANOMALY_CODES)
    assert region["anomalies_open"] == sum(a["state"] == "open" for a in custody.scan("anomaly/").values())
    assert region["alerts_open"] == len(custody.alerts())


@settings(max_examples=100, derandomize=True)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_at_most_anomalous(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        return  # the node interface serves snapshots as text, so such bytes cannot be delivered
    chain = ChainBuilder()
    custody = Custody([chain])
    custody.deliver(chain, data)
    assert custody.region()["anchored"]["height"] == 1


PROGRAM = """
import random
from tests.support.chains import ChainBuilder
from tests.support.custody import Custody, holder
from tests.unit.custody.test_properties import NaiveTwin, business, blocks_of
rng = random.Random(7)
chain = ChainBuilder()
blocks = blocks_of(rng, chain, business(rng, NaiveTwin(), 60))
custody = Custody([chain])
custody.submit("beijing", *blocks)
custody.deliver(chain, *holder(9, 5), b"{}", b'{"header":1}')
custody.empty_block()
print(custody.state.root())
"""


def test_the_state_root_does_not_depend_on_hash_seeds() -> None:
    roots = set()
    for seed in ("0", "1", "77"):
        result = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        roots.add(result.stdout.strip())
    assert len(roots) == 1


def test_the_state_root_does_not_depend_on_the_order_of_keys_in_what_is_submitted() -> None:
    chain = ChainBuilder()
    chain.extend([*market_with_product(), *holder(1, 10)])
    roots = set()
    for reverse in (False, True):
        custody = Custody([chain])
        operation = Delivery("beijing", (entry_of(chain.blocks[0]),)).to_operation()
        custody.run([reordered(operation, reverse)])
        roots.add(custody.state.root())
    assert len(roots) == 1


def reordered(value: Any, reverse: bool) -> Any:
    """The same JSON value with its keys inserted in another order."""
    if isinstance(value, dict):
        return {key: reordered(value[key], reverse) for key in sorted(value, reverse=reverse)}
    return [reordered(item, reverse) for item in value] if isinstance(value, list) else value


def test_the_schemas_use_the_deterministic_subset_only() -> None:
    """Protocol rule 18: keywords on which validator libraries differ do not occur, anywhere in the files."""
    for name in CONTENT_TYPES:
        text = (ROOT / "common" / "model" / "kinds" / f"{name}.json").read_text(encoding="utf-8")
        assert MODEL.knows(name)
        assert not {"format", "pattern", "multipleOf", "additionalProperties"} & keywords(json.loads(text))
    assert not {"format", "pattern", "multipleOf"} & ALLOWED_KEYWORDS


def keywords(schema: Any) -> set[str]:
    """Keywords of a schema and its children; names of properties are none."""
    if not isinstance(schema, dict):
        return set()
    found = set(schema)
    for keyword in ("properties", "$defs"):
        for child in schema.get(keyword, {}).values():
            found |= keywords(child)
    for child in (schema.get("items"), *schema.get("oneOf", ())):
        found |= keywords(child)
    return found


def test_the_pinned_hash_of_the_schemas_is_frozen() -> None:
    """Another hash is another custody chain: changing a schema needs a new model version."""
    assert model_schema_hash(SUITE).hex() == "45319b386842dd7f9035cd8178fe00e5d0c4ffdc424b1e02969d4fc03befefbe"
