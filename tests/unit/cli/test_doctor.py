"""The doctor's rules: every finding is provoked, and a healthy network has none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cli.doctor.diagnose import ChainObservation, NodeObservation, Observation, RegionObservation, diagnose
from cli.doctor.observe import member_of

HEALTHY = NodeObservation(
    name="beijing-1",
    running=True,
    height=100,
    view=0,
    peers=3,
    ready=True,
    member="beijing-1",
    voting=True,
    clock_skew_ms=300,
    free_bytes=50 << 30,
    certificate_days_left=800,
)


def observation(*changed: NodeObservation, **others: object) -> Observation:
    """Four healthy nodes, the first ones replaced."""
    rest = [f"beijing-{number}" for number in range(len(changed) + 1, 5)]
    nodes = [*changed, *(replace(HEALTHY, name=name, member=name) for name in rest)]
    chain = ChainObservation(network="beijing", quorum=3, nodes=tuple(nodes))
    return Observation(chains=(chain,), **others)


def test_a_healthy_network_has_no_findings() -> None:
    region = RegionObservation(network="beijing", state="active", lag_blocks=1)
    assert diagnose(observation(regions=(region,))) == []


@pytest.mark.parametrize(
    ("node", "code", "severity"),
    [
        (replace(HEALTHY, running=False, height=None), "node_down", "fault"),
        (replace(HEALTHY, height=None, error="timed out"), "node_unreachable", "fault"),
        (replace(HEALTHY, height=10), "node_behind", "warning"),
        (replace(HEALTHY, ready=False), "not_ready", "warning"),
        (replace(HEALTHY, peers=1), "peers_missing", "warning"),
        (replace(HEALTHY, voting=False), "not_voting", "fault"),
        (replace(HEALTHY, clock_skew_ms=-9_000), "clock_skew", "fault"),
        (replace(HEALTHY, free_bytes=1 << 20), "disk_low", "warning"),
        (replace(HEALTHY, free_bytes=0), "disk_low", "fault"),
        (replace(HEALTHY, certificate_days_left=12), "certificate_expiring", "warning"),
        (replace(HEALTHY, certificate_days_left=-1), "certificate_expired", "fault"),
    ],
)
def test_one_node_in_trouble(node: NodeObservation, code: str, severity: str) -> None:
    findings = diagnose(observation(node))
    assert [(finding.code, finding.severity, finding.about) for finding in findings] == [(code, severity, "beijing-1")]
    assert findings[0].remedy


def test_an_observer_and_a_validator_that_still_waits_for_peers_owe_no_votes() -> None:
    observer = replace(HEALTHY, member=None, voting=False)
    waiting = replace(HEALTHY, name="beijing-2", member="beijing-2", peers=1, voting=False)
    assert [finding.code for finding in diagnose(observation(observer, waiting))] == ["peers_missing"]


def test_two_nodes_with_one_key_are_named() -> None:
    changed = [HEALTHY, replace(HEALTHY, name="beijing-2", member="beijing-1")]
    (finding,) = diagnose(observation(*changed))
    assert (finding.code, finding.severity, finding.about) == ("duplicate_key", "fault", "beijing")
    assert "beijing-1 and beijing-2" in finding.detail


def test_what_a_status_answer_says_about_the_key_is_observed() -> None:
    names = ["beijing-1", "beijing-2"]
    assert member_of({"own_index": 1, "validators": names}) == "beijing-2"
    assert member_of({"own_index": None, "validators": names}) is None
    assert member_of({"own_index": 7, "validators": names}) is None


def test_no_quorum_names_who_is_missing() -> None:
    down = [replace(HEALTHY, name=f"beijing-{number}", running=False, height=None) for number in (1, 2)]
    finding = next(finding for finding in diagnose(observation(*down)) if finding.code == "no_quorum")
    assert "beijing-1, beijing-2" in finding.detail


def test_view_churn_shows_every_view() -> None:
    churning = [replace(HEALTHY, name=f"beijing-{number}", member=None, view=2 + number) for number in range(1, 5)]
    finding = next(finding for finding in diagnose(observation(*churning)) if finding.code == "view_churn")
    assert "beijing-4 6" in finding.detail


@pytest.mark.parametrize("state", ["lagging", "silent", "expired", "frozen"])
def test_a_region_in_trouble(state: str) -> None:
    region = RegionObservation(network="beijing", state=state, lag_blocks=70)
    assert [finding.code for finding in diagnose(observation(regions=(region,)))] == [f"region_{state}"]


def test_a_relay_that_waits_before_it_tries_again_says_why() -> None:
    region = RegionObservation(network="beijing", state="active", lag_blocks=1, relay_error="relay: no_node_answers: x")
    (finding,) = diagnose(observation(regions=(region,)))
    assert (finding.code, finding.severity) == ("relay_error", "warning")
    assert "no_node_answers" in finding.detail


def test_one_node_of_many_is_compared_with_the_size_of_its_chain() -> None:
    chain = ChainObservation(network="beijing", quorum=1, nodes=(replace(HEALTHY, peers=2),), validators=4)
    assert [finding.code for finding in diagnose(Observation(chains=(chain,)))] == ["peers_missing"]


def test_relays_and_blind_spots() -> None:
    findings = diagnose(observation(relays_down=("relay",), unseen=("regions",)))
    assert [finding.code for finding in findings] == ["relay_down", "not_observed"]
