"""The regions: what the custody chain trusts about each business chain, and how far it has verified it.

The record is `custody_chain.tables.regions.Region`. `abandoned` is there from a recovery that found a block partly
delivered until the next header: what was taken in of that block is not taken in twice. `judged` are pairs of blocks for
whose contradiction the region was frozen before recoveries. `gaps` are blocks at and below a checkpoint that were not
completely taken in: what is missing of them is in no figure.

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

from msgspec.structs import asdict

from common.core.errors import Malformed, NotFound, RuleBroken
from common.core.exact_fields import complaint
from common.core.names import check_network
from common.model.codes import REGION_LETTERS
from crosslink.lightclient.client_state import ClientState, has_expired
from crosslink.lightclient.client_types import check_available
from crosslink.lightclient.trust_root import TrustRoot
from crosslink.lightclient.verify import MAX_HEADER_AHEAD_MS
from custody_chain.records import Records
from custody_chain.tables.regions import (
    ANCHORED,
    BUCKET_SIZE,
    REGIONS,
    Abandoned,
    AnchoredIds,
    AnchoredTip,
    Client,
    MisbehaviourRecord,
    Region,
    RegionKey,
    bucket_key,
)

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


Pair = tuple[int, str, str]
"""Height and ids of two blocks that contradict each other."""
Gap = tuple[int, int]
"""From and to which height blocks were not completely taken in."""


def new_region(document: Any, *, custody_network: str, now_ms: int, protocol_version: int) -> Region:
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
    return Region(
        network=network,
        region_letters=letters,
        client=kept_client(client),
        anchored=AnchoredTip(client.height, client.block_id.hex(), client.time_ms),
        silent_after_ms=silent,
        lagging_after_ms=min(_period(document, "lagging_after_ms", DEFAULT_LAGGING_AFTER_MS), silent),
        gaps=gaps_with((), 0, client.height),
    )


def kept_client(client: ClientState) -> Client:
    """A light client's state as the region's record holds it."""
    return Client(**client.to_json())


def client_state(record: Region) -> ClientState:
    """The state of a region's light client."""
    return ClientState.from_json(asdict(record.client))


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


def add_region(records: Records, record: Region) -> None:
    """Keep a new region and the id that its first block must follow."""
    records.put(REGIONS, RegionKey(record.network), record)
    keep_anchored_id(records, record, record.anchored.height, record.anchored.id)


def load(records: Records, network: str) -> Region:
    """A region's record. Raises `NotFound('region_unknown')`."""
    record = records.get(REGIONS, RegionKey(network))
    if record is None:
        raise NotFound("region_unknown", "This network is not a region of the custody chain.", region=network)
    return record


def is_tip_given(record: Region) -> bool:
    """Whether the anchored block is the one that a trust root named, so that no header has shown its time."""
    return record.client.root_height == record.anchored.height


def delivered_part(record: Region) -> Abandoned | None:
    """What is in of a block that was never complete, for a recovery to keep."""
    partial = record.partial
    return record.abandoned if partial is None else Abandoned(partial.height, partial.id, partial.delivered)


def gaps_with(gaps: tuple[Gap, ...], anchored_height: int, trusted_height: int) -> tuple[Gap, ...]:
    """The gaps of a record when trust moves up from an anchored height; none while nothing was skipped."""
    if trusted_height > anchored_height:
        joined = bool(gaps) and gaps[-1][1] == anchored_height
        first = gaps[-1][0] if joined else anchored_height + 1
        gaps = (*(gaps[:-1] if joined else gaps), (first, trusted_height))
    return gaps if len(gaps) <= MAX_GAPS else ((gaps[0][0], gaps[1][1]), *gaps[2:])


def judged_pairs(record: Region, evidence: Sequence[MisbehaviourRecord], trusted_height: int) -> tuple[Pair, ...]:
    """What is judged once governance trusts `trusted_height`, with the evidence for which the region is frozen."""
    shown = [pair for contradiction in evidence for pair in contradiction.pairs]
    return tuple([pair for pair in (*record.judged, *shown) if pair[0] > trusted_height][-MAX_JUDGED:])


def is_judged(record: Region, pairs: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether a recovery has judged one of these pairs of block ids."""
    judged = [{first_id, second_id} for _, first_id, second_id in record.judged]
    return any({first.hex(), second.hex()} in judged for first, second in pairs)


def keep_anchored_id(records: Records, record: Region, height: int, block_id: str) -> None:
    """Write the id of an anchored height; heights that the chain or a recovery skipped hold an empty id."""
    key, position = bucket_key(record.network, height), height % BUCKET_SIZE
    bucket = records.get(ANCHORED, key)
    ids = () if bucket is None else bucket.ids[:position]
    skipped = [""] * (position - len(ids))
    records.put(ANCHORED, key, AnchoredIds(record.client.client_type, (*ids, *skipped, block_id)))


def anchored_id(records: Records, network: str, height: int) -> bytes | None:
    """The id anchored at a height, or None."""
    bucket = None if height < 0 else records.get(ANCHORED, bucket_key(network, height))
    return None if bucket is None else id_in(bucket, height)


def id_in(bucket: AnchoredIds, height: int) -> bytes | None:
    """The id of a height in its bucket, or None if none is anchored there."""
    position = height % BUCKET_SIZE
    return bytes.fromhex(bucket.ids[position]) if position < len(bucket.ids) and bucket.ids[position] else None


def lag_ms(record: Region, now_ms: int) -> int:
    """Age of the newest anchored block at custody time `now_ms`; since trust was given while there is none."""
    return max(0, now_ms - (record.anchored.time_ms or record.client.established_ms))


def derived_state(record: Region, now_ms: int) -> str:
    """`frozen`, `expired`, `silent`, `lagging` or `active` at custody time `now_ms` (protocol rule 19).

    A region of which a block is partly delivered is lagging: its positions are ahead of its anchored height.
    """
    if record.frozen is not None:
        return "frozen"
    client = record.client
    if has_expired(client.time_ms, client.established_ms, client.trusting_period_ms, now_ms):
        return "expired"
    lag = lag_ms(record, now_ms)
    if lag > record.silent_after_ms:
        return "silent"
    return "lagging" if lag > record.lagging_after_ms or record.partial is not None else "active"
