"""The regions: what the custody chain trusts about each business chain, and how far it has verified it.

Value of ``region/<network>``::

    {"network", "region_letters", "client": CLIENT STATE, "anchored": {"height", "id", "time_ms"},
     "partial": {"height", "id", "time_ms", "commitments", "delivered"} | null, "frozen": {...} | null,
     "silent_after_ms", "lagging_after_ms", "blocks", "snapshots", "anomalies", "anomalies_open", "alerts_open", "log",
     "recoveries", "journal", "abandoned"?: {"height", "id", "delivered"},
     "judged"?: [[height, id, id]], "gaps"?: [[from height, to height]]}

`abandoned` is there from a recovery that found a block partly delivered until the next header: what was taken in of
that block is not taken in twice. `judged` are pairs of blocks for whose contradiction the region was frozen before
recoveries. `gaps` are blocks at and below a checkpoint that were not completely taken in: what is missing of them is in
no figure.

Invariants:
  * Regions and their trust come from genesis or from governance, never from what a relay delivers (attacks R4, R8).
  * `client` is the state of the region's light client; what its client type keeps there nobody else reads. A region's
    client type is its own for ever, also over recoveries.
  * `client.height` is the verified height; it is `anchored.height`, or that of the block above while `partial` is open.
    Heights may skip.
  * `anchored/<network>/<height // 64>` holds the client type and the id of every anchored height
    (docs/protocol-evidence.md).
  * Nobody freezes a region again by what a recovery has judged: a pair in `judged`, in whichever order, at most
    `MAX_JUDGED`. Pairs at or below the height that is trusted are left out: no client judges them any more.
  * Frozen is state. Lagging, silent and expired follow from the custody tip's time when they are read (rule 19).

Left out: deliveries (`anchoring`), recovery (`governance`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from common.core.errors import Malformed, NotFound, RuleBroken
from common.core.exact_fields import complaint
from common.core.names import check_network
from common.model.codes import REGION_LETTERS
from crosslink.lightclient.client_state import ClientState, has_expired
from crosslink.lightclient.client_types import check_available
from crosslink.lightclient.trust_root import TrustRoot
from crosslink.lightclient.verify import MAX_HEADER_AHEAD_MS
from custody_chain import state
from custody_chain.records import Records

DEFAULT_LAGGING_AFTER_MS: Final = 30_000
"""Three heartbeats of ten seconds (architecture decision 14): a healthy region's newest anchored block is younger."""

DEFAULT_SILENT_AFTER_MS: Final = 600_000
"""Ten minutes without a sign of life, where the genesis does not say otherwise."""

MAX_REGIONS: Final = 64
"""35 region letters exist (JR/T 0326-2024); the rest is room for restarted chains under new names."""

MAX_JUDGED: Final = 64
"""Pairs of contradicting blocks that are remembered of a region; the oldest are forgotten."""

MAX_GAPS: Final = 64
"""Gaps that are told apart; beyond, the oldest two are one that covers both."""

_LETTERS: Final = frozenset(REGION_LETTERS)
_ROOT_FIELDS: Final = frozenset({"network", "client_type", "genesis_id", "trust", "trusting_period_ms", "checkpoint"})
_OWN_FIELDS: Final = frozenset({"region_letters", "silent_after_ms", "lagging_after_ms"})


def new_region(
    document: Any, *, custody_network: str, now_ms: int, protocol_version: int
) -> tuple[dict[str, Any], TrustRoot]:
    """The record of a region from its trust root and settings, at the custody chain's time and protocol version.

    Raises `Malformed` for roots that are zero, incomplete or unsafe (attack R4), for wrong settings, and for a client
    type that is not available yet;
    `RuleBroken('checkpoint_ahead')`.
    """
    wrong = complaint(document, (), _ROOT_FIELDS | _OWN_FIELDS)
    if wrong is not None:
        raise Malformed("region_settings", f"The region is not of the format: it {wrong}.")
    root = TrustRoot.from_json({name: value for name, value in document.items() if name in _ROOT_FIELDS})
    check_available(root.client_type, protocol_version)
    check_time(root, now_ms)
    network = check_network(root.network)
    if network == custody_network:
        raise Malformed("region_settings", "The custody chain is not its own region.", field="network")
    letters = document.get("region_letters")
    if letters not in _LETTERS:
        raise Malformed("region_settings", "Unknown region letters (JR/T 0326-2024).", field="region_letters")
    silent = _period(document, "silent_after_ms", DEFAULT_SILENT_AFTER_MS)
    client = ClientState.from_root(root, established_ms=now_ms)
    record = {
        "network": network,
        "region_letters": letters,
        "client": client.to_json(),
        "anchored": {"height": client.height, "id": client.block_id.hex(), "time_ms": client.time_ms},
        "partial": None,
        "frozen": None,
        "silent_after_ms": silent,
        "lagging_after_ms": min(_period(document, "lagging_after_ms", DEFAULT_LAGGING_AFTER_MS), silent),
        "blocks": 0,
        "snapshots": 0,
        "anomalies": 0,
        "anomalies_open": 0,
        "alerts_open": 0,
        "log": 0,
        "recoveries": 0,
        "journal": bytes(32).hex(),
        **gaps_with([], 0, client.height),
    }
    return record, root


def check_time(root: TrustRoot, now_ms: int) -> None:
    """A trusted block is from the future no more than a delivered one may be. Raises `RuleBroken('checkpoint_ahead')`.

    Else the region would be active without taking a block, and no recovery would be possible, until that time.
    """
    if root.checkpoint is not None and root.checkpoint.time_ms > now_ms + MAX_HEADER_AHEAD_MS:
        raise RuleBroken("checkpoint_ahead", "The checkpoint is ahead of the custody chain's time.", now_ms=now_ms)


def _period(document: dict[str, Any], name: str, default: int) -> int:
    value = document.get(name, default)
    if type(value) is not int or not 1 <= value <= 366 * 86_400_000:
        raise Malformed("region_settings", f"{name} is a number of milliseconds, at most a year.", field=name)
    return value


def add_region(records: Records, record: dict[str, Any]) -> None:
    """Keep a new region and the id that its first block must follow."""
    network = record["network"]
    records.put(state.region(network), record)
    keep_anchored_id(records, record, record["anchored"]["height"], record["anchored"]["id"])


def load(records: Records, network: str) -> dict[str, Any]:
    """A region's record. Raises `NotFound('region_unknown')`."""
    record = records.get(state.region(network))
    if not isinstance(record, dict):
        raise NotFound("region_unknown", "This network is not a region of the custody chain.", region=network)
    return record


def is_tip_given(record: dict[str, Any]) -> bool:
    """Whether the anchored block is the one that a trust root named, so that no header has shown its time."""
    return int(record["client"]["root_height"]) == int(record["anchored"]["height"])


def delivered_part(record: dict[str, Any]) -> dict[str, Any]:
    """What is in of the block that is partly delivered, for a recovery to keep."""
    return {name: record["partial"][name] for name in ("height", "id", "delivered")}


def gaps_with(gaps: list[list[int]], anchored_height: int, trusted_height: int) -> dict[str, list[list[int]]]:
    """The member `gaps` of a record when trust moves up from an anchored height; none while nothing was skipped."""
    gaps = list(gaps)
    if trusted_height > anchored_height:
        first = gaps.pop()[0] if gaps and gaps[-1][1] == anchored_height else anchored_height + 1
        gaps.append([first, trusted_height])
    if len(gaps) > MAX_GAPS:
        gaps[:2] = [[gaps[0][0], gaps[1][1]]]
    return {"gaps": gaps} if gaps else {}


def judged_pairs(record: dict[str, Any], evidence: Sequence[dict[str, Any]], trusted_height: int) -> list[list[Any]]:
    """What is judged once governance trusts `trusted_height`, with the evidence for which the region is frozen."""
    pairs: list[list[Any]] = [*record.get("judged", ()), *(pair for entry in evidence for pair in entry["pairs"])]
    return [pair for pair in pairs if pair[0] > trusted_height][-MAX_JUDGED:]


def is_judged(record: dict[str, Any], pairs: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether a recovery has judged one of these pairs of block ids."""
    judged = [{first_id, second_id} for _, first_id, second_id in record.get("judged", ())]
    return any({first.hex(), second.hex()} in judged for first, second in pairs)


def keep_anchored_id(records: Records, record: dict[str, Any], height: int, block_id: str) -> None:
    """Write the id of an anchored height; heights that the chain or a recovery skipped hold an empty id."""
    key = state.anchored(record["network"], height)
    position = height % state.BUCKET_SIZE
    ids = list((records.get(key) or {}).get("ids", ()))
    ids.extend([""] * (position - len(ids)))
    records.put(key, {"client_type": record["client"]["client_type"], "ids": [*ids[:position], block_id]})


def anchored_id(records: Records, network: str, height: int) -> bytes | None:
    """The id anchored at a height, or None."""
    if height < 0:
        return None
    ids = (records.get(state.anchored(network, height)) or {}).get("ids", ())
    position = height % state.BUCKET_SIZE
    return bytes.fromhex(ids[position]) if position < len(ids) and ids[position] else None


def lag_ms(record: dict[str, Any], now_ms: int) -> int:
    """Age of the newest anchored block at custody time `now_ms`; since trust was given while there is none."""
    return max(0, now_ms - (int(record["anchored"]["time_ms"]) or int(record["client"]["established_ms"])))


def derived_state(record: dict[str, Any], now_ms: int) -> str:
    """`frozen`, `expired`, `silent`, `lagging` or `active` at custody time `now_ms` (protocol rule 19).

    A region of which a block is partly delivered is lagging: its positions are ahead of its anchored height.
    """
    if record["frozen"] is not None:
        return "frozen"
    client = record["client"]
    if has_expired(client["time_ms"], client["established_ms"], client["trusting_period_ms"], now_ms):
        return "expired"
    lag = lag_ms(record, now_ms)
    if lag > record["silent_after_ms"]:
        return "silent"
    return "lagging" if lag > record["lagging_after_ms"] or record["partial"] is not None else "active"
