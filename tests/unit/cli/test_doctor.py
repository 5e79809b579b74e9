"""The doctor's rules: every finding of the catalogue is provoked, and a healthy network has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.doctor.network_observation import member_of
from common.node.diagnosis.catalogue import OF_NETWORKS, Finding
from common.node.diagnosis.comparison import ChainObservation, NodeObservation, Observation, RegionObservation, diagnose
from common.node.diagnosis.self_judgement import NodeFacts, examine
from tests.support.facts import NAMES, healthy_facts, healthy_peer

FIFTH = "beijing-5"
REGION_STATES = ("lagging", "silent", "expired", "frozen")


def node(name: str = NAMES[0], facts: NodeFacts | None = None, **changes: Any) -> NodeObservation:
    """A node that answers, unless `facts` is given as None by name."""
    seen: dict[str, Any] = {
        "running": True,
        "facts": facts or healthy_facts(name),
        "clock_skew_ms": 300,
        "certificate_days_left": 800,
    }
    return NodeObservation(name=name, **(seen | changes))


def observation(*changed: NodeObservation, **others: Any) -> Observation:
    """Four healthy nodes, the first ones replaced."""
    rest = [node(name) for name in NAMES[len(changed) :]]
    chain = ChainObservation(network="beijing", quorum=3, nodes=(*changed, *rest))
    return Observation(chains=(chain,), **others)


def found(seen: Observation) -> list[Finding]:
    findings = diagnose(seen)
    assert all(finding.remedy and finding.detail for finding in findings)
    return findings


def codes(seen: Observation) -> list[tuple[str, str, str]]:
    return [(finding.code, finding.severity, finding.about) for finding in found(seen)]


def test_a_healthy_network_has_no_findings() -> None:
    region = RegionObservation(network="beijing", state="active", anchored_height=99)
    assert diagnose(observation(regions=(region,))) == []
    assert examine(healthy_facts()) == []


OTHERS = [healthy_peer(name) for name in NAMES[1:]]


def without(*names: str, error: str = "connection_refused") -> list[Any]:
    """The peers of node 1, some of them away."""
    gone = {"connected": False, "silent_ms": None, "clock_offset_ms": None, "height": None, "error": error}
    return [healthy_peer(name, **(gone if name in names else {})) for name in NAMES[1:]]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ready": False, "level": False}, [("node_behind", "warning", "beijing-1")]),
        ({"ready": False}, [("not_ready", "warning", "beijing-1")]),
        ({"stalled": True, "ready": False}, [("not_ready", "warning", "beijing-1")]),
        ({"peers": without("beijing-3")}, [("peers_missing", "warning", "beijing-1")]),
        (
            {"peers": without("beijing-3", "beijing-4"), "short": True, "ready": False},
            [("not_ready", "warning", "beijing-1"), ("peers_missing", "warning", "beijing-1")],
        ),
        (
            {"peers": without("beijing-3", error="hello_unexpected_peer")},
            [("identity_mismatch", "fault", "beijing-3"), ("peers_missing", "warning", "beijing-1")],
        ),
        (
            {"peers": without("beijing-3", error="refused_hello_expired")},
            [("clock_skew", "fault", "beijing-3"), ("peers_missing", "warning", "beijing-1")],
        ),
        ({"member": None, "voting": False}, [("identity_mismatch", "fault", "beijing-1")]),
        ({"voting": False}, [("not_voting", "fault", "beijing-1")]),
        ({"view": 3}, [("view_churn", "fault", "beijing")]),
        ({"recent_views": [1, 0, 1, 0, 1, 0, 1, 0]}, [("view_churn", "warning", "beijing")]),
        ({"free_bytes": 1 << 20}, [("disk_low", "warning", "beijing-1")]),
        ({"free_bytes": 0}, [("disk_low", "fault", "beijing-1")]),
        ({"sync_us": 80_000}, [("disk_slow", "warning", "beijing-1")]),
        ({"certificates": {"api": 12}}, [("certificate_expiring", "warning", "beijing-1")]),
        ({"certificates": {"peer": -1}}, [("certificate_expired", "fault", "beijing-1")]),
        ({"accused": ["beijing-4"]}, [("validator_accused", "fault", "beijing-4")]),
        (
            {"validators": [("beijing-1", "A"), ("beijing-2", "A"), ("beijing-3", "B"), ("beijing-4", "C")]},
            [("organisation_concentrated", "warning", "beijing")],
        ),
        (
            {"peers": [healthy_peer("beijing-2", clock_offset_ms=60_000), *OTHERS[1:]]},
            [("clock_skew", "fault", "beijing-2")],
        ),
        (
            {"peers": [healthy_peer(name, clock_offset_ms=-60_000) for name in NAMES[1:]]},
            [("clock_skew", "fault", "beijing-1")],
        ),
        ({"damage": "the database cannot be read"}, [("data_damaged", "fault", "beijing-1")]),
        ({"version": "9.9.9"}, [("version_mismatch", "warning", "beijing")]),
        ({"height": 10, "peers": OTHERS}, [("node_behind", "warning", "beijing-1")]),
    ],
)
def test_one_node_in_trouble(changes: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    facts = msgspec.structs.replace(healthy_facts(), **changes)
    assert codes(observation(node(facts=facts))) == expected


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({"running": False, "facts": None}, ("node_down", "fault", "beijing-1")),
        ({"facts": None, "error": "timed out"}, ("node_unreachable", "fault", "beijing-1")),
        ({"clock_skew_ms": -9_000}, ("clock_skew", "fault", "beijing-1")),
        ({"certificate_days_left": 12}, ("certificate_expiring", "warning", "beijing-1")),
        ({"certificate_days_left": -1}, ("certificate_expired", "fault", "beijing-1")),
    ],
)
def test_what_is_seen_from_outside(seen: dict[str, Any], expected: tuple[str, str, str]) -> None:
    whole: dict[str, Any] = {"name": "beijing-1", "running": True, "facts": healthy_facts()} | seen
    assert codes(observation(NodeObservation(**whole))) == [expected]


def test_an_observer_owes_no_votes_and_one_dead_validator_of_four_is_no_churn() -> None:
    observer = healthy_facts("watcher", member=None, voting=False, recent_views=[0, 0, 0, 1, 0, 0, 0, 1])
    assert examine(observer) == []


@pytest.mark.parametrize(("changes", "code"), [({"short": True}, "no_quorum"), ({"stalled": True}, "stalled")])
def test_a_chain_stands_still_when_no_quorum_knows_better(changes: dict[str, Any], code: str) -> None:
    """One node that says so is cut off; of two of four the others are no quorum."""
    troubled = [node(name, msgspec.structs.replace(healthy_facts(name), ready=False, **changes)) for name in NAMES[:2]]
    assert (code, "fault", "beijing") not in codes(observation(troubled[0]))
    assert (code, "fault", "beijing") in codes(observation(*troubled))
    easy = [node(name, healthy_facts(name, member=None, voting=False)) for name in ("watcher-1", "watcher-2")]
    chain = ChainObservation(network="beijing", quorum=3, nodes=(*troubled, *map(node, NAMES[2:]), *easy))
    assert (code, "fault", "beijing") in codes(Observation(chains=(chain,))), "observers are no quorum"


def test_two_nodes_with_one_key_are_named() -> None:
    twin = msgspec.structs.replace(healthy_facts("beijing-2"), member="beijing-1")
    (finding,) = found(observation(node(), node("beijing-2", twin)))
    assert (finding.code, finding.severity, finding.about) == ("duplicate_key", "fault", "beijing")
    assert "beijing-1 and beijing-2" in finding.detail


def test_what_a_status_answer_says_about_the_key_is_observed() -> None:
    names = ["beijing-1", "beijing-2"]
    assert member_of({"own_index": 1, "validators": names}) == "beijing-2"
    assert member_of({"own_index": None, "validators": names}) is None
    assert member_of({"own_index": 7, "validators": names}) is None


def test_no_quorum_names_who_is_missing_and_comes_once() -> None:
    down = [NodeObservation(name=name, running=False) for name in NAMES[:2]]
    alone = [node(name, healthy_facts(name, short=True, ready=False, peers=without("beijing-2"))) for name in NAMES[2:]]
    findings = [finding for finding in found(observation(*down, *alone)) if finding.code == "no_quorum"]
    assert [finding.about for finding in findings] == ["beijing"]
    assert "beijing-1, beijing-2" in findings[0].detail


def test_view_churn_shows_the_table_of_every_peer() -> None:
    peers = [healthy_peer("beijing-2", height=99, view=4), *OTHERS[1:-1], *without("beijing-4")[-1:]]
    (finding,) = [item for item in examine(healthy_facts(view=5, peers=peers)) if item.code == "view_churn"]
    assert "beijing-1 height 100 view 5" in finding.detail
    assert "beijing-2 height 99 view 4 seen 0.3 s ago" in finding.detail
    assert "beijing-4 not connected" in finding.detail


@pytest.mark.parametrize("state", REGION_STATES)
def test_a_region_in_trouble(state: str) -> None:
    region = RegionObservation(network="beijing", state=state, anchored_height=99)
    assert [code for code, _, _ in codes(observation(regions=(region,)))] == [f"region_{state}"]


def test_a_relay_that_is_behind_or_waits_before_it_tries_again_says_why() -> None:
    region = RegionObservation(
        network="beijing", state="active", anchored_height=20, relay_error="relay: no_node_answers: x"
    )
    findings = found(observation(regions=(region,)))
    assert [(finding.code, finding.severity) for finding in findings] == [
        ("relay_behind", "warning"),
        ("relay_error", "warning"),
    ]
    assert "no_node_answers" in findings[1].detail


def test_one_node_of_many_is_judged_by_what_it_knows_of_the_others() -> None:
    facts = healthy_facts(peers=without("beijing-2"))
    chain = ChainObservation(network="beijing", quorum=1, nodes=(node(facts=facts),), complete=False)
    assert codes(Observation(chains=(chain,))) == [("peers_missing", "warning", "beijing-1")]


def test_relays_and_blind_spots() -> None:
    assert [code for code, _, _ in codes(observation(relays_down=("relay",), unseen=("regions",)))] == [
        "relay_down",
        "not_observed",
    ]


def test_nothing_in_the_catalogue_is_unprovoked() -> None:
    """By the codes that the tests of this module expect; they may have run in another process."""
    text = Path(__file__).read_text(encoding="utf-8")
    regions = {f"region_{state}" for state in REGION_STATES}
    assert {code for code in OF_NETWORKS if f'"{code}"' not in text} == regions


def of_five(name: str) -> NodeFacts:
    """A healthy member of a set of five, whose fifth one network.json does not list."""
    names = [*NAMES, FIFTH]
    return msgspec.structs.replace(
        healthy_facts(name),
        quorum=4,
        validators=[(member, f"of-{member}") for member in names],
        peers=[healthy_peer(peer) for peer in names if peer != name],
    )


def test_members_that_the_network_does_not_list_are_said_not_to_be_asked_and_the_quorum_is_the_present_sets() -> None:
    five = [node(name, of_five(name)) for name in NAMES]
    assert codes(observation(*five)) == [("not_observed", "warning", FIFTH)]
    down = [NodeObservation(name=name, running=False) for name in NAMES[:2]]
    said = [finding for finding in found(observation(*down, *five[2:])) if finding.code == "no_quorum"]
    assert [finding.detail for finding in said] == [
        "2 of 5 validators answer, 4 are needed; missing: beijing-1, beijing-2"
    ]


def test_observers_count_for_no_quorum() -> None:
    watcher = node(FIFTH, msgspec.structs.replace(healthy_facts(NAMES[0]), name=FIFTH, member=None, voting=False))
    down = [NodeObservation(name=name, running=False) for name in NAMES[:2]]
    members = [node(name) for name in NAMES[2:]]
    chain = ChainObservation(network="beijing", quorum=3, nodes=(*down, *members, watcher))
    said = [finding.detail for finding in found(Observation(chains=(chain,))) if finding.code == "no_quorum"]
    assert said == ["2 of 4 validators answer, 3 are needed; missing: beijing-1, beijing-2"]
