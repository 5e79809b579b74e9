"""What goes wrong in one run, kind by kind. Each kind draws from its own generator, so that kinds can be switched off.

At most f validators of a chain are faulty in the protocol's sense over the whole run: Byzantine, or robbed of their
memory by damaged disks. Any number may crash, pause, be cut off or run out of disk, and comes back with what it had
synced. Clocks that run ahead are faulty too while they do (attack C15); those that run behind are not.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from common.consensus.messages import decode_message
from common.core.errors import Rejected
from common.node.logic.wire.peer_messages import KIND_CONSENSUS
from tests.sim.bench import kind_of
from tests.sim.system.founding import OLD_VERSIONS
from tests.sim.system.liar import SystemLiar
from tests.sim.system.release import install

if TYPE_CHECKING:
    from tests.sim.system.machine import NodeMachine
    from tests.sim.system.simulation import SystemSimulation

HOUR_MS = 3_600_000
STARVED = ("proposal", "prepare", "commit", "view-change", "new-view")


def schedule(simulation: SystemSimulation) -> None:
    """Put every fault of the run on the agenda."""
    kinds = simulation.options.kinds
    choose_faulty(simulation)
    for kind in kinds:
        inject = _INJECTORS.get(kind)
        if inject is not None:
            inject(simulation, simulation.random_for(kind))


def choose_faulty(simulation: SystemSimulation) -> None:
    """Share each chain's f between liars, damaged disks and disks that are set back."""
    for network, chain in simulation.chains.items():
        random = simulation.random_for(f"faulty {network}")
        for machine in random.sample(chain, simulation.specs[network].faults):
            kind = random.choice(("byzantine", "byzantine", "byzantine", "rot", "rollback"))
            if simulation.make_mischief is not None:
                machine.mischief = simulation.make_mischief(machine)
            elif kind in simulation.options.kinds:
                _ROBBERS[kind](simulation, machine, simulation.random_for(f"{kind} {machine.name}"))


def _turn(simulation: SystemSimulation, machine: NodeMachine, random: Random) -> None:
    machine.mischief = SystemLiar(random, machine)
    simulation.world.note(f"{machine.name} is Byzantine: {machine.mischief.describe()}")


def _at(simulation: SystemSimulation, at_ms: int, action: Callable[[], None]) -> None:
    """Do it then, unless the run is healed by then."""

    def act() -> None:
        if not simulation.healed:
            action()

    simulation.world.after(at_ms, act)


def _rot_later(simulation: SystemSimulation, machine: NodeMachine, random: Random) -> None:
    """A bit flips while the machine is off, in the database or in the vote log."""
    at_ms = random.randrange(300, simulation.options.heal_ms)
    which = random.choice(("store", "directory"))

    def rot() -> None:
        simulation.world.note(f"a bit flips in the {which} of {machine.name}")
        machine.crash(power=False)
        machine.damaged = True
        machine.store.rot(random) if which == "store" else machine.directory.rot(random)

    _at(simulation, at_ms, rot)


def _roll_back_later(simulation: SystemSimulation, machine: NodeMachine, random: Random) -> None:
    """Both disks are set back to an old image together (attack C16)."""
    image_ms = random.randrange(200, simulation.options.heal_ms - 200)
    restore_ms = random.randrange(image_ms + 100, simulation.options.heal_ms)

    def roll_back() -> None:
        simulation.world.note(f"{machine.name} is set back to what it was at {image_ms} ms")
        machine.restore_image()

    _at(simulation, image_ms, machine.take_image)
    _at(simulation, restore_ms, roll_back)


def _spans(simulation: SystemSimulation, random: Random, least: int, most: int) -> list[tuple[int, int]]:
    """A few intervals of the time of faults."""
    spans = []
    for _ in range(random.randint(least, most)):
        start_ms = random.randrange(100, simulation.options.heal_ms)
        spans.append((start_ms, start_ms + random.randrange(100, simulation.options.heal_ms)))
    return spans


def _victims(simulation: SystemSimulation, random: Random) -> list[NodeMachine]:
    """Some machines of one chain: one, a few, or all of them at once."""
    chain = simulation.chains[random.choice(sorted(simulation.chains))]
    most = random.choice((1, 1, max(1, len(chain) // 2), len(chain)))
    return random.sample(chain, random.randint(1, most))


def _loss(simulation: SystemSimulation, random: Random) -> None:
    simulation.network.quality.loss = random.choice((0.02, 0.1, 0.2, 0.3))


def _straggling(simulation: SystemSimulation, random: Random) -> None:
    simulation.network.quality.straggling = random.choice((0.05, 0.2))
    simulation.network.quality.delay_ms = random.choice((5, 20, 80))


def _duplication(simulation: SystemSimulation, random: Random) -> None:
    simulation.network.quality.duplication = random.choice((0.05, 0.3))


def _groups(simulation: SystemSimulation, random: Random) -> list[list[str]]:
    """Two sides: of one chain, or of everything, relays and clients included."""
    names = [machine.name for machine in simulation.machines]
    if random.random() < 0.6:
        names = [machine.name for machine in simulation.chains[random.choice(sorted(simulation.chains))]]
    else:
        names += [relay.name for relay in simulation.relays] + [client.name for client in simulation.clients]
    random.shuffle(names)
    at = random.randint(1, max(1, len(names) - 1))
    return [names[:at], names[at:]]


def _partition(simulation: SystemSimulation, random: Random, *, one_way: bool = False) -> None:
    for start_ms, end_ms in _spans(simulation, random, 1, 2):
        groups, breaks = _groups(simulation, random), random.random() < 0.5

        def part(groups: list[list[str]] = groups, breaks: bool = breaks) -> None:
            simulation.world.note(f"partition {groups}{' one way' if one_way else ''}")
            simulation.network.partition(groups, one_way=one_way)
            if breaks:
                _break_channels(simulation)

        _at(simulation, start_ms, part)
        _at(simulation, end_ms, simulation.network.heal)


def _break_channels(simulation: SystemSimulation) -> None:
    """Channels across a cut time out. Otherwise they stand, and only lose what they carry."""
    for machine in simulation.machines:
        if not machine.alive:
            continue
        for line in machine.channels.lines():
            peer = line.other(machine)
            if simulation.network.is_cut(machine.name, peer.name):
                machine.loop.call_soon(machine.channels.close, line)


def _one_way(simulation: SystemSimulation, random: Random) -> None:
    _partition(simulation, random, one_way=True)


def _clog(simulation: SystemSimulation, random: Random) -> None:
    names = [process.name for process in (*simulation.machines, *simulation.relays)]  # type: ignore[attr-defined]
    for start_ms, end_ms in _spans(simulation, random, 1, 4):
        source, target = random.sample(names, 2) if len(names) > 1 else (names[0], names[0])
        delay_ms = random.choice((300, 1_000, 3_000))
        _at(simulation, start_ms, lambda s=source, t=target, d=delay_ms: simulation.network.clog(s, t, d))
        _at(simulation, end_ms, lambda s=source, t=target: simulation.network.clog(s, t, 0))


def _crashes(simulation: SystemSimulation, random: Random, *, power: bool) -> None:
    for start_ms, end_ms in _spans(simulation, random, 1, 3):
        victims = _victims(simulation, random)

        def crash(victims: list[NodeMachine] = victims) -> None:
            for machine in victims:
                machine.wanted = False
                machine.crash(power=power)

        def recover(victims: list[NodeMachine] = victims) -> None:
            for machine in victims:
                machine.wanted = True
                machine.start()

        _at(simulation, start_ms, crash)
        _at(simulation, min(end_ms, start_ms + 1_500), recover)


def _power(simulation: SystemSimulation, random: Random) -> None:
    _crashes(simulation, random, power=True)
    for machine in simulation.machines:
        machine.disk_ms = random.choice((1, 3, 10, 40))


def _kill(simulation: SystemSimulation, random: Random) -> None:
    _crashes(simulation, random, power=False)


def _disk_trouble(why: str) -> Callable[[SystemSimulation, Random], None]:
    def inject(simulation: SystemSimulation, random: Random) -> None:
        for start_ms, end_ms in _spans(simulation, random, 1, 2):
            for machine in _victims(simulation, random):
                _at(simulation, start_ms, lambda machine=machine: machine.refuse_writes(why))
                _at(simulation, min(end_ms, start_ms + 1_500), machine.accept_writes)

    return inject


def _pause(simulation: SystemSimulation, random: Random) -> None:
    for start_ms, end_ms in _spans(simulation, random, 1, 4):
        for machine in _victims(simulation, random):
            _at(simulation, start_ms, lambda machine=machine: machine.loop.freeze())
            _at(simulation, end_ms, lambda machine=machine: machine.loop.thaw())


def _clocks(simulation: SystemSimulation, random: Random) -> None:
    """At most f clocks of a chain run far ahead: more would set the chain's own time ahead, which nothing heals."""
    for network, chain in simulation.chains.items():
        ahead = random.sample(chain, simulation.specs[network].faults)
        for machine in chain:
            skew_ms = random.choice((0, 0, -2_000, 3_000, -HOUR_MS))
            if machine in ahead and random.random() < 0.7:
                skew_ms = HOUR_MS
            machine.set_clock(skew_ms, random.uniform(-0.05, 0.05))
    for relay in simulation.relays:
        relay.set_clock(random.choice((0, -HOUR_MS, HOUR_MS)), random.uniform(-0.05, 0.05))


def _relay(simulation: SystemSimulation, random: Random) -> None:
    for start_ms, _ in _spans(simulation, random, 1, 4):
        relay = random.choice(simulation.relays)
        _at(simulation, start_ms, relay.crash)
        _at(simulation, start_ms + random.randrange(10, 600), relay.start)


def _upgrade(simulation: SystemSimulation, random: Random) -> None:
    """Every node begins with the old release; those of each chain get the new one in order (`release`)."""
    for chain in simulation.chains.values():
        at_ms = random.randrange(200, 1_000)
        for machine in chain:
            machine.versions = OLD_VERSIONS
            _at(simulation, at_ms, lambda machine=machine: install(machine))
            at_ms += random.randrange(100, 900)


def _starve(simulation: SystemSimulation, random: Random) -> None:
    """Until healing, some kinds of consensus message are mostly lost: blocks are prepared but not decided (C3, C6)."""
    chances = {kind: random.choice((0.4, 0.7)) for kind in random.sample(STARVED, 2)}

    def starve(payload: bytes) -> bool:
        if payload[0] != KIND_CONSENSUS:
            return False
        try:
            chance = chances.get(kind_of(decode_message(payload[1:])), 0.0)
        except Rejected:
            return False
        return random.random() < chance

    simulation.network.starve = starve


_ROBBERS: dict[str, Callable[[SystemSimulation, NodeMachine, Random], None]] = {
    "byzantine": _turn,
    "rot": _rot_later,
    "rollback": _roll_back_later,
}

_INJECTORS: dict[str, Callable[[SystemSimulation, Random], None]] = {
    "loss": _loss,
    "straggling": _straggling,
    "duplication": _duplication,
    "partition": _partition,
    "one-way": _one_way,
    "clog": _clog,
    "power": _power,
    "kill": _kill,
    "eio": _disk_trouble("EIO"),
    "enospc": _disk_trouble("ENOSPC"),
    "pause": _pause,
    "clocks": _clocks,
    "relay": _relay,
    "upgrade": _upgrade,
    "starve": _starve,
}
