"""What goes wrong in one simulated network: drawn from the seed before anything happens.

A plan stays within the fault model (at most f members misbehave; any number may crash and come back with what they had
synced), so that agreement and, after healing, progress are owed. Where a plan steps outside on purpose, tests say so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from tests.sim.network import LinkQuality

SIZES = (1, 4, 5, 7)
BLACKOUTS = ("nobody", "nobody", "victim", "others")


@dataclass(frozen=True, slots=True)
class Partition:
    """Groups that cannot reach each other for a while; `one_way` cuts only what leaves the first group."""

    start_ms: int
    end_ms: int
    groups: tuple[tuple[int, ...], ...]
    one_way: bool = False


@dataclass(frozen=True, slots=True)
class Outage:
    """Nodes that lose power together and come back; unsynced writes are lost."""

    start_ms: int
    end_ms: int
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ambush:
    """From `height` on, until `end_ms`, COMMITs reach only `victim`, and nothing that it says reaches anybody.

    The victim decides a block that nobody else knows to be decided; the others change views. If ever they settle on
    another block, that is a fork (attacks C3, C6, C12, C21). `blackout` says who loses power when it decides: nobody,
    the victim, or everybody else, who then must know from their records what may have been decided (protocol rule 1).
    """

    height: int
    victim: int
    end_ms: int
    blackout: str = "nobody"


@dataclass(frozen=True, slots=True)
class Rollback:
    """A machine that is set back to an old image of its disks, vote log and database together (attack C16).

    It counts as faulty: what it signed in between, it has forgotten. Its peers show it what they can.
    """

    node: int
    image_ms: int
    restore_ms: int


@dataclass(slots=True)
class FaultPlan:
    """Everything that the seed decides beforehand."""

    size: int
    heal_ms: int = 4000
    quality: LinkQuality = field(default_factory=LinkQuality)
    partitions: list[Partition] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    twins: tuple[int, ...] = ()
    """Faulty members: two processes sign with one key and tell different stories; they also lie in other ways."""
    camps: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    """Two groups of correct members that never hear each other. Each twin then has one half in either camp and tells
    each a consistent story: collusion, beyond the fault model if there are enough twins (attack C20).
    """
    fast_clock: int | None = None
    """A faulty member whose clock is an hour ahead: nobody accepts its fresh blocks (attack C15)."""
    sync_ms: int = 0
    """Longest time that a synced write takes."""
    missing_bodies: float = 0.0
    """Chance that a replica must fetch a body, because gossip did not bring it."""
    starved: dict[str, float] = field(default_factory=dict)
    """Until healing: kind of consensus message -> chance that it is lost. Makes blocks prepared but not decided."""
    ambush: Ambush | None = None
    rollback: Rollback | None = None
    lossy_crash: bool = True
    """Whether an unsynced tail may survive a crash in part."""
    set_changes: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Members of the set that takes over after the block of a height."""
    idle: bool = False
    """Whether work comes and goes."""
    on_the_wire: bool = False
    """Whether every message is encoded and decoded."""

    @property
    def faulty(self) -> frozenset[int]:
        """Members that do not count as correct."""
        return self.forgetful | (frozenset() if self.fast_clock is None else {self.fast_clock})

    @property
    def forgetful(self) -> frozenset[int]:
        """Members that may sign two things for one mark: liars, and who lost its memory."""
        return frozenset(self.twins) | (frozenset() if self.rollback is None else {self.rollback.node})

    def describe(self) -> list[str]:
        """Lines for people."""
        lines = [f"{self.size} validators, heal at {self.heal_ms} ms, {self.quality}"]
        lines += [f"partition {item}" for item in self.partitions]
        lines += [f"outage {item}" for item in self.outages]
        if self.faulty:
            lines.append(f"faulty: twins {list(self.twins)}, clock an hour ahead {self.fast_clock}, {self.rollback}")
        if self.set_changes:
            lines.append(f"set changes after heights {self.set_changes}")
        lines.append(
            f"sync up to {self.sync_ms} ms, missing bodies {self.missing_bodies}, idle {self.idle}, "
            f"encoded {self.on_the_wire}, starved {self.starved}, {self.ambush}"
        )
        return lines


def draw_plan(random: Random, size: int | None = None) -> FaultPlan:
    """A plan for one network of `size` validators, or of a size that is drawn too."""
    if size is None:
        size = random.choice(SIZES)
    plan = FaultPlan(size)
    faults = (size - 1) // 3
    plan.quality = LinkQuality(
        mean_delay_ms=random.choice((2, 5, 20, 80)),
        loss=random.choice((0.0, 0.0, 0.05, 0.15, 0.3)),
        duplication=random.choice((0.0, 0.0, 0.1)),
        straggling=random.choice((0.0, 0.0, 0.05, 0.2)),
    )
    if random.random() < 0.35:
        kinds = random.sample(("proposal", "prepare", "commit", "commit", "view-change", "new-view"), 2)
        plan.starved = {kind: random.choice((0.3, 0.6, 0.8)) for kind in kinds}
    elif size > 1 and random.random() < 0.4:
        end_ms = random.randrange(plan.heal_ms // 2, plan.heal_ms)
        plan.ambush = Ambush(random.randint(1, 3), random.randrange(size), end_ms, random.choice(BLACKOUTS))
    plan.sync_ms = random.choice((0, 0, 2, 8))
    plan.missing_bodies = random.choice((0.0, 0.0, 0.2, 1.0))
    plan.idle = random.random() < 0.2
    plan.on_the_wire = random.random() < 0.2
    if size > 1:
        plan.partitions = [_draw_partition(random, size, plan.heal_ms) for _ in range(random.choice((0, 0, 1, 2)))]
        if random.random() < 0.15:
            _draw_set_changes(random, plan)
    plan.outages = [_draw_outage(random, size, plan.heal_ms) for _ in range(random.choice((0, 0, 1, 2, 3)))]
    if faults and not plan.set_changes and random.random() < 0.4:
        members = random.sample(range(size), random.randint(1, faults))
        if random.random() < 0.2:
            plan.fast_clock = members.pop()
        plan.twins = tuple(sorted(members))
    elif faults and not plan.set_changes and random.random() < 0.2:
        image_ms = random.randrange(plan.heal_ms - 500)
        restore_ms = random.randrange(image_ms + 100, plan.heal_ms)
        plan.rollback = Rollback(random.randrange(size), image_ms, restore_ms)
    return plan


def _draw_partition(random: Random, size: int, heal_ms: int) -> Partition:
    start = random.randrange(heal_ms)
    order = list(range(size))
    random.shuffle(order)
    cut = random.randint(1, size - 1)
    groups = [tuple(order[:cut]), tuple(order[cut:])]
    if len(groups[1]) > 1 and random.random() < 0.3:
        groups[1:] = [groups[1][:1], groups[1][1:]]
    return Partition(start, start + random.randrange(100, heal_ms), tuple(groups), random.random() < 0.2)


def _draw_outage(random: Random, size: int, heal_ms: int) -> Outage:
    start = random.randrange(heal_ms)
    hit = size if random.random() < 0.2 else random.randint(1, max(1, size // 2))
    return Outage(start, start + random.randrange(20, 2000), tuple(sorted(random.sample(range(size), hit))))


def _draw_set_changes(random: Random, plan: FaultPlan) -> None:
    """Remove and readmit members at one or two early heights, a spare node among them."""
    pool = range(plan.size + 1)
    for height in random.sample(range(1, 5), random.randint(1, 2)):
        members = random.sample(pool, random.choice((max(1, plan.size - 1), plan.size)))
        plan.set_changes[height] = tuple(members)


def collusion_plan(size: int, twins: int) -> FaultPlan:
    """`twins` colluding members; the correct rest divided into two camps as evenly as can be."""
    correct = tuple(range(twins, size))
    middle = (len(correct) + 1) // 2
    return FaultPlan(size, twins=tuple(range(twins)), camps=(correct[:middle], correct[middle:]))
