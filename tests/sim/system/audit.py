"""What must be true when a run has settled, worked out again from what clients sent and what disks hold.

Every chain is replayed from genesis into an empty database; its last state is hashed by a second, naive state tree; the
shares of every holder follow from a model of four lines an operation; what the custody chain took in is read from its
own transactions. Of the product, only the executor (for the replay) and decoders are used.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from common.core.errors import InvariantBroken, Rejected
from common.core.transaction import SignedTransaction, parse_envelope
from common.node.logic.execution.executor import Executor
from common.node.logic.execution.genesis_state import initialise_chain
from common.node.store.chain_store import ChainStore
from common.node.store.memory_store import MemoryStore
from crosslink.lightclient.pbft.messages import HeaderMessage
from custody_chain import regions
from custody_chain.tables.regions import REGIONS, Region, RegionKey
from tests.sim.checkers import Violation
from tests.sim.system.clients import Client, MarketClient
from tests.sim.system.founding import CUSTODY, SUITE, ChainSpec
from tests.sim.system.register_model import RegisterModel, Row
from tests.sim.system.watch import ChainWatch, tagged
from tests.support.committing import commit_execution
from tests.support.naive_state_tree import naive_root

if TYPE_CHECKING:
    from tests.sim.system.machine import NodeMachine
    from tests.sim.system.simulation import SystemSimulation


def best(machines: list[NodeMachine]) -> NodeMachine:
    """The machine with the longest chain."""
    return max(machines, key=lambda machine: machine.height)


def region_record(simulation: SystemSimulation, network: str) -> Region:
    """What the custody chain's state says of a region."""
    record = record_of(best(simulation.correct(CUSTODY)), network)
    if record is None:
        raise Violation(f"{network} is not a region of the custody chain")
    return record


def record_of(machine: NodeMachine, network: str) -> Region | None:
    """What one custody node's state says of a region; None if it is none."""
    value = machine.chain.state_get(REGIONS.path(RegionKey(network)))
    return None if value is None else REGIONS.decode(value)


def region_states(simulation: SystemSimulation, network: str) -> tuple[str, int]:
    """(standing, anchored height) of a region as a regulator sees it."""
    record = region_record(simulation, network)
    now_ms = best(simulation.correct(CUSTODY)).chain.tip().time_ms
    return regions.derived_state(record, now_ms), record.anchored.height


def anchored_everywhere(simulation: SystemSimulation, goals: dict[str, int]) -> bool:
    """Whether every region is active and anchored up to its goal, and every correct node has that."""
    for network, goal in goals.items():
        standing, height = region_states(simulation, network)
        if standing != "active" or height < goal:
            return False
    for network in simulation.specs:
        correct = simulation.correct(network)
        heights = {machine.height for machine in correct}
        if not all(machine.alive for machine in correct) or len(heights) != 1 or min(heights) < goals.get(network, 0):
            return False
    return True


def audit(simulation: SystemSimulation) -> None:
    """Raises `Violation`."""
    read: dict[str, list[list[tuple[SignedTransaction, str]]]] = {}
    for network, spec in simulation.specs.items():
        watch = simulation.watches[network]
        correct = simulation.correct(network)
        for machine in correct:
            _same_chain(machine, watch)
            _sound_root(machine)
        read[network] = _replayed(best(correct), spec)
        _nothing_invented(simulation, network, read[network])
    for submitter in (*simulation.clients, *simulation.governors, *simulation.attachers):
        for machine in simulation.correct(submitter.network):
            _nothing_lost(submitter, machine)
    for client in simulation.clients:
        chain = best(simulation.correct(client.network)).chain
        _shares_conserved(client, chain, read[client.network])
        _anchored_data(simulation, client, chain, read)


def _same_chain(machine: NodeMachine, watch: ChainWatch) -> None:
    """What a node has on disk is what was announced, whoever announced it."""
    for height in range(1, machine.height + 1):
        header = machine.chain.header(height).encode()
        if watch.decided.get(height, tagged("tongjian/header/v1", header)) != tagged("tongjian/header/v1", header):
            raise Violation(f"{machine.name} holds another block at {height} than was announced")


def _sound_root(machine: NodeMachine) -> None:
    """The last header's state root is that of the state on this node's disk."""
    tip = machine.chain.tip()
    if tip.header is not None:
        held = dict(machine.chain.state_scan(b"", None, 1_000_000))
        if naive_root(SUITE, held) != tip.header.state_root:
            raise Violation(f"{machine.name}: the state at height {tip.height} has not the header's root")


def _replayed(machine: NodeMachine, spec: ChainSpec) -> list[list[tuple[SignedTransaction, str]]]:
    """Execute the chain again from genesis; its transactions and their fate by height. Raises `Violation`."""
    application = spec.application(spec.genesis)
    chain = ChainStore(MemoryStore(), spec.genesis)
    initialise_chain(chain, spec.genesis, application)
    executor = Executor(spec.genesis, application, chain)
    blocks = []
    for height in range(1, machine.height + 1):
        block, certificate = machine.chain.block(height), machine.chain.certificate(height)
        transactions = [parse_envelope(envelope, SUITE) for envelope in block.envelopes]
        try:
            execution = executor.execute(block.header.time_ms, transactions)
            executor.check_results(block.header, execution)
            commit_execution(chain, execution, block, certificate)
        except (Rejected, InvariantBroken) as error:
            raise Violation(f"{spec.network} cannot be replayed at {height}: {error}") from error
        executor.forget()
        if list(execution.all_receipts) != machine.chain.all_receipts(height):
            raise Violation(f"{spec.network}: other receipts at {height} when replayed")
        if list(execution.snapshots) != machine.chain.snapshots(height):
            raise Violation(f"{spec.network}: other snapshots at {height} when replayed")
        fates = [receipt.status for receipt in execution.receipts]
        blocks.append(list(zip(transactions, fates, strict=True)))
    return blocks  # type: ignore[return-value]


def _nothing_invented(
    simulation: SystemSimulation, network: str, blocks: list[list[tuple[SignedTransaction, str]]]
) -> None:
    """Every transaction of a chain was submitted by somebody, or accuses a liar, and stands there once."""
    posted = set(simulation.web.posted.get(network, ()))
    validators = {SUITE.format_key(machine.key) for machine in simulation.chains[network]}
    seen: set[bytes] = set()
    for height, block in enumerate(blocks, 1):
        for tx, status in block:
            if {operation["type"] for operation in tx.operations} == {"validator.accuse"} and tx.signers[
                0
            ] in validators:
                _just_accusation(simulation, network, tx, status)
            elif tx.envelope not in posted:
                raise Violation(f"{network} holds a transaction at {height} that nobody submitted")
            if tx.id in seen:
                raise Violation(f"{network} holds a transaction twice, again at {height}")
            seen.add(tx.id)


def _just_accusation(simulation: SystemSimulation, network: str, tx: SignedTransaction, status: str) -> None:
    """A validator may report what it saw; the chain never believes it of a validator that kept to the protocol."""
    for operation in tx.operations:
        culprit = simulation.chains[network][operation["first"]["signer"]]
        if status == "applied" and culprit.is_correct:
            raise Violation(f"{network} holds an accusation of correct {culprit.name} to be proven")


def _nothing_lost(client: Client, machine: NodeMachine) -> None:
    """What a client was told is final is so, in the same place, on every correct node."""
    for told in client.receipts.values():
        place = machine.chain.transaction(told.tx_id)
        if place is None or (place.height, place.index) != (told.height, told.index):
            raise Violation(f"{machine.name} has lost {told.tx_id.hex()[:8]}, acknowledged at {told.height}")
        if machine.chain.receipt(place.height, place.index).status != told.status:
            raise Violation(f"{machine.name} has another fate for {told.tx_id.hex()[:8]} than was acknowledged")


def _model(client: MarketClient, blocks: list[list[tuple[SignedTransaction, str]]], through: int) -> RegisterModel:
    """The register after the block `through`, from the operations of applied transactions."""
    model = RegisterModel()
    for block in blocks[:through]:
        for tx, status in block:
            if status == "applied":
                model.apply(client.operations.get(tx.id, ()))
    return model


def _shares_conserved(
    client: MarketClient, chain: ChainStore, blocks: list[list[tuple[SignedTransaction, str]]]
) -> None:
    """The register holds what the applied operations give, and as many shares as were issued."""
    model = _model(client, blocks, len(blocks))
    expected = model.register()
    prefix = f"holding/{client.product}/".encode()
    found: dict[str, list[Row]] = {}
    for key, value in chain.state_scan(prefix, None, 1_000):
        rows = [(*row, 0, 0, 0) for row in json.loads(value)]
        found[key[len(prefix) :].decode()] = [row[:5] for row in rows]
    if found != expected:
        raise Violation(f"{client.network}: the register holds {found}, the operations give {expected}")
    rows = [row for lines in found.values() for row in lines]
    if any(min(row) < 0 or row[4] > row[1] for row in rows):
        raise Violation(f"{client.network}: a negative balance: {found}")
    if sum(row[1] for row in rows) != model.issued:
        raise Violation(f"{client.network}: {model.issued} shares were issued, the register holds {found}")


def _anchored_data(
    simulation: SystemSimulation,
    client: MarketClient,
    chain: ChainStore,
    read: dict[str, list[list[tuple[SignedTransaction, str]]]],
) -> None:
    """The custody chain took in every snapshot of every anchored block once, in order, and holds the same positions."""
    network = client.network
    record = region_record(simulation, network)
    height = record.anchored.height
    if record.anchored.id != chain.block_id(height).hex():
        raise Violation(f"the custody chain anchors another block of {network} at {height}")
    if record.frozen is not None or record.anomalies:
        raise Violation(f"{network} is frozen or has anomalies without a cause: {record}")
    delivered: dict[tuple[int, int], str] = {}
    for block in read[CUSTODY]:
        for tx, status in block:
            for operation in tx.operations if status == "applied" else ():
                if operation["type"] == "crosslink.submit" and operation["region"] == network:
                    _take_in(operation, delivered)
    expected = {
        (at, index): snapshot.decode()
        for at in range(1, height + 1)
        for index, snapshot in enumerate(chain.snapshots(at))
    }
    if delivered != expected:
        raise Violation(f"{network}: {len(delivered)} snapshots on the custody chain, {len(expected)} in the region")
    _same_positions(simulation, client, _model(client, read[network], height))


def _take_in(operation: dict[str, Any], delivered: dict[tuple[int, int], str]) -> None:
    """Read one `crosslink.submit` as docs/crosslink.md describes it; what comes again must be the same."""
    for entry in operation["blocks"]:
        header = bytes.fromhex(entry["header"]) if "header" in entry else b""
        height = _height_of(header) if header else entry["height"]
        for at, item in enumerate(entry["snapshots"]):
            index, text = (item["index"], item["data"]) if isinstance(item, dict) else (at, item)
            if delivered.setdefault((height, index), text) != text:
                raise Violation(f"two snapshots {index} of block {height} were delivered and applied")


def _height_of(header: bytes) -> int:
    return HeaderMessage.decode(header).header.height


def _same_positions(simulation: SystemSimulation, client: MarketClient, model: RegisterModel) -> None:
    """Regulators see what the market's register held when its anchored block was made, and since which day."""
    expected = {account: (model.days[account], rows) for account, rows in model.register().items()}
    for machine in simulation.correct(CUSTODY):
        found: dict[str, tuple[str, list[Row]]] = {}
        copies: Counter[str] = Counter()
        for key, value in machine.chain.state_scan(b"position/", None, 10_000):
            _, _, network, product, account = key.decode().split("/")
            if (network, product) == (client.network, client.product):
                copies[account] += 1
                position = json.loads(value)
                rows = [
                    (stated["share_nature"], held, stated["pledged"], stated["frozen"], held - stated["available"])
                    for stated in position["share_natures"]
                    for held in (stated["held"],)
                ]
                found[account] = (position["effective_date"], rows)
        if found != expected or max(copies.values(), default=1) > 1:
            raise Violation(f"{machine.name}: positions in {client.network} are {found}, the register had {expected}")
