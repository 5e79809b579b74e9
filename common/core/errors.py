"""Errors that say whose fault it is.

`Rejected` is somebody else's fault (a client, a peer, a relay) and carries a stable code. `InvariantBroken` is
ours: a bug or damaged local data, never an answer to input. Each kind of `Rejected` corresponds to one HTTP status;
the map itself lives at the edge, in `common/node/http/app.py`. Codes are part of the public contract and of receipts;
prose (`detail`) is neither hashed nor parsed.
"""

from __future__ import annotations


class Rejected(Exception):
    """Input is refused.

    `code` is stable snake case; `detail` is one English sentence for humans; `parameters` are the numbers and
    identifiers that belong to the code (they go into receipts, so they are integers and strings only).
    """

    def __init__(self, code: str, detail: str, **parameters: int | str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.parameters: dict[str, int | str] = parameters


class Malformed(Rejected):
    """The bytes or the structure are wrong whatever the state (HTTP 400)."""


class Unauthorised(Rejected):
    """A signature or token is missing or wrong (HTTP 401)."""


class Forbidden(Rejected):
    """The identity is known but may not do this, or an approval is missing (HTTP 403)."""


class NotFound(Rejected):
    """No such thing (HTTP 404)."""


class Conflict(Rejected):
    """It was done before, differently (HTTP 409)."""


class Gone(Rejected):
    """It existed and was pruned (HTTP 410)."""


class TooLarge(Rejected):
    """A size or count is above its bound (HTTP 413)."""


class RuleBroken(Rejected):
    """Well formed and allowed, but a business rule forbids it in the present state (HTTP 422)."""


class QuotaExceeded(Rejected):
    """One client uses more than its share (HTTP 429)."""


class Unavailable(Rejected):
    """This node cannot answer now; another node or a later time may (HTTP 503)."""


class CodecError(Malformed):
    """A binary structure does not decode."""


class ProofInvalid(Malformed):
    """A Merkle or state proof does not hold."""


class CertificateInvalid(Malformed):
    """A commit certificate does not prove its block; the code says why."""


class InvariantBroken(Exception):
    """A bug of ours or damaged local data; never raised because of input."""
