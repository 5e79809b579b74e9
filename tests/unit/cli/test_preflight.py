"""Pre-flight rules: every reason against a restart or a change of validators is provoked; a healthy chain has none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cli.preflight.certificates import CertifiedNode, forecast
from cli.preflight.observe import ChainView, NodeView
from cli.preflight.rules import membership_findings, restart_findings
from common.core.validators import Validator, ValidatorSet
from tests.unit.node.toy import SUITE, key_of

NAMES = [f"beijing-{number}" for number in range(1, 5)]


def member(name: str, organisation: str = "", key: str = "") -> Validator:
    return Validator(name, organisation or f"of {name}", key_of(key or name))


def node(name: str, **changes: Any) -> NodeView:
    others = tuple(other for other in NAMES if other != name)
    view = NodeView(
        name=name,
        height=100,
        ready=True,
        voting=True,
        member=name if name in NAMES else None,
        peers=others,
        supported_versions=(1, 2),
        node_version="0.1.0",
    )
    return replace(view, **changes)


def chain(*changed: NodeView, **changes: Any) -> ChainView:
    """Four healthy nodes, some of them replaced or added."""
    by_name = {name: node(name) for name in NAMES} | {view.name: view for view in changed}
    view = ChainView(
        network="beijing",
        suite=SUITE,
        nodes=tuple(by_name.values()),
        validators=ValidatorSet(tuple(member(name) for name in NAMES)),
        height=100,
        protocol_version=1,
        scheduled_version=None,
        scheduled_set=None,
        max_seats=None,
    )
    return replace(view, **changes)


def faults(findings: list[Any]) -> set[str]:
    return {finding.code for finding in findings if finding.severity == "fault"}


def test_any_node_of_a_healthy_chain_may_be_restarted() -> None:
    assert restart_findings(chain(), None) == []
    assert all(restart_findings(chain(), name) == [] for name in NAMES)


@pytest.mark.parametrize(
    ("broken", "codes"),
    [
        (node("beijing-3", height=None, ready=False, voting=False), {"node_not_answering", "quorum_lost_without"}),
        (node("beijing-3", height=90), {"node_behind", "quorum_lost_without"}),
        (node("beijing-3", ready=False), {"not_ready", "quorum_lost_without"}),
        (node("beijing-3", voting=False), {"not_voting", "quorum_lost_without"}),
        (node("beijing-3", peers=("beijing-1",)), {"peers_missing"}),
        (node("beijing-3", view=2), {"view_churn"}),
        (node("beijing-3", supported_versions=(2,)), {"protocol_version_unsupported"}),
    ],
)
def test_c19_a_second_node_is_not_restarted_while_another_is_not_well(broken: NodeView, codes: set[str]) -> None:
    assert faults(restart_findings(chain(broken), "beijing-1")) == codes


def test_the_broken_node_itself_may_be_restarted() -> None:
    broken = node("beijing-3", height=None, ready=False, voting=False)
    assert restart_findings(chain(broken), "beijing-3") == []
    assert "node_not_answering" in faults(restart_findings(chain(broken), None))


def test_c19_versions_that_become_active_must_be_supported_by_every_node() -> None:
    old = node("beijing-2", supported_versions=(1,))
    assert restart_findings(chain(old), "beijing-1") == []
    assert faults(restart_findings(chain(old), "beijing-1", 2)) == {"protocol_version_unsupported"}
    assert faults(restart_findings(chain(old, scheduled_version=(900, 2)), None)) == {"protocol_version_unsupported"}


def test_a_chain_of_three_may_lose_one_and_a_chain_of_two_none() -> None:
    for size, codes in ((3, set()), (2, {"quorum_lost_without"})):
        names = NAMES[:size]
        views = tuple(node(name, peers=tuple(n for n in names if n != name)) for name in names)
        small = replace(chain(), nodes=views, validators=ValidatorSet(tuple(member(name) for name in names)))
        assert faults(restart_findings(small, names[0])) == codes


def following(*members: Validator) -> ValidatorSet:
    return ValidatorSet(members)


PRESENT = [member(name) for name in NAMES]
NEW = member("beijing-5")
ARRIVED = node("beijing-5", voting=False)


@pytest.mark.parametrize(
    ("members", "view", "codes"),
    [
        ([*PRESENT, NEW], chain(ARRIVED), set()),
        ([*PRESENT, NEW], chain(), set()),
        (PRESENT[:3], chain(), set()),
        ([member("beijing-1", key="rotated"), *PRESENT[1:]], chain(), set()),
        (
            [member("beijing-1", key="rotated"), *PRESENT[1:]],
            chain(node("beijing-2", voting=False)),
            {"quorum_lost"},
        ),
        ([*PRESENT, NEW], chain(node("beijing-2", height=None, ready=False, voting=False)), {"quorum_lost"}),
        ([*PRESENT[:2], NEW, member("beijing-6")], chain(ARRIVED), {"validators_quorum_at_risk"}),
        ([*PRESENT, NEW], chain(ARRIVED, scheduled_set=(150, following(*PRESENT[:3]))), {"change_pending"}),
        (
            [*PRESENT, member("beijing-5", organisation="of beijing-1")],
            chain(ARRIVED, max_seats=1),
            {"validators_seats_exceeded"},
        ),
    ],
)
def test_changes_that_would_stop_the_chain_are_found(
    members: list[Validator], view: ChainView, codes: set[str]
) -> None:
    assert faults(membership_findings(view, following(*members), 150, None)) == codes


def test_what_is_no_fault_is_still_said() -> None:
    one = member("beijing-5", organisation="of beijing-1")
    findings = membership_findings(chain(), following(*PRESENT, one), 150, None)
    assert {finding.code for finding in findings} == {"newcomer_not_level", "organisation_concentrated"}
    dead = chain(node("beijing-4", height=None, ready=False, voting=False))
    assert [finding.code for finding in membership_findings(dead, following(*PRESENT[:3]), 150, None)] == []
    needed = membership_findings(
        chain(ARRIVED, node("beijing-4", height=None, ready=False, voting=False)),
        following(*PRESENT, NEW),
        150,
        None,
    )
    assert {finding.code for finding in needed} == {"member_not_live", "newcomers_needed"}


def test_a_change_leaves_time_and_replaces_by_name() -> None:
    assert faults(membership_findings(chain(), following(*PRESENT[:3]), 105, None)) == {"effective_height_out_of_range"}
    waiting = chain(scheduled_set=(150, following(*PRESENT[:3])))
    assert membership_findings(waiting, following(*PRESENT), 200, 150) == []


def test_expiring_certificates_are_forecast_with_what_they_do_to_the_quorum() -> None:
    def nodes(*days: int | None) -> list[CertifiedNode]:
        return [CertifiedNode(chain="beijing", name=f"n{at}", days_left=left) for at, left in enumerate(days)]

    assert forecast(nodes(90, 90, 90, 90), {"beijing": 3}, 60) == []
    assert [reason.code for reason in forecast(nodes(90, 90, 90, 59), {"beijing": 3}, 60)] == ["certificate_expiring"]
    found = forecast(nodes(90, 90, None, -1), {"beijing": 3}, 60)
    assert [(reason.code, reason.about) for reason in found] == [
        ("certificates_endanger_quorum", "beijing"),
        ("certificate_expiring", "n2"),
        ("certificate_expiring", "n3"),
    ]
