"""Campaigns count, name what is broken, and go on where they were interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.sim.checkers import Violation
from tests.sim.system import campaign
from tests.sim.system.campaign import run
from tests.sim.system.simulation import SystemSimulation


def test_a_campaign_goes_on_behind_its_last_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMULATED_COMMIT", "abc")
    monkeypatch.setattr(campaign, "BATCH", 2)
    report = tmp_path / "report.json"
    assert run("system", 1, 4, 1, report) == 0
    figures = json.loads(report.read_text())
    assert (figures["done"], figures["broken"], figures["commit"], figures["first"]) == (4, [], "abc", 1)
    assert figures["blocks"] > 4
    assert sum(figures["sizes"].values()) >= 8
    report.write_text(json.dumps({**figures, "done": 2, "blocks": 0}))
    assert run("system", 1, 4, 1, report) == 0
    again = json.loads(report.read_text())
    assert again["done"] == 4
    assert 0 < again["blocks"] < figures["blocks"]


def test_a_campaign_names_the_seeds_that_break_a_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: SystemSimulation) -> None:
        if self.seed == 2:
            raise Violation("a rule")
        if self.seed == 3:
            raise KeyError("a defect")

    monkeypatch.setattr(SystemSimulation, "_demand_commits", broken)
    assert campaign.run_seed("system", 2)["broken"] == "a rule"
    assert campaign.run_seed("system", 3)["broken"] == "crash: KeyError('a defect')"
    assert campaign.run_seed("replica", 2)["broken"] is None
