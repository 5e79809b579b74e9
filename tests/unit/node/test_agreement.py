"""Several nodes agree on blocks."""

from __future__ import annotations

from tests.unit.node.bus import Bus, names_of, tips
from tests.unit.node.toy import make_genesis, read_balance, transfer


def test_four_nodes_commit_a_transfer() -> None:
    genesis = make_genesis(names_of(4))
    bus = Bus(genesis, names_of(4))
    bus.start()
    assert bus.submit("node-0", transfer(genesis, "n1", 5)) == "pending"
    bus.run_to_height(1)
    assert len(set(tips(bus))) == 1
    assert all(m.committed[0].receipts[0].status == "applied" for m in bus.machines.values())
