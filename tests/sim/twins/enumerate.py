"""Runs schedules: all of them up to symmetry, or a fixed sample."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from random import Random

from tests.sim.checkers import Violation
from tests.sim.twins.schedules import SIZE, Enumeration
from tests.sim.twins.world import TwinsWorld


@dataclass(frozen=True, slots=True)
class Family:
    """One enumeration: how many rounds, and whether COMMITs may be cut within a round."""

    name: str
    length: int
    cut_commits: bool


FAMILIES = (Family("partitions", 4, False), Family("partitions and cut COMMITs", 3, True))


@dataclass(slots=True)
class Tally:
    """What an enumeration came to."""

    run: int = 0
    """Scenarios that were run to their verdict: of full length, or settled earlier."""
    covered: int = 0
    """Least schedules of full length that they stand for."""
    settled_early: int = 0

    def add(self, other: Tally) -> None:
        """Take in another part."""
        self.run += other.run
        self.covered += other.covered
        self.settled_early += other.settled_early


def judge(enumeration: Enumeration, prefix: tuple[int, ...], *, last: bool) -> bool:
    """Run one prefix; True if everybody correct had decided by its end. Raises `Violation` naming the schedule."""
    world = TwinsWorld(SIZE, 1, enumeration.schedule(prefix))
    try:
        settled = world.run_schedule() <= len(prefix)
        world.check()
        if last and not settled:
            world.heal()
            world.check()
    except AssertionError as error:
        raise Violation(f"schedule {prefix}: {enumeration.schedule(prefix)}: {error}") from error
    return settled


def enumerate_below(family: Family, prefix: tuple[int, ...]) -> Tally:
    """Everything that begins with this prefix. Raises `Violation`."""
    enumeration, tally = Enumeration(cut_commits=family.cut_commits), Tally()
    _walk(enumeration, family.length, prefix, tally)
    return tally


def _walk(enumeration: Enumeration, length: int, prefix: tuple[int, ...], tally: Tally) -> None:
    last = len(prefix) == length
    if judge(enumeration, prefix, last=last) or last:
        tally.run += 1
        tally.settled_early += not last
        tally.covered += 1 if last else sum(1 for _ in _completions(enumeration, length, prefix))
        return
    for longer in enumeration.extensions(prefix):
        _walk(enumeration, length, longer, tally)


def _completions(enumeration: Enumeration, length: int, prefix: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    if len(prefix) == length:
        yield prefix
        return
    for longer in enumeration.extensions(prefix):
        yield from _completions(enumeration, length, longer)


def enumerate_all(family: Family, jobs: int) -> Tally:
    """The whole family. Raises `Violation`."""
    enumeration, tally = Enumeration(cut_commits=family.cut_commits), Tally()
    firsts: list[tuple[int, ...]] = []
    for first in enumeration.extensions(()):
        if judge(enumeration, first, last=False):
            tally.run += 1
            tally.settled_early += 1
            tally.covered += sum(1 for _ in _completions(enumeration, family.length, first))
        else:
            firsts += enumeration.extensions(first)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for part in pool.map(enumerate_below, [family] * len(firsts), firsts, chunksize=4):
            tally.add(part)
    return tally


def sample(family: Family, count: int, seed: int = 1) -> Tally:
    """A fixed part of a family: schedules drawn from all, least or not. Raises `Violation`."""
    enumeration, tally, random = Enumeration(cut_commits=family.cut_commits), Tally(), Random(seed)
    for _ in range(count):
        prefix = tuple(random.randrange(enumeration.choices) for _ in range(family.length))
        tally.settled_early += judge(enumeration, prefix, last=True)
        tally.run += 1
        tally.covered += 1
    return tally
