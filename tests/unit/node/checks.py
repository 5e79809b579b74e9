"""What must hold of every network, whatever happened to it."""

from __future__ import annotations

from common.consensus.messages import Mark, decode_message
from common.node.logic.wire import peer_messages as pm
from tests.unit.node.bus import Bus
from tests.unit.node.toy import SUITE


def signed(bus: Bus) -> dict[str, dict[Mark, set[bytes]]]:
    """What every validator signed and sent: for each mark the signed payloads, of which there may be one."""
    found: dict[str, dict[Mark, set[bytes]]] = {}
    names, genesis = list(bus.machines), bus.genesis
    for machine in bus.machines.values():
        for _, payload in machine.sent:
            if payload[0] == pm.KIND_CONSENSUS:
                message = decode_message(payload[1:])
                name = names[message.signer]
                signed_bytes = message.payload(SUITE, genesis.id, genesis.network)
                found.setdefault(name, {}).setdefault(message.mark, set()).add(signed_bytes)
    return found


def assert_no_double_vote(bus: Bus) -> None:
    """Nobody signed two things for one mark, and nobody was accused."""
    for name, marks in signed(bus).items():
        for mark, payloads in marks.items():
            assert len(payloads) == 1, f"{name} signed {len(payloads)} things for {mark}"
    assert all(machine.accusations == [] for machine in bus.machines.values())


def assert_one_chain(bus: Bus) -> None:
    """No two machines hold different blocks at one height."""
    chains = [machine.chain for machine in bus.machines.values()]
    for height in range(1, max(chain.tip().height for chain in chains) + 1):
        assert len({chain.block_id(height) for chain in chains if chain.tip().height >= height}) == 1


def acknowledged(bus: Bus) -> set[bytes]:
    """Transactions of which any node told its clients that they are final."""
    return {
        receipt.tx_id
        for machine in bus.machines.values()
        for committed in machine.committed
        for receipt in committed.receipts
    }
