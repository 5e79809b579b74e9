"""Which schedules there are, up to symmetry, for four members of which one is twins: five processes.

What is left out, and why nothing is lost by it:

* A component without a quorum of distinct members decides nothing, prepares nothing, and changes no view for good; and
  five processes hold one such component at most. So a round has one component, or is dead.
* A component whose leader is elsewhere is as dead: its view has no proposal.
* Correct members are interchangeable, and so are the halves of a twin: of schedules that differ by names alone, the
  least is run (orderly generation: a prefix that is not the least of its images has no least extension).
* Once every correct process has decided, nothing that follows can change it.

Left out for real: the order of messages within a round (one order is run; the random simulations draw others), and
partitions that change between the phases of a view, except that COMMITs may reach nobody or one process alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations, product
from typing import Final

from tests.sim.twins.world import DEAD, Round

SIZE: Final = 4
QUORUM: Final = 3
HALVES: Final = (0, 1)
CORRECT: Final = (2, 3, 4)
"""Processes; process 2 is member 1, and so on."""

Schedule = tuple[Round, ...]
Renaming = tuple[int, ...]


def member_of(process: int) -> int:
    """Whose process it is."""
    return 0 if process in HALVES else process - 1


def rounds(*, cut_commits: bool) -> list[Round]:
    """All rounds that differ: dead, or a component with a leader in it, and whom COMMITs reach if they are cut."""
    found = [DEAD]
    for count in (2, 3):
        for chosen in combinations(CORRECT, count):
            for halves in ((), (0,), (1,), (0, 1)):
                component = (*halves, *chosen)
                members = sorted({member_of(process) for process in component})
                if len(members) < QUORUM:
                    continue
                reached: list[tuple[int, ...] | None] = [None]
                if cut_commits:
                    reached += [(), *((process,) for process in chosen)]
                found += [Round(leader, (component,), only) for leader, only in product(members, reached)]
    return found


def renamings() -> list[Renaming]:
    """Every way to exchange correct members among themselves, and the halves."""
    return [(*halves, *rest) for halves in permutations(HALVES) for rest in permutations(CORRECT)]


def renamed(item: Round, renaming: Renaming) -> Round:
    """The round under other names."""
    if item.leader < 0:
        return item
    leader = 0 if item.leader == 0 else member_of(renaming[item.leader + 1])
    components = tuple(tuple(sorted(renaming[process] for process in part)) for part in item.components)
    only = None if item.commits_to is None else tuple(renaming[process] for process in item.commits_to)
    return Round(leader, components, only)


class Enumeration:
    """Prefixes of schedules over some rounds, the least of their images only."""

    def __init__(self, *, cut_commits: bool) -> None:
        self._rounds = rounds(cut_commits=cut_commits)
        numbers = {item: at for at, item in enumerate(self._rounds)}
        self._images = [[numbers[renamed(item, names)] for item in self._rounds] for names in renamings()]

    @property
    def choices(self) -> int:
        """Rounds to choose from."""
        return len(self._rounds)

    def schedule(self, prefix: tuple[int, ...]) -> Schedule:
        """The rounds of a prefix."""
        return tuple(self._rounds[at] for at in prefix)

    def is_least(self, prefix: tuple[int, ...]) -> bool:
        """Whether no renaming gives a smaller one."""
        return all(tuple(image[at] for at in prefix) >= prefix for image in self._images)

    def extensions(self, prefix: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        """One round longer, the least ones."""
        for at in range(len(self._rounds)):
            longer = (*prefix, at)
            if self.is_least(longer):
                yield longer

    def count(self, length: int) -> int:
        """How many least schedules of this length there are, by Burnside's lemma."""
        fixed = [sum(at == image[at] for at in range(len(self._rounds))) for image in self._images]
        return sum(item**length for item in fixed) // len(self._images)  # type: ignore[no-any-return]
