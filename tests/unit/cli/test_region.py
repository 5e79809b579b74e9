"""The operations that admit and recover a region, and the checkpoints that they need, as governors' commands make
them. What the custody chain makes of them: tests/unit/custody/test_governance.py, tests/e2e/test_governance.py."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import Result

from cli.checkpoint import agreed_checkpoint
from cli.client import Api
from cli.genesis_trust import trust_root
from common.core.validators import ValidatorSet
from crosslink.lightclient.pbft.trust import checkpoint_document
from crosslink.lightclient.trust import build_trust_file
from crosslink.lightclient.trust_root import DEFAULT_TRUSTING_PERIOD_MS
from custody_chain.regions import new_region
from tests.support.chains import START_MS, ChainBuilder, validator_set
from tests.support.refusals import refused
from tests.unit.cli.test_founding import example, founded, parts, run

CHANGED = 3
"""The block that names other validators for those after it."""


class Shown:
    """A node of `chain` that has its first `height` blocks, and shows the one that is `off` above what it is asked for.

    `signers` are the next block's, if it says others than the chain's. A `pruned` one has no blocks.
    """

    def __init__(
        self,
        chain: ChainBuilder,
        height: int,
        off: int = 0,
        signers: ValidatorSet | None = None,
        *,
        pruned: bool = False,
    ) -> None:
        self.chain, self.height, self.urls = chain, height, ["https://node"]
        self._off, self._signers, self._pruned = off, signers, pruned

    def get(self, path: str, **query: Any) -> Any:
        what = path.removeprefix(f"/v1/networks/{self.chain.network}/")
        if what == "status":
            return {"height": self.height, "genesis_id": self.chain.genesis.id.hex()}
        if what == "blocks" and self._pruned:
            return {"blocks": []}
        if what == "blocks":
            return {"blocks": [{"header": self.chain.block(query["from"] + self._off).header.encode().hex()}]}
        if what == "governance":
            return {"validators": (self._signers or self._signing(self.height + 1)).to_json(self.chain.suite)}
        assert what.endswith("/consensus-state")
        members = self._signing(int(what.split("/")[1])).to_json(self.chain.suite)
        return {"validators": [{"index": at, **member} for at, member in enumerate(members)]}

    def _signing(self, height: int) -> ValidatorSet:
        return self.chain.validators if height > CHANGED else self.chain.genesis_validators


def shown(chain: ChainBuilder, height: int, **options: Any) -> Api:
    return cast(Api, Shown(chain, height, **options))


@pytest.fixture
def chain() -> ChainBuilder:
    """Four blocks; the third is the last that the founders sign alone."""
    built = ChainBuilder()
    built.grow(CHANGED - 1)
    built.extend(next_validators=validator_set(["new-1", "new-2", "new-3", "new-4"]))
    built.grow(1)
    return built


def test_a_checkpoint_is_what_all_nodes_show_with_the_set_that_signs_next(chain: ChainBuilder) -> None:
    nodes = [shown(chain, 3), shown(chain, 2)]
    newest = agreed_checkpoint(nodes, chain.genesis, None)
    assert (newest.height, newest.id) == (2, chain.block(2).id), "the newest block that both have"
    past = agreed_checkpoint(nodes, chain.genesis, 1)
    assert (past.id, past.trust) == (chain.block(1).id, checkpoint_document(chain.suite, chain.genesis_validators))
    for has in (CHANGED, CHANGED + 1):
        changed = agreed_checkpoint([shown(chain, has)], chain.genesis, CHANGED)
        assert changed.trust == checkpoint_document(chain.suite, chain.validators)


def test_nodes_that_show_different_blocks_or_another_chain_make_no_checkpoint(chain: ChainBuilder) -> None:
    forked, other = ChainBuilder(), ChainBuilder(network="beijing", names=["a", "b", "c", "d"])
    forked.grow(3, snapshots_each=1)
    other.grow(3)
    for node, height, code in (
        (shown(forked, 3), 2, "nodes_disagree"),
        (shown(other, 3), 2, "genesis_differs"),
        (shown(chain, 2), 3, "block_unknown"),
        (shown(chain, 3, off=-1), 3, "block_unknown"),
        (shown(chain, 3, off=1), 3, "block_unknown"),
        (shown(chain, 3, pruned=True), 1, "block_unknown"),
        (shown(chain, 3, signers=chain.genesis_validators), 3, "set_changed"),
    ):
        with refused(code):
            agreed_checkpoint([shown(chain, 3), node], chain.genesis, height)


def recover(
    folder: Path,
    chain: ChainBuilder,
    *options: str,
    at: int | None,
    anchored: tuple[int, bytes],
    period_ms: int = DEFAULT_TRUSTING_PERIOD_MS,
) -> Result:
    root = replace(trust_root(chain.genesis), trusting_period_ms=period_ms)
    if at is not None:
        root = replace(root, checkpoint=agreed_checkpoint([shown(chain, 3)], chain.genesis, at))
    (folder / "trust.json").write_bytes(build_trust_file([root]).encode())
    data = {
        "region": "beijing",
        "anchored_height": anchored[0],
        "block_id": anchored[1].hex(),
        "trusting_period_ms": 90_000,
    }
    (folder / "region.json").write_text(json.dumps({"data": data}))
    files = ("--trust", folder / "trust.json", "--anchored", folder / "region.json")
    return run("region", "recover", "beijing", *files, "--reason", "restored", *options)


def test_a_recovery_says_which_blocks_it_leaves_out(tmp_path: Path, chain: ChainBuilder) -> None:
    anchored = (2, chain.block(2).id)
    whole = recover(tmp_path, chain, at=2, anchored=anchored)
    assert (whole.exit_code, whole.stderr) == (0, "")
    operation = json.loads(whole.stdout)
    assert (operation["from_height"], operation["previous_anchored_id"]) == (3, chain.block(2).id.hex())
    assert "tier" not in operation["trust_root"]
    later = recover(tmp_path, chain, at=3, anchored=anchored)
    assert later.stderr == "1 blocks, 3 to 3, will not be completely taken in\n"


def test_a_recovered_region_keeps_its_trusting_period_unless_told_another(tmp_path: Path, chain: ChainBuilder) -> None:
    for options, period_ms in (((), 90_000), (("--trusting-period-ms", "5000"), 5_000)):
        planned = recover(tmp_path, chain, *options, at=2, anchored=(2, chain.block(2).id))
        assert json.loads(planned.stdout)["trust_root"]["trusting_period_ms"] == period_ms
        assert planned.stderr == ""
    planned = recover(tmp_path, chain, at=2, anchored=(2, chain.block(2).id), period_ms=7_000)
    assert planned.stderr == "the trusting period is 90000 ms, not the trust file's 7000 ms\n"


@pytest.mark.parametrize(
    ("at", "anchored", "code"),
    [(None, (2, b""), "recovery_root"), (1, (2, b""), "recovery_backwards"), (2, (2, bytes(32)), "recovery_backwards")],
)
def test_a_recovery_that_validators_would_refuse_is_not_even_planned(
    tmp_path: Path, chain: ChainBuilder, at: int | None, anchored: tuple[int, bytes], code: str
) -> None:
    refused = recover(tmp_path, chain, at=at, anchored=(anchored[0], anchored[1] or chain.block(anchored[0]).id))
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"error: {code}: ")


def test_a_registration_is_what_the_custody_chain_takes(tmp_path: Path) -> None:
    genesis = founded(tmp_path, example("business"), "business", parts(tmp_path, "beijing"))
    options = ("--letters", "BJ", "--silent-after-ms", "9000", "--trusting-period-ms", "90000", "--reason", "it joins")
    planned = run("region", "register", tmp_path / "beijing-1-genesis.json", *options)
    assert planned.exit_code == 0, planned.stderr
    operation = json.loads(planned.stdout)
    record = new_region(operation["region"], custody_network="custody", now_ms=START_MS, protocol_version=1)
    client = record.client
    assert (client.genesis_id, client.trusting_period_ms) == (genesis.id.hex(), 90_000)
    assert record.silent_after_ms == 9_000
    assert planned.stderr.split() == ["beijing", trust_root(genesis).fingerprint().hex()]
