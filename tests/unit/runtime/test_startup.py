"""What stops a node from starting: each cause has a stable code, names the file or port, and says what to do."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.core.errors import Conflict, InvariantBroken, Rejected
from common.core.suite import ED25519_SHA256
from common.node.access import TokenStore
from common.node.keys import encode_key, write_private_file
from common.node.main import cause
from common.node.peer.listener import bind
from common.node.peer.tls import ApiTls, PeerTls
from common.node.settings import NodeSettings, load_settings
from common.node.startup import Opened, check_certificates, load_identity, open_data
from tests.e2e.toy_network import ToyNetwork
from tests.unit.node.toy import ToyApplication, seed_of


@dataclass
class Place:
    """A toy network's files; none of its nodes runs."""

    network: ToyNetwork

    def settings(self, name: str) -> NodeSettings:
        return load_settings(self.network.directory / name / "node.toml")

    def open(self, name: str) -> Opened:
        return open_data(self.settings(name).data_dir, self.network.genesis, ToyApplication())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(ToyNetwork(tmp_path, 4))


def test_c16_a_node_refuses_the_key_of_another_validator(place: Place) -> None:
    settings = place.settings("v4")
    shutil.copy(place.settings("v3").key_file, settings.key_file)
    opened = place.open("v4")
    with pytest.raises(Conflict) as caught:
        load_identity(settings, opened.chain)
    opened.close()
    assert caught.value.code == "key_of_another_validator"
    assert "the validator v3, but this node's name is v4" in caught.value.detail
    assert str(settings.key_file) in caught.value.detail


def test_a_validator_that_comes_back_with_a_new_key_may_catch_up(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """The set that names the new key is on a chain that the node has yet to read; until then it is an observer."""
    settings = place.settings("v4")
    settings.key_file.unlink()
    write_private_file(settings.key_file, encode_key(seed_of("v4, the second")))
    opened = place.open("v4")
    pair = load_identity(settings, opened.chain)
    opened.close()
    assert pair.public_key == ED25519_SHA256.public_key(seed_of("v4, the second"))
    assert "the validator of this name has another key" in caplog.text


def test_every_validator_starts_with_its_own_key_and_says_nothing(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    opened = place.open("v2")
    load_identity(place.settings("v2"), opened.chain)
    opened.close()
    assert caplog.text == ""


def refusal(act: Callable[[], object]) -> dict[str, str]:
    """What the log says about an act that fails."""
    with pytest.raises((Rejected, InvariantBroken)) as caught:
        act()
    assert isinstance(caught.value, Rejected | InvariantBroken)
    return cause(caught.value)


def test_damaged_tokens_name_their_file(place: Place) -> None:
    tokens_file = place.settings("v1").api.tokens_file
    for text in ("{", "[]", '{"format":"tongjian/tokens/v1","tokens":[{"id":"x"}]}'):
        tokens_file.write_text(text)
        said = refusal(lambda: TokenStore(tokens_file))
        assert said["code"] == "tokens_file_invalid"
        assert str(tokens_file) in said["detail"]
        assert "token issue" in said["detail"]


def test_s2_a_data_directory_that_is_a_file_or_cannot_be_made(place: Place) -> None:
    data_dir = place.settings("v1").data_dir
    data_dir.write_text("")
    said = refusal(lambda: place.open("v1"))
    assert said["code"] == "data_dir_unusable"
    assert str(data_dir) in said["detail"]


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        said = refusal(lambda: bind("127.0.0.1", port))
    assert said["code"] == "port_in_use"
    assert f"127.0.0.1:{port}" in said["detail"]
    assert refusal(lambda: bind("192.0.2.1", 0))["code"] == "address_unusable"


def test_a_database_in_use_is_named(place: Place) -> None:
    opened = place.open("v1")
    said = refusal(lambda: place.open("v1"))
    opened.close()
    assert said["code"] == "database_in_use"
    assert str(place.settings("v1").data_dir) in said["detail"]
    assert "b'" not in said["detail"]


def test_s2_a_damaged_database_is_named_with_its_remedy(place: Place) -> None:
    place.open("v1").close()
    data_dir = place.settings("v1").data_dir
    (data_dir / "chain" / "CURRENT").write_text("MANIFEST-999999\n")
    said = refusal(lambda: place.open("v1"))
    assert said["code"] == "database_damaged"
    assert str(data_dir) in said["detail"]
    assert "Remedy: " in said["detail"]
    assert "b'" not in said["detail"]
    assert 'b"' not in said["detail"]


def starts_with(settings: NodeSettings) -> str:
    """'sound', or the code with which the certificates are refused, by whatever comes first in a start."""
    try:
        check_certificates(settings, 1_700_000_000_000)
        ApiTls(settings.api.certificate_file, settings.api.private_key_file)
        PeerTls(settings.peer.certificate_file, settings.peer.private_key_file, settings.peer.ca_file)
    except Rejected as refusal:
        return refusal.code
    return "sound"


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "../ca.crt"])
def test_s2_a_damaged_bit_of_a_certificate_is_refused_or_changes_nothing(place: Place, name: str) -> None:
    """Peers would close every channel of a certificate with another signature, and say no more."""
    settings = place.settings("v1")
    path = settings.key_file.parent / name
    content, same, codes = path.read_bytes(), 0, set()
    assert starts_with(settings) == "sound"
    whole = "".join(content.decode().split())
    for bit in range(3, 8 * len(content), 37):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        code = starts_with(settings)
        codes.add(code)
        same += code == "sound"
    assert codes <= {"sound", "certificate_damaged", "certificate_unreadable", "tls_unusable", "certificate_missing"}
    assert same <= len(whole) // 37, "line ends alone may change without a trace"
    path.write_bytes(content)
    assert starts_with(settings) == "sound"
