"""Two regions, the custody chain's application, and relays of which one lies: what gets anchored, from one seed.

The lying relay is registered like the honest one; it delivers what mutators made of the due blocks. Now and then a
region's quorum contradicts itself, and somebody brings the evidence. What the custody chain holds must always be what
a naive model makes of the regions' real chains: anchored ids, the journal over every snapshot, counters, positions;
no delivery touches another region; a contradiction freezes its region for good, and nothing else does (attacks R1-R7).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from random import Random
from typing import Any

from common.core.errors import Rejected
from common.core.validators import ValidatorSet
from crosslink.lightclient.delivery import BlockDelivery, Delivery, MisbehaviourDelivery
from tests.sim.mutators.catalogue import named
from tests.sim.mutators.packets import Packet, Smuggler
from tests.sim.planted.violation import Caught
from tests.support.chains import BLOCK_MS, START_MS, BuiltBlock, ChainBuilder, member_names, validator_set
from tests.support.custody import Custody, account, entry_of, market_with_product, person, registration

REGIONS = ("beijing", "shanghai")
CODES = {"beijing": "BJ000001.ESVUFR2601", "shanghai": "SH000001.ESVUFR2601"}
STEPS = 30
HOLDERS = 3
OPERATIONS = named("packet")


def _tagged(tag: str, data: bytes) -> bytes:
    digest = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(digest + digest + data).digest()


class Region:
    """One region's real chain, with a market on it that moves shares between three accounts."""

    def __init__(self, random: Random, network: str) -> None:
        self.random = random
        self.chain = ChainBuilder(network)
        self.code = CODES[network]
        self.balances = [0] * HOLDERS
        self.history: list[list[int]] = []
        """Balances after each snapshot, in the order of the chain."""
        self.forked: int | None = None
        self.registrations = 0
        self._found()

    def _found(self) -> None:
        opening = market_with_product(self.code)
        for at in range(HOLDERS):
            opening += [person(f"person-{at}", f"Q{at:09d}"), account(f"A{at}", f"person-{at}")]
        self.chain.extend(opening)
        self.history += [[0] * HOLDERS for _ in opening]

    def grow(self) -> None:
        """One more block: empty, of some registrations, or one that changes the set."""
        snapshots = []
        for _ in range(self.random.choice((0, 0, 1, 2, 3, 5))):
            at, change = self.random.randrange(HOLDERS), self.random.randint(1, 50)
            self.registrations += 1
            snapshots.append(
                registration(
                    f"{self.chain.network}-{self.registrations}",
                    self.code,
                    f"A{at}",
                    before=(self.balances[at], 0, 0),
                    change=(change, 0, 0),
                )
            )
            self.balances[at] += change
            self.history.append(list(self.balances))
        self.chain.extend(snapshots, next_validators=self._next_set())

    def _next_set(self) -> ValidatorSet | None:
        if self.random.random() > 0.15:
            return None
        first = self.random.randint(1, 3)
        return validator_set(member_names(self.chain.network, 4, first))

    def fork(self, below: int) -> tuple[BuiltBlock, BuiltBlock]:
        """A second block, certified by the same set, at a height that has one already (attack R3)."""
        governed = self.chain.blocks[1:below]
        turning = [block for block in governed if block.next_validators is not None]
        real = self.random.choice(turning if turning and self.random.random() < 0.6 else governed)
        names = self._signers_at(real)
        header = replace(real.header, state_root=_tagged("fork", b""), time_ms=real.header.time_ms + 1)
        self.forked = real.height
        return real, self.chain.seal(header, real.snapshots, signing=names)

    def _signers_at(self, block: BuiltBlock) -> ValidatorSet:
        current = self.chain.genesis_validators
        for before in self.chain.blocks[: block.height - 1]:
            current = before.next_validators or current
        return current


class PacketWorld:
    """One run; `run` raises `Violation`."""

    def __init__(self, seed: int) -> None:
        self.random = Random(f"packets {seed}")
        self.regions = {network: Region(self.random, network) for network in REGIONS}
        self.custody = Custody([region.chain for region in self.regions.values()])
        self.frozen: dict[str, int] = {}
        self.misbehaves = seed % 2 == 0

    def run(self) -> None:
        """Deliver for a while, then let the honest relay finish."""
        for _ in range(STEPS):
            network = self.random.choice(REGIONS)
            if self.random.random() < 0.5:
                self.regions[network].grow()
            self._deliver(network)
        if self.misbehaves:
            self._contradict(self.random.choice(REGIONS))
        for network in REGIONS:
            self._finish(network)

    # Relays

    def _due(self, network: str) -> list[BlockDelivery]:
        """What the region's cursor asks for, whole or from the middle of a block on."""
        record, chain = self.custody.region(network), self.regions[network].chain
        partial, anchored = record["partial"], record["anchored"]["height"]
        due = []
        if partial is not None:
            block = chain.block(partial["height"])
            due.append(entry_of(block, first=partial["delivered"], header=False))
        first = anchored + (2 if partial is not None else 1)
        return due + [entry_of(chain.block(height)) for height in range(first, chain.height + 1)]

    def _deliver(self, network: str) -> None:
        due = self._due(network)
        if not due:
            return
        count = self.random.randint(1, 3)
        blocks = due[:count]
        whole = [block for block in blocks if block.header is not None]
        if whole and blocks[-1] is whole[-1] and self.random.random() < 0.4:
            blocks = self._cut(network, blocks)
        delivery = Delivery(network, tuple(blocks))
        if self.random.random() < 0.6:
            self._smuggle(network, delivery, tuple(due[count : count + 2]))
        else:
            self._submit(delivery, "relay", honest=True)

    def _cut(self, network: str, blocks: list[BlockDelivery]) -> list[BlockDelivery]:
        """Only a part of the last block, with proofs."""
        block = next(item for item in self.regions[network].chain.blocks if item.signed == blocks[-1].header)
        if len(block.snapshots) < 2:
            return blocks
        return [*blocks[:-1], entry_of(block, last=self.random.randrange(1, len(block.snapshots)))]

    def _smuggle(self, network: str, delivery: Delivery, later: tuple[BlockDelivery, ...]) -> None:
        other = next(name for name in REGIONS if name != network)
        record, chain = self.custody.region(network), self.regions[network].chain
        anchored, partial = record["anchored"]["height"], record["partial"]
        smuggler = Smuggler(
            self.random,
            other,
            foreign=tuple(self._due(other)[:1]),
            later=later,
            earlier=tuple(entry_of(block) for block in chain.blocks[max(0, anchored - 2) : anchored]),
            sister=self._sister(network),
            opened=None if partial is None else entry_of(chain.block(partial["height"])),
        )
        packet = Packet(delivery)
        found = self.random.choice(OPERATIONS)
        if found.apply(smuggler, packet) is None:
            self._submit(delivery, "relay", honest=True)
            return
        lie = found.change(smuggler, packet)
        if isinstance(lie, Packet):
            self._submit(lie.delivery, "second-relay", honest=False)
            if self.random.random() < 0.3:
                self._submit(lie.delivery, "second-relay", honest=False)

    def _sister(self, network: str) -> BlockDelivery:
        """The due height's block in another deployment of the network, run by the same validators (attack C10)."""
        chain = self.regions[network].chain
        sister = ChainBuilder(network, application={"deployment": 2})
        height = self.custody.region(network)["client"]["height"] + 1
        signers = chain.genesis_validators
        for block in chain.blocks[: height - 1]:
            signers = block.next_validators or signers
        sister.validators = signers
        draft = sister.draft(height=height)
        return entry_of(draft)

    def _submit(self, delivery: Delivery, relay: str, *, honest: bool) -> None:
        others = {network: self.custody.region(network) for network in REGIONS if network != delivery.region}
        try:
            self.custody.run([delivery.to_operation()], [relay])
        except Rejected as refusal:
            if honest and delivery.region not in self.frozen:
                raise Caught("anchoring", f"an honest delivery is refused: {refusal.code}") from refusal
        else:
            if delivery.region in self.frozen:
                raise Caught("freeze", f"{delivery.region} is frozen and takes a delivery")
        for network, before in others.items():
            if self.custody.region(network) != before:
                raise Caught("isolation", f"a delivery for {delivery.region} changed {network}")
        self._judge(delivery.region)

    def _contradict(self, network: str) -> None:
        """The region's quorum signed two blocks; the evidence comes from the relay or from anybody."""
        region = self.regions[network]
        anchored = self.custody.region(network)["anchored"]["height"]
        if anchored < 3:
            return
        self._leave_open(network)
        real, second = region.fork(anchored)
        evidence = MisbehaviourDelivery(
            region=network,
            first=real.signed,
            second=second.evidence(region._signers_at(real)),
        )
        current = region._signers_at(real) == region.chain.validators
        if current and self.random.random() < 0.5:
            operation = Delivery(network, (entry_of(second),)).to_operation()
        else:
            operation = evidence.to_operation()
        self._refuse_false_evidence(network, real, second)
        try:
            self.custody.run([operation], ["relay"])
        except Rejected as refusal:
            raise Caught("freeze", f"proven misbehaviour is refused: {refusal.code}") from refusal
        self.frozen[network] = real.height
        self._judge(network)
        for _ in range(3):
            region.grow()
            self._deliver(network)

    def _leave_open(self, network: str) -> None:
        """In half of all runs, a block is partly delivered when the region freezes."""
        if self.custody.region(network)["partial"] is not None or self.random.random() < 0.5:
            return
        region = self.regions[network]
        while len(region.chain.blocks[-1].snapshots) < 2:
            region.grow()
        due = self._due(network)
        if not due:
            region.grow()
            return
        for block in due[:-1]:
            self._submit(Delivery(network, (block,)), "relay", honest=True)
        self._submit(Delivery(network, (entry_of(region.chain.blocks[-1], last=1),)), "relay", honest=True)

    def _refuse_false_evidence(self, network: str, real: BuiltBlock, second: BuiltBlock) -> None:
        """One signature too few proves nothing."""
        weak = replace(second, certificate=replace(second.certificate, signatures=second.certificate.signatures[:-1]))
        signers = self.regions[network]._signers_at(real)
        for other in (weak, real):
            operation = MisbehaviourDelivery(
                region=network, first=real.signed, second=other.evidence(signers)
            ).to_operation()
            try:
                self.custody.run([operation], ["second-relay"])
            except Rejected:
                continue
            raise Caught("freeze", "evidence that proves nothing froze a region")

    def _finish(self, network: str) -> None:
        """The honest relay alone, until everything is anchored."""
        chain = self.regions[network].chain
        for _ in range(3 * chain.height):
            due = self._due(network)
            if not due or network in self.frozen:
                break
            self._submit(Delivery(network, tuple(due[:4])), "relay", honest=True)
        if network not in self.frozen and self.custody.region(network)["anchored"]["height"] != chain.height:
            raise Caught("liveness", f"{network} is not anchored to its tip")

    # The model

    def _judge(self, network: str) -> None:
        """The custody chain's record of a region against the region's real chain."""
        record, region = self.custody.region(network), self.regions[network]
        chain, partial = region.chain, record["partial"]
        height = record["anchored"]["height"]
        taken = [
            (block.height, index, data) for block in chain.blocks[:height] for index, data in enumerate(block.snapshots)
        ]
        if partial is not None:
            block = chain.block(partial["height"])
            taken += [(block.height, at, block.snapshots[at]) for at in range(partial["delivered"])]
        checks: dict[str, tuple[Any, Any]] = {
            "anchored id": (record["anchored"]["id"], chain.id_at(height).hex()),
            "anchored time": (record["anchored"]["time_ms"], START_MS + height * BLOCK_MS if height else 0),
            "partial height": (height + 1 if partial is None else partial["height"], height + 1),
            "client height": (record["client"]["height"], height if partial is None else height + 1),
            "blocks": (record["blocks"], height),
            "snapshots": (record["snapshots"], len(taken)),
            "journal": (record["journal"], _journal(taken)),
            "anomalies": (record["anomalies"], 0),
            "frozen": (record["frozen"] is not None, network in self.frozen),
        }
        for name, (found, expected) in checks.items():
            if found != expected:
                raise Caught("custody model", f"{network}, height {height}: {name} is {found}, not {expected}")
        self._judge_positions(region, len(taken))

    def _judge_positions(self, region: Region, count: int) -> None:
        expected = region.history[count - 1] if count else [0] * HOLDERS
        for at, shares in enumerate(expected):
            found = self.custody.position(f"Q{at:09d}", region.code, f"A{at}", region.chain.network)
            if found != (shares, 0, 0):
                raise Caught("positions", f"{region.chain.network}: holder {at} has {found}, not {shares}")
        alerts = [alert["rule"] for alert in self.custody.alerts() if alert["rule"] != "region_misbehaved"]
        if alerts:
            raise Caught("positions", f"alerts over honest business: {sorted(set(alerts))}")


def _journal(taken: list[tuple[int, int, bytes]]) -> str:
    """The chain of hashes over every snapshot, as docs/crosslink.md has it."""
    link = bytes(32)
    for height, index, data in taken:
        verdict = b"\x02ok"
        place = struct.pack(">QI", height, index)
        link = _tagged("tongjian/crosslink-journal/v1", link + place + hashlib.sha256(data).digest() + verdict)
    return link.hex()
