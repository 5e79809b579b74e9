"""Make a failing scenario smaller: fewer kinds of fault, fewer and smaller chains, less work, less time.

Greedy: a change is kept if the run still breaks a rule, be it another one, as long as it is a rule of the same sort
(the first words of the message). The result is one command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.sim.system.options import SystemOptions

Fails = Callable[[SystemOptions], str | None]
"""Runs a scenario: what it breaks, or None."""
MOST_RUNS = 200


def shrink(options: SystemOptions, fails: Fails) -> tuple[SystemOptions, str] | None:
    """The smallest scenario found, and what it breaks; None if `options` break nothing."""
    why = fails(options)
    if why is None:
        return None
    runs, progress = 1, True
    while progress:
        progress = False
        for candidate in _smaller(options):
            if runs >= MOST_RUNS:
                return options, why
            runs += 1
            broken = fails(candidate)
            if broken is not None and _sort(broken) == _sort(why):
                options, why, progress = candidate, broken, True
                break
    return options, why


def _sort(message: str) -> str:
    """What sort of rule a message tells of: its words without names and numbers."""
    words = [word for word in message.split(":", maxsplit=1)[0].split() if word.isalpha()]
    return " ".join(words[:3])


def _smaller(options: SystemOptions) -> Iterator[SystemOptions]:
    """Scenarios one step smaller, the boldest first."""
    kinds = options.kinds
    if len(kinds) > 3:
        half = len(kinds) // 2
        yield replace(options, kinds=kinds[:half])
        yield replace(options, kinds=kinds[half:])
    for kind in kinds:
        yield replace(options, kinds=tuple(other for other in kinds if other != kind))
    if len(options.markets) > 1:
        yield replace(options, markets=options.markets[:1])
    if options.foreign:
        yield replace(options, foreign=False)
    if options.relays > 1:
        yield replace(options, relays=1)
    for size in (1, 4):
        if options.custody > size:
            yield replace(options, custody=size)
        for at, (network, members) in enumerate(options.markets):
            if members > size:
                yield replace(options, markets=(*options.markets[:at], (network, size), *options.markets[at + 1 :]))
    if options.transactions > 0:
        yield replace(options, transactions=options.transactions // 2)
    if options.heal_ms > 900:
        yield replace(options, heal_ms=options.heal_ms * 2 // 3)
