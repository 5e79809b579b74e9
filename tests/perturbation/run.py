"""Run one manifest: found, load, disturb step by step, heal, judge; a transcript with times for people and a report for
programs."""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

from tests.bench.load import percentile
from tests.perturbation import invariants
from tests.perturbation.fleet import Fleet
from tests.perturbation.load import Load
from tests.perturbation.manifest import Manifest, Step
from tests.perturbation.proxy import Forwarder
from tests.perturbation.view import CUSTODY, Reader, Watch, until
from tests.support.market import Market

SETTLE_S = 1.5
"""After this long a cut has taken hold: what was under way is committed or lost."""
DRAIN_PATIENCE_S = 60.0
Print = Callable[[str], None]


@dataclass
class Report:
    """What a run found."""

    manifest: str
    steps: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether every invariant held, every step did what it should, and the chains came back in time."""
        return not self.violations

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"manifest": self.manifest, "passed": self.passed, "seconds": round(self.seconds, 1)} | {
            "steps": self.steps,
            "figures": self.figures,
            "violations": self.violations,
        }


def run(manifest: Manifest, say: Print) -> Report:
    """Run a manifest in a directory of its own; nothing is left behind."""
    report, began = Report(manifest.name), time.monotonic()

    def line(text: str) -> None:
        say(f"{time.monotonic() - began:7.1f} s  {text}")

    forwarder = Forwarder(manifest.seed)
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tongjian-perturb-")))
            line(f"{manifest.name}: {manifest.about}")
            fleet = stack.enter_context(Fleet.found(folder / "network", manifest.regions, forwarder=forwarder))
            watch = stack.enter_context(Watch(fleet.network, fleet.chains))
            loads = [
                stack.enter_context(Load(Market(fleet.network, region), manifest.load_per_s, manifest.seed))
                for region in manifest.regions
            ]
            line(f"{len(fleet.network.processes())} processes run, clients submit {manifest.load_per_s}/s a region")
            runner = _Runner(fleet, forwarder, watch, loads, random.Random(manifest.seed), report, line)
            for step in manifest.steps:
                for _ in range(step.repeat):
                    runner.perform(step)
            line("clients stop, what is under way becomes final")
            for load in loads:
                load.stop(DRAIN_PATIENCE_S)
            _judge(fleet, watch, loads, report, line)
    finally:
        forwarder.close()
    report.seconds = time.monotonic() - began
    line("passed" if report.passed else f"FAILED: {len(report.violations)} violations")
    return report


class _Runner:
    def __init__(
        self,
        fleet: Fleet,
        forwarder: Forwarder,
        watch: Watch,
        loads: list[Load],
        chance: random.Random,
        report: Report,
        line: Print,
    ) -> None:
        self._fleet, self._forwarder, self._watch, self._loads = fleet, forwarder, watch, loads
        self._chance, self._report, self._line = chance, report, line
        self._reader = Reader(fleet.network, timeout_s=3.0)

    def perform(self, step: Step) -> None:
        """One step from its beginning until the chains commit again."""
        targets = [name for target in step.targets for name in self._names(target)]
        chains = [name for name in dict.fromkeys(map(self._chain, targets)) if name]
        self._line(f"{step.do} {', '.join(targets)} for {step.for_s:g} s")
        self._begin(step, targets)
        began = time.monotonic()
        time.sleep(min(SETTLE_S, step.for_s))
        before = {chain: self._watch.tip(chain) for chain in chains}
        time.sleep(max(0.0, began + step.for_s - time.monotonic()))
        moved = {chain: self._watch.tip(chain) - before[chain] for chain in chains}
        self._compare(step, moved)
        healed, tips = time.monotonic(), {chain: self._watch.tip(chain) for chain in chains}
        self._end(step, targets)
        entry = {"do": step.do, "targets": targets, "for_s": step.for_s, "commits_meanwhile": moved}
        entry["resumed_after_s"] = {chain: self._resumed(chain, tips[chain], healed, step) for chain in chains}
        entry["level_after_s"] = {
            name: self._level(name, tips, healed, step) for name in self._disturbed(step, targets)
        }
        self._report.steps.append(entry)
        self._line(f"    commits again after {entry['resumed_after_s']} s, level after {entry['level_after_s']} s")

    def _names(self, target: str) -> Iterator[str]:
        who, _, chain = target.partition(" of ")
        if not chain:
            yield target
            return
        names = self._fleet.names(chain)
        if who == "all":
            yield from names
            return
        leader = until(lambda: self._leader(chain, names), 10) or names[0]
        others = [name for name in names if name != leader]
        yield {"leader": leader, "follower": self._chance.choice(others), "any": self._chance.choice(names)}[who]

    def _leader(self, chain: str, names: list[str]) -> str | None:
        """Whoever leads the open height now: leaders take turns by height and view (protocol-consensus.md)."""
        for name in names:
            status = self._reader.status(name)
            if status:
                return str(status["validators"][(status["height"] + 1 + status["view"]) % len(status["validators"])])
        return None

    def _chain(self, target: str) -> str:
        return target if target in {c.network_id for c in self._fleet.chains} else self._fleet.chain_of(target)

    def _disturbed(self, step: Step, targets: list[str]) -> list[str]:
        return [name for name in targets if self._fleet.chain_of(name)]

    def _compare(self, step: Step, moved: dict[str, int]) -> None:
        for chain, blocks in moved.items():
            if step.meanwhile == "stands_still" and blocks:
                self._violated(f"{chain} committed {blocks} blocks during {step.do}, though no quorum was together")
            if step.meanwhile == "commits" and not blocks:
                self._violated(f"{chain} stood still during {step.do}")

    def _violated(self, what: str) -> None:
        self._line(f"    VIOLATION: {what}")
        self._report.violations.append(what)

    def _begin(self, step: Step, targets: list[str]) -> None:
        fleet, forwarder = self._fleet, self._forwarder
        match step.do:
            case "kill" | "wipe" | "upgrade":
                for name in targets:
                    fleet.signal(name, signal.SIGKILL if step.do != "upgrade" else signal.SIGTERM)
                for name in targets:
                    self._gone(name)
                    if step.do == "wipe":
                        fleet.wipe(name)
                        self._watch.forget(name)
            case "restart":
                for name in targets:
                    fleet.signal(name, signal.SIGTERM)
                    self._gone(name)
            case "pause":
                for name in targets:
                    fleet.signal(name, signal.SIGSTOP)
            case "disconnect":
                forwarder.disconnect(
                    (name, other) for name in targets for other in fleet.names(self._chain(name)) if other != name
                )
            case "one_way":
                forwarder.stop(
                    (name, other) for name in targets for other in fleet.names(self._chain(name)) if other != name
                )
            case "slow":
                for chain in targets:
                    forwarder.slow(permutations(fleet.names(chain), 2), step.delay_ms, step.jitter_ms, step.loss)
            case "split" | "ring":
                for chain in targets:
                    forwarder.disconnect(self._across(step, fleet.names(chain)))

    def _gone(self, name: str) -> None:
        if not until(lambda: not self._fleet.running(name), 15, 0.01):
            self._violated(f"{name} did not end within 15 s")
            self._fleet.kill(name)

    def _across(self, step: Step, names: list[str]) -> Iterator[tuple[str, str]]:
        """The pairs that a split or a ring keeps apart."""
        for first, second in combinations(range(len(names)), 2):
            if step.do == "ring":
                apart = second - first not in (1, len(names) - 1)
            else:
                apart = not any(first + 1 in group and second + 1 in group for group in step.groups)
            if apart:
                yield names[first], names[second]

    def _end(self, step: Step, targets: list[str]) -> None:
        if step.do in ("kill", "wipe", "upgrade", "restart"):
            for name in targets:
                self._fleet.start(name, version=step.version)
        elif step.do == "pause":
            for name in targets:
                self._fleet.signal(name, signal.SIGCONT)
        else:
            self._forwarder.heal()

    def _resumed(self, chain: str, tip: int, healed: float, step: Step) -> float | None:
        """Seconds from healing to a block above the tip of that moment."""
        if not until(lambda: self._watch.tip(chain) > tip, step.resumes_within_s, 0.05):
            self._violated(f"{chain} does not commit {step.resumes_within_s:g} s after {step.do}")
            return None
        return round(time.monotonic() - healed, 2)

    def _level(self, name: str, tips: dict[str, int], healed: float, step: Step) -> float | None:
        """Seconds from healing until a node has what the chain had at that moment, and says that it is ready."""
        goal = tips[self._chain(name)]

        def level() -> bool:
            status = self._reader.status(name)
            return bool(status and status["height"] >= goal and status["ready"] and self._right_version(name, step))

        if not until(level, step.resumes_within_s + 10, 0.05):
            self._violated(f"{name} is not level {step.resumes_within_s + 10:g} s after {step.do}")
            return None
        return round(time.monotonic() - healed, 2)

    def _right_version(self, name: str, step: Step) -> bool:
        if not step.version:
            return True
        options = self._reader.get(name, f"/v1/networks/{self._chain(name)}/options")
        return bool(options and options["node_version"] == step.version)


def _judge(fleet: Fleet, watch: Watch, loads: list[Load], report: Report, line: Print) -> None:
    """Every invariant, each with its line."""
    reader = Reader(fleet.network)

    def check(what: str, wrong: list[str]) -> None:
        line(f"{'holds' if not wrong else 'FAILS'}: {what}")
        for sentence in wrong[:5]:
            line(f"    {sentence}")
        report.violations += wrong

    wrong, ids = invariants.blocks_agree(fleet, reader, watch)
    check("all nodes have the same blocks: " + ", ".join(f"{name} {len(at)}" for name, at in ids.items()), wrong)
    check("no height went back", invariants.heights_never_go_back(watch))
    check("everybody votes, nobody is accused", invariants.nodes_vote_and_accuse_nobody(fleet, reader))
    for load in loads:
        region, final = load.journal.region, load.journal.final
        tip = len(ids.get(region, ()))
        check(
            f"{region}: {len(final)} receipts stand on every node", invariants.receipts_stand(load, fleet, reader, tip)
        )
        check(f"{region}: the register adds up", invariants.register_is_conserved(load, fleet, reader))
        if CUSTODY in ids and tip:
            anchors = invariants.anchors_are_the_regions_blocks(load, fleet, reader, ids[region], tip)
            check(f"{region}: active, anchored to {tip} with its own ids", anchors)
            check(f"{region}: evidence verifies offline", invariants.evidence_verifies(load, fleet, reader))
        waits = [sent.latency_s for sent in final if sent.latency_s]
        report.figures[region] = {
            "blocks": tip,
            "submitted": len(load.journal.sent),
            "receipts": len(final),
            "second_of_one_nonce_refused": len(load.journal.refused),
            "receipt_p50_s": round(percentile(waits, 0.5), 3),
            "receipt_p99_s": round(percentile(waits, 0.99), 3),
        }
