"""Validator sets and protocol versions that governance schedules: rules, their height, nodes that follow."""

from __future__ import annotations

from typing import Any

import pytest

from common.chain.application import BlockContext, OverlayView
from common.chain.schedule import (
    MAX_LEAD_BLOCKS,
    Activation,
    ScheduledSet,
    activations,
    check_genesis_seats,
    protocol_version,
    schedule_protocol,
    schedule_validators,
    scheduled_set,
    take_due_set,
)
from common.core.errors import Rejected
from common.core.genesis import Genesis, build_genesis
from common.core.membership import check_succession, concentrated
from common.core.validators import Validator, ValidatorSet
from tests.support.dict_state import DictState
from tests.unit.node.bus import Bus, Machine, names_of
from tests.unit.node.toy import SUITE, key_of, make_envelope, make_genesis, transfer, validator_set


def context(height: int, *, size: int = 4, version: int = 1, genesis: Genesis | None = None) -> BlockContext:
    """A block of a toy chain of node-0 ... node-<size - 1>."""
    genesis = genesis or make_genesis(names_of(size))
    return BlockContext(
        genesis.network, height, genesis.time_ms + height, genesis, genesis.validators, version, genesis.parameters
    )


def named(*numbers: int) -> ValidatorSet:
    return validator_set([f"node-{number}" for number in numbers])


def refusal(call: Any, *arguments: Any) -> str:
    with pytest.raises(Rejected) as caught:
        call(*arguments)
    return caught.value.code


# -- the rules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("present", "following", "refused"),
    [
        ((0, 1, 2, 3), (0, 1, 2, 3, 4), False),
        ((0, 1, 2, 3), (0, 1, 2), False),
        ((0, 1, 2, 3), (0, 1, 2, 4), False),
        ((0, 1, 2, 3), (0, 1, 4, 5), True),
        ((0, 1, 2, 3), (0, 1, 2, 3, 4, 5), False),
        ((0, 1, 2, 3), (0, 1, 2, 3, 4, 5, 6), True),
        ((0, 1, 2, 3, 4, 5, 6), (0, 1, 2, 3, 4, 7, 8), False),
        ((0, 1, 2, 3, 4, 5, 6), (0, 1, 2, 3, 7, 8, 9), True),
        ((0,), (0, 1), False),
        ((0,), (1,), False),
        ((0,), (0, 1, 2), True),
        ((0, 1), (0, 2), False),
        ((0, 1), (2, 3), True),
    ],
)
def test_c9_newcomers_alone_never_decide_whether_a_chain_lives(
    present: tuple[int, ...], following: tuple[int, ...], refused: bool
) -> None:
    if refused:
        assert refusal(check_succession, named(*present), named(*following)) == "validators_quorum_at_risk"
    else:
        check_succession(named(*present), named(*following))


def test_a_new_key_under_an_old_name_is_a_newcomer() -> None:
    present = named(0, 1, 2, 3)
    rotated = [Validator(m.name, m.organisation, key_of(f"new {m.name}")) for m in present.members]
    check_succession(present, ValidatorSet((rotated[0], *present.members[1:])))
    assert refusal(check_succession, present, ValidatorSet((*rotated[:2], *present.members[2:]))) == (
        "validators_quorum_at_risk"
    )


def test_organisations_with_more_than_f_seats_are_found_and_refused_where_genesis_says_so() -> None:
    def seats(*counts: int) -> ValidatorSet:
        names = [f"org{at}-{number}" for at, count in enumerate(counts) for number in range(count)]
        return ValidatorSet(tuple(Validator(name, name.split("-")[0], key_of(name)) for name in names))

    assert concentrated(seats(1, 1, 1, 1)) == {}
    assert concentrated(seats(2, 1, 1)) == {"org0": 2}
    assert concentrated(seats(2, 2, 3)) == {"org2": 3}
    assert concentrated(seats(1)) == {}
    assert concentrated(seats(2, 1)) == {"org0": 2}
    base = make_genesis(names_of(4))

    def limited(validators: ValidatorSet, limit: Any) -> Genesis:
        return build_genesis(
            network="toytown",
            tier="business",
            suite=SUITE,
            time_ms=base.time_ms,
            validators=validators,
            application={**base.application, "max_seats_per_organisation": limit},
        )

    check_genesis_seats(limited(seats(2, 1, 1), 2))
    for broken in (limited(seats(2, 1, 1), 1), limited(seats(1), 0), limited(seats(1), "many")):
        assert refusal(check_genesis_seats, broken) == "genesis_application"
    here = context(5, genesis=limited(seats(2, 1, 1), 2))
    grown = ValidatorSet((*here.validators.members, Validator("org0-2", "org0", key_of("org0-2"))))
    assert refusal(schedule_validators, OverlayView(DictState()), here, grown, 9, None) == "validators_seats_exceeded"


def test_a_change_takes_effect_at_its_height_and_leaves_the_schedule() -> None:
    state = OverlayView(DictState())
    assert refusal(schedule_validators, state, context(5), named(0, 1, 2), 5, None) == "effective_height_out_of_range"
    late = 5 + MAX_LEAD_BLOCKS
    assert refusal(schedule_validators, state, context(5), named(0, 1, 2), late + 1, None) == (
        "effective_height_out_of_range"
    )
    schedule_validators(state, context(5), named(0, 1, 2), late, None)
    schedule_validators(state, context(5), named(0, 1, 2), 8, late)
    assert take_due_set(state, context(6)) == named(0, 1, 2, 3)
    assert scheduled_set(state, SUITE) == ScheduledSet(8, named(0, 1, 2))
    assert take_due_set(state, context(7)) == named(0, 1, 2)
    assert scheduled_set(state, SUITE) is None


def test_a_second_change_replaces_the_first_by_name_or_is_refused() -> None:
    state = OverlayView(DictState())
    schedule_validators(state, context(5), named(0, 1, 2), 8, None)
    assert refusal(schedule_validators, state, context(6), named(0, 1, 2, 3, 4), 9, None) == "change_pending"
    assert refusal(schedule_validators, state, context(6), named(0, 1, 2, 3, 4), 9, 7) == "change_not_pending"
    schedule_validators(state, context(6), named(0, 1, 2, 3, 4), 9, 8)
    assert scheduled_set(state, SUITE) == ScheduledSet(9, named(0, 1, 2, 3, 4))
    schedule_validators(state, context(6), named(0, 1, 2, 3), 9, 9)
    assert scheduled_set(state, SUITE) is None


def test_a_change_that_changes_nothing_is_refused() -> None:
    state = OverlayView(DictState())
    assert refusal(schedule_validators, state, context(9), named(0, 1, 2, 3), 12, None) == "validators_unchanged"


def test_c19_versions_follow_each_other_and_none_comes_back() -> None:
    state, genesis = OverlayView(DictState()), make_genesis(names_of(4))
    for version in (0, 1, 3, 65_535):
        assert refusal(schedule_protocol, state, context(5), version, 9, None) == "protocol_version_not_next"
    assert refusal(schedule_protocol, state, context(5), 2, 5, None) == "effective_height_out_of_range"
    schedule_protocol(state, context(5), 2, 9, None)
    assert refusal(schedule_protocol, state, context(6), 2, 12, None) == "change_pending"
    schedule_protocol(state, context(6), 2, 12, 9)
    assert [protocol_version(state, genesis, height) for height in (9, 11, 12, 13)] == [1, 1, 2, 2]
    schedule_protocol(state, context(7), 1, 12, 12)
    assert activations(state) == []
    schedule_protocol(state, context(7), 2, 9, None)
    schedule_protocol(state, context(9, version=2), 3, 20, None)
    assert activations(state) == [Activation(9, 2), Activation(20, 3)]
    assert refusal(schedule_protocol, state, context(10, version=2), 1, 20, 20) == "protocol_version_not_next"
    schedule_protocol(state, context(10, version=2), 2, 20, 20)
    assert activations(state) == [Activation(9, 2)]


# -- whole nodes -----------------------------------------------------------------------------------------------------


def council(members: int, spare: int = 0, **parameters: int) -> Bus:
    """A chain of `members` validators, and nodes that are none yet."""
    names = names_of(members + spare)
    bus = Bus(make_genesis(names[:members], **parameters), names)
    bus.start()
    return bus


def change(bus: Bus, nonce: str, numbers: tuple[int, ...], effective_height: int) -> bytes:
    operation = {
        "type": "toy.validators",
        "names": [f"node-{number}" for number in numbers],
        "effective_height": effective_height,
    }
    return make_envelope(bus.genesis, nonce, [operation])


def signed_by(machine: Machine, height: int) -> set[str]:
    """Who signed a block, by the set that its parent committed."""
    members = machine.chain.validators(height).members
    return {members[index].name for index, _ in machine.chain.certificate(height).signatures}


def assert_one_chain(bus: Bus) -> None:
    reference = max(bus.machines.values(), key=lambda machine: machine.height)
    for machine in bus.machines.values():
        assert machine.chain.tip().block_id == reference.chain.block_id(machine.height)
        assert not machine.accusations
        assert not machine.disconnects


def test_c9_every_header_commits_the_scheduled_set_at_its_height_and_no_earlier() -> None:
    bus = council(4, spare=1)
    bus.submit("node-0", change(bus, "grow", (0, 1, 2, 3, 4), 6))
    bus.run_to_height(9, limit_ms=200_000)
    chain = bus.machines["node-4"].chain
    grown, original = named(0, 1, 2, 3, 4).hash(SUITE), named(0, 1, 2, 3).hash(SUITE)
    for height in range(1, 10):
        header = chain.header(height)
        assert header.validators_hash == (grown if height >= 6 else original)
        assert header.next_validators_hash == (grown if height >= 5 else original)
        assert signed_by(bus.machines["node-0"], height) <= {member.name for member in chain.validators(height).members}
    assert any("node-4" in signed_by(bus.machines["node-0"], height) for height in range(6, 10))
    assert_one_chain(bus)


def test_c9_an_observer_takes_no_transactions_that_nobody_would_take_from_it() -> None:
    bus = council(4, spare=1)
    envelope = transfer(bus.genesis, "to the observer")
    assert refusal(bus.submit, "node-4", envelope) == "not_a_validator"
    bus.submit("node-0", change(bus, "grow", (0, 1, 2, 3, 4), 4))
    bus.run_to_height(3, limit_ms=200_000)
    assert bus.submit("node-4", envelope) == "pending"
    bus.run_to_height(5, limit_ms=200_000)
    assert bus.machines["node-0"].chain.state_get(b"balance/alice") == b"1"


def activate(bus: Bus, version: int, height: int) -> bytes:
    return make_envelope(bus.genesis, f"to {version}", [{"type": "toy.protocol", "version": version, "height": height}])


def test_c19_a_node_that_does_not_know_the_next_version_halts_before_it_and_comes_back_upgraded() -> None:
    bus = council(4)
    old = bus.machines["node-2"]
    bus.kill("node-2")
    old.supported_versions = (1,)
    bus.start("node-2")
    bus.submit("node-0", activate(bus, 2, 5))
    others = ["node-0", "node-1", "node-3"]
    bus.run_to_height(8, limit_ms=300_000, names=others)
    assert [(halt.code, old.height) for halt in old.halts] == [("protocol_version_unsupported", 4)]
    assert "install a version that supports it" in old.halts[0].detail
    chain = bus.machines["node-0"].chain
    assert [chain.header(height).protocol_version for height in range(1, 9)] == [1] * 4 + [2] * 4
    old.supported_versions = (1, 2)
    bus.start("node-2")
    bus.run_to_height(9, limit_ms=200_000)
    assert_one_chain(bus)


def test_c19_a_chain_whose_nodes_are_not_upgraded_stops_and_never_forks() -> None:
    bus = council(4)
    for machine in bus.machines.values():
        machine.supported_versions = (1,)
    for name in bus.machines:
        bus.kill(name)
    bus.machines["node-0"].supported_versions = (1, 2)
    bus.start()
    bus.submit("node-0", activate(bus, 2, 5))
    bus.pass_time(300_000)
    assert [machine.height for machine in bus.machines.values()] == [4] * 4
    for name in ("node-1", "node-2", "node-3"):
        assert bus.machines[name].halts
        bus.machines[name].supported_versions = (1, 2)
    bus.start("node-1", "node-2", "node-3")
    bus.run_to_height(7, limit_ms=300_000)
    assert_one_chain(bus)
