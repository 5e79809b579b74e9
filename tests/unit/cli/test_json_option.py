"""Every command that prints data takes --json and then prints one JSON document on standard output."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from business_chain.main import application_for
from cli.main import main
from common.node.genesis_file import read_genesis
from common.node.settings import load_settings
from common.node.startup import open_data

WITHOUT_DATA = {
    "demo",
    "localnet up",
    "localnet down",
    "localnet stop",
    "localnet kill",
    "localnet start",
    "node run",
    "node join",
    "relay run",
    "token revoke",
}
"""Commands that run or disturb something and say in a line that it is done."""


def commands(group: click.Group = main, name: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for part in group.list_commands(context):
        command = group.get_command(context, part)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{name}{part} ")
        else:
            yield f"{name}{part}", command


def test_every_command_that_prints_data_takes_json() -> None:
    without = {
        name for name, command in commands() if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert without == WITHOUT_DATA


def run(*arguments: str | Path, text: str | None = None) -> Any:
    """What a command prints with --json."""
    result = CliRunner().invoke(main, [*map(str, arguments), "--json"], input=text)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small local network, founded by the command."""
    directory = tmp_path_factory.mktemp("json") / "net"
    made = run("localnet", "init", directory, "--regions", "beijing", "--validators", "2", "--base-port", "29000")
    assert made["made"] is True
    assert made["network_file"] == str(directory / "network.json")
    assert [chain["network_id"] for chain in made["chains"]] == ["custody", "beijing"]
    assert made["chains"][1]["nodes"] == ["beijing-1", "beijing-2"]
    assert len(made["relays"]) == 1
    assert run("localnet", "init", directory, "--if-absent") == {**made, "made": False}
    return directory


def test_a_node_that_was_added(network: Path) -> None:
    added = run("localnet", "add", network, "beijing")
    assert added["name"] == "beijing-3"
    public = json.loads(Path(added["public_file"]).read_text())
    assert (public["name"], public["public_key"]) == (added["name"], added["public_key"])


def test_certificates(network: Path, tmp_path: Path) -> None:
    ca = ("--ca", network / "ca")
    issued = run("cert", "issue", tmp_path, *ca, "--name", "relay-9", "--organisation", "one", "--host", "127.0.0.1")
    (listed,) = run("cert", "list", tmp_path)
    assert issued == listed
    rotated = run("cert", "rotate", tmp_path, *ca)
    assert rotated.keys() == issued.keys()
    assert rotated["hosts"] == ["127.0.0.1"]
    assert rotated["fingerprint"] != issued["fingerprint"]
    assert run("cert", "list", tmp_path) == [rotated]


def test_a_transaction_on_its_way(network: Path, tmp_path: Path) -> None:
    key = json.loads((network / "network.json").read_text())["credentials"]["beijing-operator"]["key_file"]
    operation = {"type": "validators.change", "reason": "r", "effective_height": 9}
    settled = ("--network", "beijing", "--genesis", "11" * 32, "--expires-at-height", "900", "--nonce", "n")
    other = "ed25519:" + run("key", "generate", tmp_path / "other.key", "--unencrypted")["public_key"].split(":")[1]
    signed = run("tx", "sign", "-", "--key", key, "--signer", other, *settled, text=json.dumps(operation))
    shown = run("tx", "show", "-", text=json.dumps(signed))
    assert (shown["network"], shown["nonce"], shown["expires_at_height"]) == ("beijing", "n", 900)
    assert [signer["signed"] for signer in shown["signers"]] == [True, False]
    assert (shown["complete"], shown["operations"]) == (False, [operation])
    copy = tmp_path / "copy.json"
    copy.write_text(json.dumps(signed))
    assert run("tx", "join", copy, copy) == signed


def test_what_always_prints_json_takes_the_option(network: Path, tmp_path: Path) -> None:
    genesis = next((network / "genesis").glob("beijing.json"))
    assert run("trust", "export", genesis)["format"].startswith("tongjian/trust")
    assert run("region", "register", genesis, "--letters", "BJ", "--reason", "r")["type"] == "region.register"
    place = ("--network", "tianjin", "--organisation", "one", "--host", "127.0.0.1")
    assert run("node", "init", tmp_path / "node", *place, "--unencrypted")["network"] == "tianjin"


def test_a_backup_made_and_put_back(network: Path, tmp_path: Path) -> None:
    first, second = (network / "beijing" / name / "node.toml" for name in ("beijing-1", "beijing-2"))
    copy = tmp_path / "copy"
    settings = load_settings(first)
    genesis = read_genesis(settings.genesis_file)
    open_data(settings.data_dir, genesis, application_for(genesis)).close()
    made = run("node", "backup", "--config", first, "--to", copy)
    assert (made["network"], made["genesis_id"], made["height"]) == ("beijing", genesis.id.hex(), 0)
    assert made["directory"] == str(copy)
    assert run("node", "restore", "--config", second, "--from", copy) == made
