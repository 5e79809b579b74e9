"""Evidence about a region's validators, as the custody chain keeps it and `GET /v1/networks/{region}/evidence` shows.

State values below ``misbehaviour/<network>/`` (custody heights, 16 hex digits)::

    <custody height>          for what the region was frozen
    <custody height>/named    a pair that named culprits of a freeze without names

Each: `{"kind", "height", "view", "culprits": [{"name", "organisation", "public_key"}], "first", "second", "first_id",
"second_id", "anchored_by", "tx_id", "submitter", "included_height", "included_time_ms"}`; `first` and `second` are
`{"header", "certificate"}` in hex, null for the block that was trusted already. `view` is null across views.

Invariants
  N1  Culprits are who signed COMMIT for both blocks in one view (protocol rule 20), judged by `verify_misbehaviour`.
  N2  A frozen region stays as it is; all that later evidence can do is to give names to a freeze that has none.

Left out: judging (`crosslink.lightclient.misbehaviour`), freezing (`anchoring`), recovery (`governance`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from common.chain.evidence import culprit_document
from common.core.suite import Suite
from common.core.validators import ValidatorSet
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.messages import HeaderMessage
from crosslink.lightclient.misbehaviour import SAME_HEIGHT, Misbehaviour


def evidence_entry(
    proven: Misbehaviour,
    messages: Sequence[HeaderMessage],
    validators: ValidatorSet,
    suite: Suite,
    frozen: dict[str, Any],
    anchored_by: Any,
) -> dict[str, Any]:
    """The state value; `validators` is the set of that height, `frozen` says which transaction brought the proof."""
    first, second = (None, messages[0]) if len(messages) == 1 else messages
    views = {message.certificate.view for message in messages}
    members = [member for member in validators.members if member.name in proven.culprits]
    return {
        **proven.to_json(),
        "culprits": [culprit_document(member, suite) for member in members],
        "view": views.pop() if proven.kind == SAME_HEIGHT and len(messages) == 2 and len(views) == 1 else None,
        "first": None if first is None else _signed(first),
        "second": _signed(second),
        "anchored_by": anchored_by,
        "tx_id": frozen["tx_id"],
        "submitter": frozen["submitter"],
        "included_height": frozen["custody_height"],
        "included_time_ms": frozen["time_ms"],
    }


def _signed(message: HeaderMessage) -> dict[str, str]:
    return {"header": message.header.encode().hex(), "certificate": message.certificate.encode().hex()}


def judged_as_if_not_frozen(state: ClientState) -> ClientState:
    """What a freeze without names may still be told (N2); never stored."""
    return replace(state, frozen_height=None)
