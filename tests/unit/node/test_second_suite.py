"""A chain whose suite has other sizes of keys and signatures needs no other format, from a vote to an evidence file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.core import suite as suites
from common.core.block import Block
from common.core.certificate import Certificate, verify_certificate
from common.core.errors import CertificateInvalid, InvariantBroken
from common.core.genesis import Genesis, parse_genesis
from common.core.suite import ED25519_SHA256, register_suite, suite_named
from common.core.transaction import parse_envelope
from common.core.validators import ValidatorSet
from common.node.peer.hello import ChannelBinding, ChannelIdentity, ChannelRole, Side, make_hello, verify_hello
from crosslink.lightclient.evidence_check import verify_evidence_file
from crosslink.lightclient.trust import parse_trust_file
from tests.support.evidence import evidence_case
from tests.support.wide_suite import WIDE
from tests.unit.node import toy
from tests.unit.node.bus import Bus, names_of
from tests.unit.node.toy import make_genesis, transfer

PRODUCT = ("common", "business_chain", "custody_chain", "crosslink", "cli")
ALGORITHM_FILES = {"common/core/suite.py", "common/node/keys.py"}
ROOT = Path(__file__).parents[3]


@pytest.fixture
def genesis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Genesis]:
    """A toy chain under the wide suite, which this software knows meanwhile."""
    register_suite(WIDE)
    monkeypatch.setattr(toy, "SUITE", WIDE)
    yield make_genesis(names_of(4))
    del suites._SUITES[WIDE.name]


def test_a_network_agrees_changes_view_and_serves_blocks(genesis: Genesis) -> None:
    loaded = parse_genesis(genesis.document)
    assert (loaded.id, loaded.suite) == (genesis.id, WIDE)
    bus = Bus(genesis, names_of(4))
    bus.start()
    bus.submit("node-0", transfer(genesis, "n0", 5))
    bus.run(lambda: all(machine.height >= 1 for machine in bus.machines.values()))
    bus.kill(f"node-{(bus.machines['node-0'].height + 1) % 4}")
    alive = [machine for machine in bus.machines.values() if machine.node is not None]
    bus.submit(alive[0].name, transfer(genesis, "n1", 5))
    bus.run(lambda: all(machine.chain.state_get(b"balance/alice") == b"10" for machine in alive))
    assert len({machine.chain.tip().state_root for machine in alive}) == 1
    chain = alive[0].chain
    for height in range(1, chain.tip().height + 1):
        block, certificate = chain.block(height), chain.certificate(height)
        assert Block.decode(block.encode()) == block
        assert Certificate.decode(certificate.encode()) == certificate
        assert {len(signature) for _, signature in certificate.signatures} == {70}
        validators = ValidatorSet.decode(chain.validators(height).encode())
        verify_certificate(WIDE, validators, block.header, certificate)
        with pytest.raises(CertificateInvalid):
            verify_certificate(ED25519_SHA256, validators, block.header, certificate)
        for envelope in block.envelopes:
            assert parse_envelope(envelope, WIDE).signers[0].startswith("wide:04")
    assert max(chain.certificate(height).view for height in range(1, chain.tip().height + 1)) > 0


def test_hellos_carry_keys_and_signatures_of_any_size(genesis: Genesis) -> None:
    identities = [
        ChannelIdentity(WIDE, genesis.id, genesis.network, toy.seed_of(name), toy.key_of(name)) for name in ("a", "b")
    ]
    hello = make_hello(identities[0], ChannelBinding(Side.DIALLER, b"one", b"other"), ChannelRole.VALIDATOR, 1_000)
    known = verify_hello(hello, identities[1], ChannelBinding(Side.LISTENER, b"other", b"one"), 1_000)
    assert (len(known.public_key), len(known.signature)) == (65, 70)


@pytest.mark.usefixtures("genesis")
def test_evidence_files_are_verified_under_the_suite_that_the_trust_root_names() -> None:
    case = evidence_case(suite=WIDE)
    findings = verify_evidence_file(case.evidence.encode(), parse_trust_file(case.trust.encode()))
    assert findings.height == case.custody.height
    assert findings.snapshot is not None


@pytest.mark.usefixtures("genesis")
def test_a_suite_is_known_by_one_name() -> None:
    assert suite_named(WIDE.name) is WIDE
    with pytest.raises(InvariantBroken):
        register_suite(WIDE)


def test_nothing_but_the_suite_and_key_files_names_an_algorithm() -> None:
    """Identifiers and texts; the default suite goes by its role (`DEFAULT_SUITE`)."""
    named = {
        str(path.relative_to(ROOT))
        for folder in PRODUCT
        for path in (ROOT / folder).rglob("*.py")
        if re.search("ed25519|sm2", path.read_text(encoding="utf-8"), re.IGNORECASE)
    }
    assert named == ALGORITHM_FILES
