"""The settings of a relay: what `relay.toml` may say, checked once before anything is opened.

Invariants:
  S1  A region is read through at least two different nodes (JR/T 0314-2024 chapter 7; attack R10).
  S2  A loaded `RelaySettings` names only absolute paths, and every file that must exist does.
  S3  Nothing here names a trust root: what is trusted about a region is the custody chain's state (attack R4).

Left out: reading keys and tokens.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.node.settings import MAX_SETTINGS_BYTES, ConfiguredPath, Host, LogSettings, Port, SettingsError

NetworkId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
"""A network's id, as in its genesis document."""

NodeUrl = Annotated[str, Field(pattern=r"^https://[A-Za-z0-9.:_\[\]-]{1,255}$")]
"""Base URL of a node's HTTPS interface: scheme, host and port, without a path."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class CustodySettings(_Section):
    """`[custody]`: where submissions go."""

    network: NetworkId = "custody"
    """The custody chain's id."""
    nodes: Annotated[tuple[NodeUrl, ...], Field(strict=False, min_length=1, max_length=100)]
    """Nodes to submit to; another one takes over when one fails."""
    token_file: ConfiguredPath
    """Bearer token of role `relay`."""


class RegionSettings(_Section):
    """`[[regions]]`: one business chain to read."""

    network: NetworkId
    """The region's id, as the custody chain knows it."""
    nodes: Annotated[tuple[NodeUrl, ...], Field(strict=False, min_length=2, max_length=100)]
    """At least two different full nodes."""
    token_file: ConfiguredPath | None = None
    """Bearer token of role `reader` on that chain, where its nodes ask for one: those of our client type do. Which type
    a region is of is the custody chain's state (S3), so the nodes themselves say when a token is missing."""


class RelayApiSettings(_Section):
    """`[api]`: the relay's own status interface."""

    host: Host = "127.0.0.1"
    """Address to listen on. Loopback by default: nothing is exposed by accident."""
    port: Port
    """TCP port to listen on."""
    certificate_file: ConfiguredPath
    """TLS certificate, PEM."""
    private_key_file: ConfiguredPath
    """Its private key, PEM, mode 0600."""
    tokens_file: ConfiguredPath | None = None
    """Bearer tokens for `/v1/relay/regions`; without it whoever reaches the port may read the status."""


class PaceSettings(_Section):
    """`[pace]`: how patient the relay is; the defaults aim at anchoring within three seconds."""

    wait_s: Annotated[int, Field(ge=1, le=30)] = 10
    """Long poll of a region's node; also how soon at the latest a stopped node is compared with another: a
    heartbeat."""
    linger_ms: Annotated[int, Field(ge=0, le=10_000)] = 200
    """How long blocks with snapshots gather before they are submitted together."""
    idle_linger_ms: Annotated[int, Field(ge=0, le=60_000)] = 1_000
    """The same for empty blocks; raise it to carry several heartbeats at once, at the price of a later sign of life."""
    retry_ms: Annotated[int, Field(ge=50, le=60_000)] = 500
    """First pause after a failure; doubles with every further one."""
    max_retry_ms: Annotated[int, Field(ge=1_000, le=600_000)] = 30_000
    """The longest pause: how late at the most a region's recovery is noticed."""


class RelaySettings(_Section):
    """One relay, as `relay.toml` describes it."""

    key_file: ConfiguredPath
    """The key that signs submissions, PKCS#8 PEM; the custody chain's genesis or governance gave it the role
    `relay`."""
    passphrase_file: ConfiguredPath | None = None
    """File whose first line unlocks an encrypted key file."""
    ca_file: ConfiguredPath
    """Authorities of the nodes' certificates, PEM."""
    custody: CustodySettings
    """The custody chain."""
    regions: Annotated[tuple[RegionSettings, ...], Field(strict=False, min_length=1, max_length=64)]
    """The business chains."""
    api: RelayApiSettings
    """The status interface."""
    pace: PaceSettings = PaceSettings()
    """Patience."""
    log: LogSettings = LogSettings()
    """Logging."""


def _missing(settings: RelaySettings) -> list[str]:
    files: list[tuple[str, Path | None]] = [
        ("key_file", settings.key_file),
        ("passphrase_file", settings.passphrase_file),
        ("ca_file", settings.ca_file),
        ("custody.token_file", settings.custody.token_file),
        ("api.certificate_file", settings.api.certificate_file),
        ("api.private_key_file", settings.api.private_key_file),
        ("api.tokens_file", settings.api.tokens_file),
    ]
    files += [(f"regions.{region.network}.token_file", region.token_file) for region in settings.regions]
    return [
        f"{name}: there is no file {path} (create it or correct the path)"
        for name, path in files
        if path is not None and not path.is_file()
    ]


def _contradictions(settings: RelaySettings) -> list[str]:
    problems = []
    names = [region.network for region in settings.regions]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(f"regions: {name} stands there more than once (keep one entry a region)")
    if settings.custody.network in names:
        problems.append("regions: the custody chain is not a region (remove the entry)")
    for region in settings.regions:
        if len(set(region.nodes)) < 2:
            problems.append(f"regions.{region.network}.nodes: name at least two different nodes (JR/T 0314-2024)")
    return problems


def load_relay_settings(path: Path) -> RelaySettings:
    """Read, check and resolve `relay.toml`. Raises SettingsError, whose detail lists every problem with its remedy."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(path, [f"cannot be read: {error.strerror} (name an existing file)"]) from error
    if len(data) > MAX_SETTINGS_BYTES:
        raise SettingsError(path, [f"larger than {MAX_SETTINGS_BYTES} bytes (is this the settings file?)"])
    try:
        document: dict[str, Any] = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(path, [f"not valid TOML: {error} (correct that line)"]) from error
    try:
        settings = RelaySettings.model_validate(document, context={"directory": path.resolve().parent})
    except ValidationError as error:
        found = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg'].lower()}" for item in error.errors()]
        raise SettingsError(path, found) from error
    problems = _contradictions(settings) + _missing(settings)
    if problems:
        raise SettingsError(path, problems)
    return settings
