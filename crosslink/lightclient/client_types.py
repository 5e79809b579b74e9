"""Which client types this software knows: one line for each, in the package's `__init__`.

Invariants:
  G1  A name means one client type for ever: a second registration of a name by another object is our bug.
  G2  Which types a chain accepts does not follow from the software that runs: a type names the protocol version since
      which it is available, and a region of a later type is refused before that (`available`, decision 18).

Left out: what a client type does (`port`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.core.errors import InvariantBroken, Malformed

if TYPE_CHECKING:
    from crosslink.lightclient.port import LightClient

MAX_CLIENT_TYPE_CHARACTERS = 64

_CLIENTS: dict[str, LightClient] = {}


def register(client: LightClient) -> None:
    """Make a client type known to this process, before any chain is opened. The same object again changes nothing."""
    name = client.client_type
    if not (name.isascii() and name.isprintable() and 1 <= len(name) <= MAX_CLIENT_TYPE_CHARACTERS):
        raise InvariantBroken(f"a client type's name is 1 to {MAX_CLIENT_TYPE_CHARACTERS} printable ASCII characters")
    if _CLIENTS.setdefault(name, client) is not client:
        raise InvariantBroken(f"two client types are named {name}")


def client_for(client_type: str) -> LightClient:
    """The verifier of a client type. Raises `Malformed('unknown_client_type')`."""
    client = _CLIENTS.get(client_type)
    if client is None:
        raise _unknown(client_type)
    return client


def check_available(client_type: str, protocol_version: int) -> None:
    """Raise `Malformed('unknown_client_type')` unless the type is available on a chain of this version (G2)."""
    if client_for(client_type).since > protocol_version:
        raise _unknown(client_type)


def _unknown(client_type: str) -> Malformed:
    named = ascii(client_type[:MAX_CLIENT_TYPE_CHARACTERS])[1:-1]
    return Malformed("unknown_client_type", "No verifier is known for this client type.", client_type=named)
