"""Misuse of the command line: one line with a code and exit code 1, never a stack trace; nothing is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result

from tests.unit.cli.commands import run


def assert_refused(result: Result, code: str) -> None:
    assert result.exit_code == 1, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.output.splitlines()[-1].startswith(f"error: {code}: "), result.output


NODE = ("--organisation", "o", "--host", "h", "--unencrypted")


@pytest.mark.parametrize(
    "arguments",
    [
        ("localnet", "init", "FILE/x"),
        ("node", "init", "FILE/n", "--network", "beijing", *NODE),
        ("key", "generate", "FILE/k", "--unencrypted"),
        ("key", "generate", "MISSING/x/k", "--unencrypted"),
    ],
)
def test_places_that_cannot_be_written(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "file").write_text("")
    places = {"FILE": str(tmp_path / "file"), "MISSING": str(tmp_path / "missing")}
    resolved = [
        argument.replace("FILE", places["FILE"]).replace("MISSING", places["MISSING"]) for argument in arguments
    ]
    assert_refused(run(*resolved), "file_unusable")


@pytest.mark.parametrize("command", ["status", "down", "up"])
@pytest.mark.parametrize("content", ["[]", "7", "{", '{"format": "tongjian/localnet/v1", "chains": [3]}', "[" * 90_000])
def test_damaged_network_files(tmp_path: Path, command: str, content: str) -> None:
    (tmp_path / "network.json").write_text(content)
    result = run("localnet", command, str(tmp_path))
    assert result.exit_code == 1
    assert result.output.startswith("error: network_file_")


def test_the_status_of_a_network_without_processes_is_an_empty_table(tmp_path: Path) -> None:
    document = {"format": "tongjian/localnet/v1", "chains": [], "relays": [], "custody": {}, "credentials": {}}
    (tmp_path / "network.json").write_text(json.dumps(document))
    result = run("localnet", "status", str(tmp_path), "--json")
    assert (result.exit_code, json.loads(result.output)) == (0, [])


@pytest.mark.parametrize(
    ("network", "name", "host", "code"),
    [
        ("../x", "n", "h", "network_name"),
        ("beijing", "../n", "h", "name_invalid"),
        ("beijing", "n", "bad host", "host_invalid"),
        ("beijing", "n", "a..b", "host_invalid"),
    ],
)
def test_node_init_refuses_names_that_nothing_could_carry(
    tmp_path: Path, network: str, name: str, host: str, code: str
) -> None:
    target = tmp_path / "node"
    options = ("--network", network, "--name", name, "--host", host, "--organisation", "o", "--unencrypted")
    assert_refused(run("node", "init", str(target), *options), code)
    assert not target.exists()


def test_a_single_validator_a_chain_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    result = run("localnet", "init", str(tmp_path / "net"), "--validators", "1")
    assert result.exit_code == 2
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(("content", "code"), [("[]", "transaction_operations"), ('{"a": 1}', "operation_type")])
def test_what_every_node_would_refuse_is_not_signed(tmp_path: Path, content: str, code: str) -> None:
    key = tmp_path / "k"
    assert run("key", "generate", str(key), "--unencrypted").exit_code == 0
    options = ("--key", str(key), "--network", "beijing", "--genesis", "11" * 32, "--expires-at-height", "9")
    assert_refused(run("tx", "sign", "-", *options, text=content), code)


def files_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()} if directory.exists() else {}


def test_node_init_checks_the_passphrase_before_it_writes_and_writes_over_no_key(tmp_path: Path) -> None:
    node, secret = tmp_path / "n", tmp_path / "secret"
    secret.write_text("open\n")
    secret.chmod(0o644)
    options = ("--network", "beijing", "--organisation", "o", "--host", "h", "--passphrase-file", str(secret))
    assert_refused(run("node", "init", str(node), *options), "key_file_permissions")
    assert files_of(node) == {}
    secret.chmod(0o600)
    assert run("node", "init", str(node), *options).exit_code == 0
    (node / "node.key").unlink()  # as if the first run had ended half-way
    before = files_of(node)
    assert_refused(run("node", "init", str(node), *options), "key_file_exists")
    assert files_of(node) == before


def test_a_relays_certificate_is_issued_once_by_an_organisations_authority(tmp_path: Path) -> None:
    assert run("node", "init", str(tmp_path / "n"), "--network", "beijing", *NODE).exit_code == 0
    place = ("cert", "issue", str(tmp_path / "relay"), "--ca", str(tmp_path / "n"))
    who = ("--name", "relay-1", "--organisation", "csrc", "--host")
    assert_refused(run(*place, *who, "bad host"), "host_invalid")
    assert run(*place, *who, "relay.example", "--host", "10.0.0.9").exit_code == 0
    (told,) = json.loads(run("cert", "list", str(tmp_path / "relay"), "--json").stdout)
    assert (told["subject"], told["hosts"]) == ("CN=relay-1,O=csrc", ["relay.example", "10.0.0.9"])
    before = files_of(tmp_path / "relay")
    assert_refused(run(*place, *who, "relay.example"), "certificate_exists")
    assert files_of(tmp_path / "relay") == before


def test_a_name_of_any_permitted_length_gets_an_authority(tmp_path: Path) -> None:
    name = "n" * 64
    assert run("node", "init", str(tmp_path / "n"), "--name", name, "--network", "beijing", *NODE).exit_code == 0


def test_cert_rotate_takes_no_authority_that_peers_do_not_trust(tmp_path: Path) -> None:
    assert run("localnet", "init", str(tmp_path / "net"), "--regions", "beijing").exit_code == 0
    assert run("node", "init", str(tmp_path / "other"), "--network", "beijing", *NODE).exit_code == 0
    node = tmp_path / "net" / "beijing" / "beijing-1"
    before = (node / "tls.crt").read_bytes()
    assert_refused(run("cert", "rotate", str(node), "--ca", str(tmp_path / "other")), "authority_not_trusted")
    assert (node / "tls.crt").read_bytes() == before
    bundle = tmp_path / "net" / "ca" / "ca.crt"
    assert run("cert", "rotate", str(node), "--ca", str(bundle.parent)).exit_code == 0
    assert (node / "tls.crt").read_bytes() != before
    bundle.write_bytes(bundle.read_bytes() + (tmp_path / "other" / "ca.crt").read_bytes())
    assert run("cert", "rotate", str(node), "--ca", str(tmp_path / "other")).exit_code == 0
