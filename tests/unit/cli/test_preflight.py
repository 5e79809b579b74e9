"""Pre-flight rules: every reason against a restart or a change of validators is provoked; a healthy chain has none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.core.validators import Validator, ValidatorSet
from common.node.diagnosis.catalogue import OF_CHANGES
from common.node.diagnosis.certificate_forecast import CertifiedNode, forecast
from common.node.diagnosis.chain_view import ChainView, NodeView
from common.node.diagnosis.change_rules import membership_findings, restart_findings
from tests.unit.node.toy import SUITE, key_of

NAMES = [f"beijing-{number}" for number in range(1, 5)]


def member(name: str, organisation: str = "", key: str = "") -> Validator:
    return Validator(name, organisation or f"of-{name}", key_of(key or name))


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
            [*PRESENT, member("beijing-5", organisation="of-beijing-1")],
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
    one = member("beijing-5", organisation="of-beijing-1")
    findings = membership_findings(chain(), following(*PRESENT, one), 150, None)
    assert {finding.code for finding in findings} == {"newcomer_not_level", "organisation_concentrated"}
    dead = chain(node("beijing-4", height=None, ready=False, voting=False))
    found = membership_findings(dead, following(*PRESENT[:3]), 150, None)
    assert [(finding.code, finding.severity) for finding in found] == [("tolerance_lost", "warning")]
    needed = membership_findings(
        chain(ARRIVED, node("beijing-4", height=None, ready=False, voting=False)),
        following(*PRESENT, NEW),
        150,
        None,
    )
    assert {finding.code for finding in needed} == {"member_not_live", "newcomers_needed"}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (4, 3, "0 instead of 1 may act against the protocol, 1 instead of 1 may be away"),
        (4, 1, "one member alone decides"),
        (3, 1, "0 instead of 1 may be away"),
        (2, 1, "one member alone decides"),
        (7, 6, "1 instead of 2 may act against the protocol"),
        (5, 4, None),
        (4, 4, None),
        (3, 4, None),
    ],
)
def test_a_set_that_bears_less_is_said(before: int, after: int, said: str | None) -> None:
    members = [member(f"beijing-{number}") for number in range(1, 9)]
    views = tuple(node(item.name, member=item.name) for item in members)
    present = chain(nodes=views, validators=following(*members[:before]))
    found = membership_findings(present, following(*members[:after]), 150, None)
    told = [finding.detail for finding in found if finding.code == "tolerance_lost"]
    assert len(told) == (said is not None)
    assert said is None or said in told[0]


FIVE = [*PRESENT, NEW]


def test_members_that_were_not_asked_are_named_and_never_counted_as_silent() -> None:
    """network.json lists four of five members: one that was added by hand is unknown, not dead."""
    unlisted = chain(validators=following(*FIVE))
    found = restart_findings(unlisted, "beijing-1")
    assert [(finding.code, finding.severity, finding.about) for finding in found] == [
        ("member_not_asked", "fault", "beijing-5")
    ]
    asked = chain(node("beijing-5", member="beijing-5"), validators=following(*FIVE))
    assert restart_findings(asked, "beijing-1") == []
    six = following(*FIVE, member("beijing-6"))
    enough = chain(node("beijing-5", member="beijing-5"), validators=six)
    assert [finding.severity for finding in restart_findings(enough, "beijing-1")] == ["warning"]
    dead = chain(node("beijing-2", height=None, ready=False, voting=False), validators=following(*FIVE))
    assert "quorum_lost_without" in faults(restart_findings(dead, "beijing-1"))

    planned = membership_findings(unlisted, following(*PRESENT[1:], NEW), 150, None)
    codes = {finding.code: finding.severity for finding in planned}
    assert codes["member_not_asked"] == "warning"
    assert not {"member_not_live", "quorum_lost"} & codes.keys()
    hangs = membership_findings(unlisted, following(*PRESENT[:2], NEW), 150, None)
    assert {finding.code for finding in hangs} == {"tolerance_lost", "member_not_asked"}
    assert faults(membership_findings(unlisted, following(PRESENT[0], NEW), 150, None)) == {"member_not_asked"}


def test_a_node_that_does_not_answer_at_its_url_is_not_one_that_was_not_asked() -> None:
    others = [node(name) for name in NAMES[:3]]
    dark = NodeView(name="host:9443", error="refused")
    view = replace(chain(), nodes=(*others, dark))
    assert view.not_asked == ()
    assert faults(restart_findings(view, "beijing-1")) == {"node_not_answering", "quorum_lost_without"}
    assert restart_findings(view, "host:9443") == []
    assert replace(view, validators=following(*FIVE)).not_asked == ("beijing-4", "beijing-5")


def test_a_newcomer_is_known_by_its_key_or_by_the_name_that_it_gives_itself() -> None:
    key = SUITE.format_key(NEW.public_key)

    def not_level(*views: NodeView) -> list[str]:
        found = membership_findings(chain(*views), following(*FIVE), 150, None)
        return [finding.detail for finding in found if finding.code == "newcomer_not_level"]

    assert not_level(node("elsewhere:9443", voting=False, public_key=key)) == []
    assert not_level(node("beijing-5", voting=False)) == []
    assert not_level(node("beijing-5", voting=False, public_key="ed25519:other")) == ["it runs with another key still"]
    assert not_level(node("beijing-5", voting=False, height=60, public_key=key)) == ["height 60 of 100"]
    assert "not asked" in not_level()[0]


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


def test_nothing_in_the_catalogue_of_changes_is_unprovoked() -> None:
    """By the codes that the tests of this module expect; they may have run in another process."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert {code for code in OF_CHANGES if f'"{code}"' not in text} == set()
