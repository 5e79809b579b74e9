"""Runs a transcript: commands move a small network by hand, what the replicas do is the log beneath each command.

A transcript is text. Lines that start with `#` are prose; lines that start with `> ` are commands; the rest is the log
that running them gives. `python -m tests.scenarios --write` rewrites the logs; a person reads the difference.

Commands (`I` is a seat, `*` any; blocks are called A, B, C … in the order in which they were built):

    validators N            start N seats, all with work, nobody building by itself
    build I                 seat I builds the block that its replica asked for
    propose I->J            seat I, the leader, signs another block for J alone
    deliver I->J KIND       deliver what is under way now, oldest first; KIND may be left out
    drop I->J KIND          lose it
    timeout I               the view timer of seat I runs out
    expire I HEIGHT VIEW    an expiry that was queued for this height and view arrives, however late
    crash I / restart I     the process dies / a new one resumes from its records; peers connect to it
    amnesia I               restart without any record
    withhold I A            seat I cannot get the body of A
    provide I A             seat I gets the body of A, and its node answers what was asked
    invalid A               every seat finds A invalid
    tips                    where everybody is
"""

from __future__ import annotations

from common.consensus import effects as fx
from common.consensus import events as ev
from common.consensus.messages import ConsensusMessage, Proposal
from common.consensus.vote_records import CurrentView, PreparedCertificate, decode_record  # type: ignore[attr-defined]
from common.core.block import Block
from tests.sim.bench import Bench, kind_of
from tests.sim.toys import CHEAP, GENESIS_ID, NETWORK, seed_of, toy_block

QUIET = (fx.CancelViewTimer,)


class Transcript:
    """One scenario while it runs."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self._names: dict[bytes, str] = {}

    def run(self, text: str) -> str:
        """The transcript with its logs as they are now."""
        output: list[str] = []
        for line in text.splitlines():
            if line.startswith("> "):
                self.log = []
                self._command(line[2:].split())
                output += [line, *(f"    {entry}" for entry in self.log)]
            elif line.startswith("#") or not line.strip():
                output.append(line.rstrip())
        return "\n".join(output).rstrip() + "\n"

    # Commands

    def _command(self, words: list[str]) -> None:
        match words:
            case ["validators", size]:
                self._start(int(size))
            case ["build", seat]:
                replica = self.bench.seats[int(seat)].replica
                self.bench.build(int(seat), replica.height, replica.view)
            case ["propose", pair]:
                self._propose(*[int(seat) for seat in pair.split("->")])
            case ["deliver" | "drop", pair, *kind]:
                self._move(words[0], pair, kind[0] if kind else None)
            case ["timeout", seat]:
                self.bench.expire(int(seat))
            case ["expire", seat, height, view]:
                self.bench.step(int(seat), ev.ViewTimerExpired(int(height), int(view)))
            case ["crash", seat]:
                self.bench.crash(int(seat))
            case ["restart", seat]:
                self.bench.restart(int(seat))
            case ["amnesia", seat]:
                self.bench.restart(int(seat), records=[])
            case ["withhold", seat, name]:
                self.bench.withheld.add((int(seat), self._block(name)))
            case ["provide", seat, name]:
                self._provide(int(seat), name)
            case ["invalid", name]:
                self.bench.invalid.add(self._block(name))
            case ["tips"]:
                for seat in self.bench.seats:  # type: ignore[assignment]
                    self.log.append(f"{seat.number} height {seat.tip.height} {self._name(seat.tip.block_id)}".rstrip())
            case _:
                raise ValueError(f"unknown command {words}")

    def _start(self, size: int) -> None:
        self.bench = Bench(size, work=False)
        self.bench.build_through = 0
        self.bench.observe = self._observe
        for seat in self.bench.seats:
            self.bench.work(seat.number, True)

    def _move(self, verb: str, pair: str, kind: str | None) -> None:
        source, target = [None if end == "*" else int(end) for end in pair.split("->")]
        move = self.bench.deliver if verb == "deliver" else self.bench.drop
        if move(source, target, kind) == 0:
            self.log.append("(nothing under way)")

    def _propose(self, leader: int, target: int) -> None:
        seat = self.bench.seats[leader]
        block = toy_block(seat.tip, seat.replica.validators, leader, envelopes=(b"another",))
        self.bench.known[block.header.id(CHEAP)] = block
        self._name(block.header.id(CHEAP))
        hashes = tuple(block.envelope_hashes(CHEAP))
        unsigned = Proposal(block.header.height, 0, block.header, hashes, leader, b"")
        signature = CHEAP.sign(seed_of(leader), unsigned.payload(CHEAP, GENESIS_ID, NETWORK))
        proposal = Proposal(block.header.height, 0, block.header, hashes, leader, signature)
        self.log.append(f"{leader} sends proposal {self._describe(proposal)} to {target}")
        self.bench.send(leader, target, proposal)

    def _provide(self, seat: int, name: str) -> None:
        block_id = self._block(name)
        self.bench.withheld.discard((seat, block_id))
        for effect in reversed(self.bench.seats[seat].log):
            match effect:
                case fx.ValidateBlock() if effect.proposal.header.id(CHEAP) == block_id:
                    self.bench.step(seat, ev.BlockValidated(effect.height, effect.view, self.bench.known[block_id]))
                    return
                case fx.FetchBlock(block_id=wanted) if wanted == block_id:
                    self.bench.step(seat, ev.BlockFetched(effect.height, effect.view, self.bench.known[block_id]))
                    return

    # The log

    def _name(self, block_id: bytes) -> str:
        if block_id == GENESIS_ID:
            return ""
        return self._names.setdefault(block_id, chr(ord("A") + len(self._names)))

    def _block(self, name: str) -> bytes:
        return next(block_id for block_id, known in self._names.items() if known == name)

    def _describe(self, message: ConsensusMessage) -> str:
        """`height/view block` of a message."""
        place = f"{message.height}/{message.view}"
        match message:
            case Proposal():
                return f"{place} {self._name(message.header.id(CHEAP))}"
            case _ if kind_of(message) in ("prepare", "commit"):
                return f"{place} {self._name(message.block_id)}"
            case _ if kind_of(message) == "view-change":
                held = message.prepared
                return place if held is None else f"{place}, prepared {held.view} {self._name(held.block_id)}"
            case _:
                voters = ",".join(str(change.signer) for change in message.view_changes)
                return f"{place} {self._name(message.proposal.header.id(CHEAP))} by view changes of {voters}"

    def _record(self, data: bytes) -> str:
        record = decode_record(data)
        match record:
            case Block():
                return f"body {self._name(record.header.id(CHEAP))}"
            case PreparedCertificate():
                signers = ",".join(map(str, record.signers))
                return f"prepared {record.height}/{record.view} {self._name(record.block_id)} of {signers}"
            case CurrentView():
                return f"view {record.height}/{record.view}"
            case _:
                return f"{kind_of(record)} {self._describe(record)}"

    def _observe(self, seat: int, effect: fx.Effect) -> None:
        if not isinstance(effect, QUIET):
            self.log.append(f"{seat} {self._say(effect)}")

    def _say(self, effect: fx.Effect) -> str:
        match effect:
            case fx.Persist():
                return "persists " + "; ".join(self._record(record) for record in effect.records)
            case fx.Broadcast():
                return f"sends {kind_of(effect.message)} {self._describe(effect.message)} to all"
            case fx.Send():
                message = effect.message
                return f"sends {kind_of(message)} {self._describe(message)} of {message.signer} to {effect.index}"
            case fx.SendDecided():
                return f"sends the final block {effect.height} to {effect.index}"
            case fx.MemberAhead():
                return f"hears of height {effect.height} from {effect.index}"
            case fx.BuildBlock():
                return f"asks for a block {effect.height}/{effect.view}"
            case fx.ValidateBlock():
                fresh = "fresh" if effect.fresh else "repeated"
                return f"validates {self._name(effect.proposal.header.id(CHEAP))} ({fresh})"
            case fx.FetchBlock():
                return f"fetches {self._name(effect.block_id)} from {','.join(map(str, effect.senders))}"
            case fx.Decide():
                held = effect.certificate
                signers = ",".join(str(index) for index, _ in held.signatures)
                return f"decides {held.height}/{held.view} {self._name(held.block_id)}, committed by {signers}"
            case fx.DecideById():
                return f"decides {effect.height} {self._name(effect.block_id)}, whose body it lacks"
            case fx.SetViewTimer():
                return f"sets the timer {effect.height}/{effect.view} to {effect.delay_ms} ms"
            case fx.Accuse():
                return f"accuses {effect.first.signer}: {kind_of(effect.first)} {self._pair(effect)}"
            case fx.Refused():
                return f"refuses {effect.code} from {effect.sender}"
            case fx.Abstaining():
                return f"abstains through height {effect.height}: {effect.code}"
            case _:
                return "stops the timer"

    def _pair(self, effect: fx.Accuse) -> str:
        return f"{self._describe(effect.first)} and {self._describe(effect.second)}"
