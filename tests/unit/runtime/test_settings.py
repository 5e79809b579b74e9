"""Settings: relative paths, defaults, and refusals that name the field and the remedy."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from common.node import settings as settings_module
from common.node.settings import SettingsError, load_settings

NODE_TOML = """
name = "beijing-1"
genesis_file = "../genesis/beijing.json"
key_file = "node.key"
data_dir = "data"

[api]
host = "127.0.0.1"
port = 18001
certificate_file = "tls.crt"
private_key_file = "tls.key"
tokens_file = "tokens.json"

[peer]
host = "127.0.0.1"
port = 18002
certificate_file = "tls.crt"
private_key_file = "tls.key"
ca_file = "../ca/ca.crt"

[[peers]]
name = "beijing-2"
host = "127.0.0.1"
port = 18004
"""


def write_node(directory: Path, text: str = NODE_TOML) -> Path:
    for name in ("genesis/beijing.json", "ca/ca.crt", "n/node.key", "n/tls.crt", "n/tls.key", "n/tokens.json"):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    path = directory / "n" / "node.toml"
    path.write_text(text)
    return path


def problems_of(directory: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(write_node(directory, text))
    assert caught.value.code == "settings_invalid"
    return caught.value.detail


def test_relative_paths_are_taken_from_the_directory_of_the_file(tmp_path: Path) -> None:
    settings = load_settings(write_node(tmp_path))
    assert settings.genesis_file == tmp_path / "genesis" / "beijing.json"
    assert settings.peer.ca_file == tmp_path / "ca" / "ca.crt"
    assert settings.data_dir == tmp_path / "n" / "data"
    assert settings.peers[0].port == 18004
    assert settings.log.level == "info"
    assert settings.limits.observers == 8


def test_an_unknown_field_is_named(tmp_path: Path) -> None:
    detail = problems_of(tmp_path, NODE_TOML.replace("tokens_file", "token_file"))
    assert "api.token_file" in detail
    assert "spelling" in detail
    assert "api.tokens_file: field required (add it)" in detail


def test_every_problem_is_listed_at_once(tmp_path: Path) -> None:
    detail = problems_of(tmp_path, NODE_TOML.replace("18001", '"x"').replace("18004", "70000"))
    assert "api.port" in detail
    assert "peers.0.port" in detail


def test_a_missing_file_is_named_with_its_remedy(tmp_path: Path) -> None:
    path = write_node(tmp_path)
    (tmp_path / "n" / "node.key").unlink()
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert "key_file: there is no file" in caught.value.detail
    assert "tongjian key generate" in caught.value.detail


def test_a_peer_listed_twice_is_refused(tmp_path: Path) -> None:
    again = NODE_TOML + '\n[[peers]]\nname = "beijing-2"\nhost = "127.0.0.1"\nport = 18006\n'
    assert "beijing-2 stands there more than once" in problems_of(tmp_path, again)


def test_a_node_is_no_peer_of_its_own(tmp_path: Path) -> None:
    assert "peers: beijing-1 is this node itself" in problems_of(tmp_path, NODE_TOML.replace("beijing-2", "beijing-1"))


def test_a_number_in_quotes_is_refused(tmp_path: Path) -> None:
    detail = problems_of(tmp_path, NODE_TOML.replace("18001", '"18001"'))
    assert "api.port" in detail
    assert "write a whole number without quotes" in detail


def test_the_two_listeners_need_ports_of_their_own(tmp_path: Path) -> None:
    assert "peer.port: the same as api.port" in problems_of(tmp_path, NODE_TOML.replace("18002", "18001"))


def test_idle_timeout_below_two_keepalives_is_refused(tmp_path: Path) -> None:
    text = NODE_TOML + "\n[limits]\nkeepalive_ms = 10000\nidle_timeout_ms = 15000\n"
    assert "limits.idle_timeout_ms" in problems_of(tmp_path, text)


def test_bad_toml_and_a_missing_file_are_settings_errors(tmp_path: Path) -> None:
    assert "not valid TOML" in problems_of(tmp_path, "name = ")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path / "absent.toml")


def test_a_host_with_line_breaks_is_refused(tmp_path: Path) -> None:
    assert "peers.0.host" in problems_of(
        tmp_path, NODE_TOML.replace('host = "127.0.0.1"\nport = 18004', 'host = "a\\nb"\nport = 18004')
    )


@pytest.mark.parametrize("host", ["a..b", ".host", "a" * 64])
def test_a_host_that_no_resolver_takes_is_refused(tmp_path: Path, host: str) -> None:
    text = NODE_TOML.replace('host = "127.0.0.1"\nport = 18004', f'host = "{host}"\nport = 18004')
    assert "peers.0.host" in problems_of(tmp_path, text)


def test_every_setting_is_explained_where_it_is_declared() -> None:
    tree = ast.parse(inspect.getsource(settings_module))
    bare = []
    for group in (
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.endswith(("Settings", "Address"))
    ):
        for field, after in zip(group.body, [*group.body[1:], None], strict=True):
            explained = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and not explained:
                bare.append(f"{group.name}.{ast.unparse(field.target)}")
    assert bare == []
