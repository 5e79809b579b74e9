"""Founding a local network: complete, never over existing keys, refused with a reason."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from cli.localnet.initialise import Plan, initialise
from cli.localnet.layout import LocalNetwork, load_network
from common.core.errors import Conflict, Malformed, NotFound
from common.core.genesis import parse_genesis
from common.node.access import TokenStore
from common.node.settings import load_settings
from crosslink.lightclient.trust import parse_trust_file
from tests.support.refusals import refused

NOW_MS = 1_800_000_000_000


def found(directory: Path, **options: Any) -> LocalNetwork:
    plan = Plan(directory=directory, regions=("beijing", "shenzhen"), **options)
    return initialise(plan, now_ms=NOW_MS, progress=lambda text: None)


def test_network_file_lists_what_the_contract_promises(tmp_path: Path) -> None:
    found(tmp_path / "net")
    document = json.loads((tmp_path / "net" / "network.json").read_text())
    assert [chain["network_id"] for chain in document["chains"]] == ["custody", "beijing", "shenzhen"]
    for chain in document["chains"]:
        assert len(chain["validators"]) == 4
        for node in chain["nodes"]:
            assert {"name", "api", "config", "data_dir", "log", "pid"} <= node.keys()
            assert Path(node["config"]).is_file()
    expected = {
        "beijing-operator",
        "beijing-reader",
        "relay",
        "relay-reader",
        "supervisor",
        "governance-1",
        "governance-2",
    }
    assert expected <= document["credentials"].keys()
    for credential in document["credentials"].values():
        for file in (credential["key_file"], credential["token_file"]):
            assert file is None or stat.S_IMODE(Path(file).stat().st_mode) == 0o600
    assert Path(document["ca_file"]).is_file()
    assert Path(document["trust_file"]).is_file()


def test_the_relays_token_opens_its_own_status_too(tmp_path: Path) -> None:
    network = found(tmp_path / "net")
    for place in ("relay", "custody"):
        tokens = TokenStore(tmp_path / "net" / place / "tokens.json")
        assert tokens.knows(f"Bearer {network.token('relay')}".encode())
        assert not tokens.knows(f"Bearer {network.token('beijing-operator')}".encode())


def test_every_settings_file_loads_and_names_a_validator_of_its_genesis(tmp_path: Path) -> None:
    network = found(tmp_path / "net")
    ports = set()
    for chain in network.chains:
        genesis = parse_genesis(chain.genesis_file.read_bytes())
        names = {member.name for member in genesis.validators.members}
        for node in chain.nodes:
            settings = load_settings(node.config)
            assert settings.name in names
            assert {peer.name for peer in settings.peers} == names - {settings.name}
            ports |= {settings.api.port, settings.peer.port}
    assert len(ports) == 2 * 3 * 4


def test_the_custody_genesis_holds_the_regions_roots_and_the_trust_file_all(tmp_path: Path) -> None:
    network = found(tmp_path / "net")
    trust = parse_trust_file(network.trust_file.read_bytes())
    assert [root.network for root in trust.roots] == ["custody", "beijing", "shenzhen"]
    custody = parse_genesis(network.chain("custody").genesis_file.read_bytes())
    roots = {region["network"]: region["genesis_id"] for region in custody.application["regions"]}
    assert roots == {chain.network_id: chain.genesis_id for chain in network.regions()}


def test_keys_are_never_written_over(tmp_path: Path) -> None:
    network = found(tmp_path / "net")
    before = network.key_file("relay").read_bytes()
    with refused("directory_in_use", Conflict):
        found(tmp_path / "net")
    assert network.key_file("relay").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"regions": ("atlantis",)}, "unknown_region"),
        ({"regions": ()}, "regions"),
        ({"regions": ("beijing", "beijing")}, "regions"),
        ({"regions": ("beijing",), "validators": 1}, "validators"),
        ({"regions": ("beijing",), "base_port": 65_500}, "base_port"),
    ],
)
def test_unusable_plans_are_refused(tmp_path: Path, options: dict[str, Any], code: str) -> None:
    with refused(code, Malformed):
        Plan(directory=tmp_path, **options)


def test_containers_reach_each_other_by_name_and_keep_data_apart_from_keys(tmp_path: Path) -> None:
    network = found(tmp_path / "net", containers=True)
    for node in network.chain("beijing").nodes:
        text = node.config.read_text()
        assert 'host = "0.0.0.0"' in text
        assert 'data_dir = "/var/lib/tongjian"' in text
    assert "https://beijing-1:8443" in network.relays[0].config.read_text()


def test_a_missing_or_foreign_network_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="localnet init"):
        load_network(tmp_path)
    (tmp_path / "network.json").write_text('{"format": "else"}')
    with pytest.raises(Malformed):
        load_network(tmp_path)
