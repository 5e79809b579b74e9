"""How an organisation joins a network that is being founded: it makes its own keys, and only public parts travel.

`enrol` writes one node's directory and its public part. `assemble` joins the public parts into the genesis document, in
the order of the validators' names. So every organisation that runs it on the same parts gets the same bytes, and can
compare the genesis id.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w
from pydantic import TypeAdapter, ValidationError

from common.core.codec import parse_json
from common.core.errors import Malformed, Rejected
from common.core.exact_fields import complaint
from common.core.genesis import Genesis, build_genesis
from common.core.parameters import ChainParameters
from common.core.suite import DEFAULT_SUITE, Suite
from common.core.validators import Validator, ValidatorSet
from common.node.keys import generate_key
from common.node.peer.certificates import Authority, issue_certificate
from common.node.settings import Host

PUBLIC_PART_FORMAT = "tongjian/node-public/v1"
MAX_PUBLIC_PART_BYTES = 64 * 1024
"""One has a few hundred bytes."""
_HOST: TypeAdapter[str] = TypeAdapter(Host)


def check_host(host: str) -> str:
    """A DNS name or an address as a node's settings take it. Raises `Malformed('host_invalid')`."""
    try:
        return _HOST.validate_python(host)
    except ValidationError:
        raise Malformed("host_invalid", f"{host!r} is neither a DNS name nor an address") from None


def read_json_file(path: Path, max_size: int, code: str) -> Any:
    """The JSON in a file, of bounded size and depth. Raises Malformed(`code`) naming the file."""
    try:
        with path.open("rb") as file:
            return parse_json(file.read(max_size + 1), max_size=max_size)
    except OSError as error:
        raise Malformed(code, f"{path} cannot be read: {error.strerror}") from error
    except Rejected as error:
        raise Malformed(code, f"{path} is not usable JSON: {error.code}: {error.detail}") from error


@dataclass(frozen=True, kw_only=True)
class PublicPart:
    """What the other organisations need of a node: who it is, its public key, and where its peers reach it."""

    network: str
    name: str
    organisation: str
    public_key: str
    peer_host: str
    peer_port: int

    def document(self) -> dict[str, Any]:
        """The public part as JSON."""
        return {
            "format": PUBLIC_PART_FORMAT,
            "network": self.network,
            "name": self.name,
            "organisation": self.organisation,
            "public_key": self.public_key,
            "peer_host": self.peer_host,
            "peer_port": self.peer_port,
        }

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a public part. Raises Malformed, naming the file and the field."""
        document = read_json_file(path, MAX_PUBLIC_PART_BYTES, "public_part_unreadable")
        kinds = {item.name: int if item.type == "int" else str for item in fields(cls)}
        wrong = complaint(document, {"format", *kinds})
        if wrong is not None:
            raise Malformed("public_part_unreadable", f"{path} is not a node's public part: it {wrong}")
        if document.pop("format") != PUBLIC_PART_FORMAT:
            raise Malformed("public_part_format", f"{path} is not a {PUBLIC_PART_FORMAT} file")
        for name, kind in kinds.items():
            if type(document[name]) is not kind:
                raise Malformed("public_part_unreadable", f"{path}: {name} is not {kind.__name__}")
        return cls(**document)


@dataclass(frozen=True, kw_only=True)
class NodePlace:
    """Where a node listens and how others reach it."""

    api_host: str
    api_port: int
    peer_host: str
    peer_port: int
    listen_host: str = "127.0.0.1"


def enrol(
    directory: Path,
    *,
    network: str,
    name: str,
    organisation: str,
    place: NodePlace,
    authority: Authority,
    now_ms: int,
    passphrase: bytes | None = None,
    suite: Suite = DEFAULT_SUITE,
) -> PublicPart:
    """Make a node's validator key and TLS certificate in `directory` and write `public.json`.

    Raises Conflict('key_file_exists') if the node has a key already: keys are never written over.
    """
    directory.mkdir(parents=True, exist_ok=True)
    key = generate_key(directory / "node.key", passphrase=passphrase, suite=suite)
    hosts = sorted({"127.0.0.1", "localhost", place.api_host, place.peer_host, name})
    issue_certificate(
        authority,
        certificate_file=directory / "tls.crt",
        key_file=directory / "tls.key",
        name=name,
        organisation=organisation,
        hosts=hosts,
        now_ms=now_ms,
    )
    part = PublicPart(
        network=network,
        name=name,
        organisation=organisation,
        public_key=key.text,
        peer_host=place.peer_host,
        peer_port=place.peer_port,
    )
    (directory / "public.json").write_text(json.dumps(part.document(), indent=2) + "\n")
    return part


def assemble(
    parts: Iterable[PublicPart],
    *,
    tier: Literal["business", "custody"],
    time_ms: int,
    application: dict[str, Any],
    parameters: ChainParameters | None = None,
    suite: Suite = DEFAULT_SUITE,
) -> Genesis:
    """Join public parts into the genesis of one chain. Raises Malformed if they are not of one network."""
    ordered = sorted(parts, key=lambda part: part.name)
    networks = {part.network for part in ordered}
    if len(networks) != 1:
        raise Malformed(
            "mixed_networks", f"the public parts name {len(networks)} networks: {', '.join(sorted(networks))}"
        )
    members = tuple(
        Validator(name=part.name, organisation=part.organisation, public_key=suite.parse_key(part.public_key))
        for part in ordered
    )
    return build_genesis(
        network=networks.pop(),
        tier=tier,
        suite=suite,
        time_ms=time_ms,
        protocol_version=1,
        validators=ValidatorSet(members),
        parameters=parameters or ChainParameters(),
        application=application,
    )


def write_node_settings(
    directory: Path,
    *,
    name: str,
    genesis_file: str,
    tokens_file: str,
    ca_file: str,
    place: NodePlace,
    peers: Sequence[PublicPart],
    data_dir: str = "data",
    extra: dict[str, Any] | None = None,
) -> Path:
    """Write `node.toml`; paths are relative to `directory` unless they are absolute. Returns its path."""
    certificate = {"certificate_file": "tls.crt", "private_key_file": "tls.key"}
    settings: dict[str, Any] = {
        "name": name,
        "genesis_file": genesis_file,
        "key_file": "node.key",
        "data_dir": data_dir,
        "api": {"host": place.listen_host, "port": place.api_port, **certificate, "tokens_file": tokens_file},
        "peer": {"host": place.listen_host, "port": place.peer_port, **certificate, "ca_file": ca_file},
        "peers": [
            {"name": part.name, "host": part.peer_host, "port": part.peer_port} for part in peers if part.name != name
        ],
        **(extra or {}),
    }
    path = directory / "node.toml"
    path.write_text(tomli_w.dumps(settings))
    return path
