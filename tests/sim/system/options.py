"""What one run is: networks, work, and which kinds of fault are switched on ("swarm": each seed enables a subset).

Everything follows from the seed unless it is overridden, so a failing run is told by one command line, and a smaller
one by the same line with an override (`shrink`). Each kind of fault draws from a generator of its own: switching one
off leaves the others as they were.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

KINDS = (
    "loss",
    "straggling",
    "duplication",
    "partition",
    "one-way",
    "clog",
    "power",
    "kill",
    "rot",
    "eio",
    "enospc",
    "pause",
    "clocks",
    "byzantine",
    "relay",
    "upgrade",
    "rollback",
    "starve",
)
SIZES = (1, 4, 4, 4, 4, 4, 4, 5, 6, 7, 10)
"""Most runs are small: a chain of ten costs as much as six of four."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemOptions:
    """One run's scenario. `markets` names the business chains and their sizes; times in milliseconds."""

    seed: int
    markets: tuple[tuple[str, int], ...]
    custody: int
    kinds: tuple[str, ...]
    transactions: int
    """Transactions of each market, besides the first."""
    heal_ms: int
    """How long faults may go on."""
    relays: int = 1
    foreign: bool = False
    """Whether a region of another make is attached, misbehaves and is recovered: one seed in six draws it."""

    def command(self) -> str:
        """The command line that runs exactly this."""
        drawn = draw_options(self.seed)
        parts = [f"python -m tests.sim --layer system --seed {self.seed}"]
        for name, value in self.overrides(drawn).items():
            parts.append(f"--{name} {value}")
        return " ".join(parts)

    def overrides(self, drawn: SystemOptions) -> dict[str, Any]:
        """What differs from the scenario that the seed alone gives, as command-line options."""
        found: dict[str, Any] = {}
        if self.markets != drawn.markets:
            found["markets"] = ",".join(str(size) for _, size in self.markets)
        if self.custody != drawn.custody:
            found["custody"] = self.custody
        if self.kinds != drawn.kinds:
            found["faults"] = ",".join(self.kinds) or "none"
        for name in ("transactions", "heal_ms", "relays", "foreign"):
            if getattr(self, name) != getattr(drawn, name):
                found[name.replace("_", "-")] = int(getattr(self, name))
        return found

    def describe(self) -> str:
        """One line for people."""
        sizes = ", ".join(f"{network} {size}" for network, size in self.markets)
        return (
            f"seed {self.seed}: {sizes}{', islet' if self.foreign else ''}, custody {self.custody}, "
            f"{self.relays} relay(s), "
            f"{self.transactions} transactions each, faults until {self.heal_ms} ms: {' '.join(self.kinds) or 'none'}"
        )


def draw_options(seed: int) -> SystemOptions:
    """The scenario of a seed."""
    random = Random(f"options {seed}")
    sizes = [random.choice(SIZES) for _ in range(1 if random.random() < 0.7 else 2)]
    if len(sizes) == 2 and sum(sizes) > 11:
        sizes = sizes[:1]
    likelihood = random.choice((0.1, 0.25, 0.5))
    likely = {"byzantine": max(likelihood, 0.5)}
    return SystemOptions(
        seed=seed,
        markets=named(sizes),
        custody=random.choice(SIZES if sum(sizes) <= 5 else (1, 4, 4, 4, 5)),
        kinds=tuple(kind for kind in KINDS if random.random() < likely.get(kind, likelihood)),
        transactions=random.choice((2, 4, 6)),
        heal_ms=random.choice((2_000, 3_000, 4_000)),
        relays=2 if random.random() < 0.2 else 1,
        foreign=random.random() < 1 / 6,
    )


def named(sizes: list[int]) -> tuple[tuple[str, int], ...]:
    """Business chains of these sizes."""
    return tuple(zip(("beijing", "shanghai"), sizes, strict=False))


def with_overrides(options: SystemOptions, changes: dict[str, Any]) -> SystemOptions:
    """The scenario with command-line options applied; None leaves a field as it is drawn."""
    fields: dict[str, Any] = {}
    if changes.get("markets") is not None:
        fields["markets"] = named([int(size) for size in str(changes["markets"]).split(",")])
    if changes.get("faults") is not None:
        text = str(changes["faults"])
        wanted = KINDS if text == "all" else () if text == "none" else tuple(text.split(","))
        unknown = sorted(set(wanted) - set(KINDS))
        if unknown:
            raise ValueError(f"no such fault: {', '.join(unknown)}; there are {', '.join(KINDS)}")
        fields["kinds"] = tuple(kind for kind in KINDS if kind in wanted)
    for name in ("custody", "transactions", "heal_ms", "relays"):
        if changes.get(name) is not None:
            fields[name] = int(changes[name])
    if changes.get("foreign") is not None:
        fields["foreign"] = bool(changes["foreign"])
    return replace(options, **fields)
