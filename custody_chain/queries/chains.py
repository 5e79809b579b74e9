"""Questions about the regions' chains: how far they are verified, what was delivered, what a market has to mend.

Left out: what the snapshots mean (`holdings`, `alerts`).
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from common.core.errors import Malformed, Rejected
from common.model.document import parse_document
from common.model.schemas import SCHEMA_SETS
from common.node.store.chain_moment import MAX_PROVEN
from custody_chain import evidence_making, regions
from custody_chain.intake import SCHEMA_FAILED
from custody_chain.queries.moment import QueryMoment
from custody_chain.tables.alerts import alerts_of
from custody_chain.tables.deliveries import LOG, LogKey
from custody_chain.tables.objects import ANOMALIES
from custody_chain.tables.regions import REGIONS, Region

_LOG_PLACE: Final = re.compile("([0-9a-f]{16})/[0-9a-f]{16}")
_FEEDBACK_PAGE: Final = 100
"""Anomalies, and alerts, of a region if the question names no limit; with proofs fewer, so that all can be proven."""
_SCAN: Final = 500
"""Entries read at once while filtering."""
_MAX_SCANNED: Final = 5000
"""Entries that one page looks through; the next page goes on from there."""
_PARTS: Final = "~"
"""Between the two parts of a cursor of feedback; no key of the state holds it (`tables.table.component`)."""

ADVICE: Final = {
    "oversized": "A snapshot is at most 64 KiB; move attachments to the off-chain store and overwrite this version.",
    "not_json": "The snapshot is not JSON with unique keys, plain numbers and valid UTF-8; overwrite this version.",
    "header_invalid": "header.content does not follow JR/T 0314-2024; overwrite this version.",
    "unknown_kind": "header.content.type is none of the seven kinds of the data model; overwrite this version.",
    SCHEMA_FAILED: "The object fails the JSON Schema of its kind; overwrite this version.",
    "merged_too_large": "The object with this update is above 64 KiB; overwrite this version with less.",
    "quantity_out_of_range": "A balance or total is beyond 10^15 or 6 decimal places; overwrite this version.",
}
"""What a market can do about each anomaly code."""


def region_row(record: Region, now_ms: int) -> dict[str, Any]:
    """What everybody who may see a region is told of it."""
    anchored, partial, client = record.anchored, record.partial, record.client
    return {
        "region": record.network,
        "region_letters": record.region_letters,
        "state": regions.derived_state(record, now_ms),
        "verified_height": client.height,
        "anchored_height": anchored.height,
        "block_id": anchored.id,
        "block_time_ms": anchored.time_ms,
        "lag_blocks": client.height - anchored.height,
        "lag_ms": regions.lag_ms(record, now_ms),
        "partial": None if partial is None else {"height": partial.height, "next_index": partial.delivered},
        "frozen": msgspec.to_builtins(record.frozen),
        "gaps": [list(gap) for gap in record.gaps],
        "counts": {
            name: getattr(record, name)
            for name in ("blocks", "snapshots", "anomalies", "anomalies_open", "alerts_open", "recoveries")
        },
        "lagging_after_ms": record.lagging_after_ms,
        "silent_after_ms": record.silent_after_ms,
        "trusting_period_ms": client.trusting_period_ms,
    }


def all_regions(moment: QueryMoment) -> dict[str, Any]:
    """Every region that the bearer sees."""
    return {"regions": [region_row(moment.region(network), moment.time_ms) for network in moment.regions()]}


def one_region(moment: QueryMoment, network: str) -> dict[str, Any]:
    """One region, with the light client's state: all that a relay needs to go on."""
    record = moment.region(network)
    return {
        **region_row(record, moment.time_ms),
        "client_state": msgspec.to_builtins(record.client),
        "journal": record.journal,
    }


def crosslink_log(
    moment: QueryMoment, network: str, from_height: int, cursor: str | None, limit: int
) -> dict[str, Any]:
    """What was accepted, what is anomalous and why, in the order in which the custody chain took it in.

    Raises `NotFound('region_unknown')`, `Malformed('cursor')`.
    """
    moment.region(network)
    start = LOG.path(LogKey(network, from_height - 1, 2**63)) if from_height > 0 else None
    if cursor is not None:
        place = _LOG_PLACE.fullmatch(cursor)
        if place is None or int(place[1], 16) > moment.height:
            raise Malformed("cursor", "Give the next_cursor of the page before.")
        start = LOG.prefix(network) + cursor.encode("ascii")
    found = moment.index_scan(LOG.prefix(network), start, limit + 1)
    entries = [(key, line) for key, line in found if line["custody_height"] <= moment.height]
    page = entries[:limit]
    prefix = len(LOG.prefix(network))
    more = len(entries) > limit
    return {
        "region": network,
        "entries": [line for _, line in page],
        "next_cursor": page[-1][0][prefix:].decode("ascii") if more else None,
    }


def feedback(
    moment: QueryMoment, networks: list[str], from_height: int, cursor: str | None, limit: int | None
) -> dict[str, Any]:
    """For markets: their own anomalies, alerts and lag since a custody height, each with who has to act.

    Without a limit at most `_FEEDBACK_PAGE` of each kind and region, with proofs as many as can be proven for all of
    them. Raises `Malformed('cursor')`, also for a cursor where several regions are asked for.
    """
    if cursor is not None and len(networks) != 1:
        raise Malformed("cursor", "A cursor goes on with the feedback of one region; name it.")
    size = feedback_page(len(networks), proven=moment.proven is not None) if limit is None else limit
    return {"regions": [_feedback_of(moment, network, from_height, cursor, size) for network in networks]}


def feedback_page(regions_asked: int, *, proven: bool) -> int:
    """Entries of each of two kinds for every region, whose record is proven too. At least 1 for `MAX_REGIONS`."""
    if not proven or not regions_asked:
        return _FEEDBACK_PAGE
    return min(_FEEDBACK_PAGE, (MAX_PROVEN - regions_asked) // (2 * regions_asked))


def _feedback_of(moment: QueryMoment, network: str, from_height: int, cursor: str | None, limit: int) -> dict[str, Any]:
    record = moment.region(network)
    prefixes = (ANOMALIES.prefix(network), alerts_of(network))
    starts = ("", "") if cursor is None else _feedback_cursor(moment, prefixes, cursor)
    (anomalies, next_anomaly), (alerts, next_alert) = (
        ([], None) if start is None else _recent(moment, prefix, start, from_height, limit)
        for prefix, start in zip(prefixes, starts, strict=True)
    )
    truncated = next_anomaly is not None or next_alert is not None
    return {
        "region": network,
        "lag": {
            "state": regions.derived_state(record, moment.time_ms),
            "lag_ms": regions.lag_ms(record, moment.time_ms),
            "lag_blocks": record.client.height - record.anchored.height,
            "attributed_to": attribute_lag(moment, record),
        },
        "anomalies": [{**item, **_explained(moment, record, item)} for item in anomalies],
        "alerts": [{**item, "attributed_to": "region"} for item in alerts],
        "truncated": truncated,
        "next_cursor": f"{next_anomaly or ''}{_PARTS}{next_alert or ''}" if truncated else None,
    }


def _feedback_cursor(moment: QueryMoment, prefixes: tuple[bytes, bytes], cursor: str) -> tuple[str | None, str | None]:
    """Where anomalies and alerts go on, each None if it came to its end. Raises `Malformed('cursor')`."""
    parts = cursor.split(_PARTS)
    known = len(parts) == len(prefixes) and cursor != _PARTS and cursor.isascii()
    if not known or any(
        part and moment.peek(prefix + part.encode("ascii")) is None
        for prefix, part in zip(prefixes, parts, strict=True)
    ):
        raise Malformed("cursor", "Give the next_cursor of the page before.")
    return parts[0] or None, parts[1] or None


def _recent(
    moment: QueryMoment, prefix: bytes, start: str, from_height: int, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """Alerts or anomalies that were opened or cleared at or after a custody height; at most `limit`.

    With the last one that was looked at, if there may be more.
    """
    found: list[dict[str, Any]] = []
    last = prefix + start.encode("ascii") if start else None
    for _ in range(_MAX_SCANNED // _SCAN):
        page = moment.scan(prefix, last, _SCAN)
        for key, value in page:
            touched = max(value["opened"]["custody_height"], (value["cleared"] or value["opened"])["custody_height"])
            if touched >= from_height:
                if len(found) == limit:
                    return found, _below(prefix, last)
                if moment.proven is not None:
                    moment.get(key)
                found.append(value)
            last = key
        if len(page) < _SCAN:
            return found, None
    return found, _below(prefix, last)


def _below(prefix: bytes, key: bytes | None) -> str | None:
    return None if key is None else key[len(prefix) :].decode("ascii")


def attribute_lag(moment: QueryMoment, record: Region) -> str | None:
    """Whom a lag points to: `region`, `relay`, `custody` or `unknown`; None while there is none.

    From the custody chain alone a stopped region and a stopped relay look the same; what can be told is told, no more.
    A contradiction is the region's; a block of which a part came is the relay's to finish, whatever the region does;
    when all regions lag at once, their common part, the relay, is the likelier cause.
    """
    standing = regions.derived_state(record, moment.time_ms)
    if standing == "active":
        return None
    if standing == "frozen":
        return "region"
    if record.partial is not None:
        return "relay"
    every = [value for _, value in moment.scan(REGIONS.prefix(), None, regions.MAX_REGIONS, REGIONS)]
    if len(every) > 1 and all(regions.derived_state(other, moment.time_ms) != "active" for other in every):
        return "relay"
    return "unknown"


def _explained(moment: QueryMoment, record: Region, anomaly: dict[str, Any]) -> dict[str, Any]:
    """Advice, and for a failed schema the reasons in a library's words: help for people, not part of the chain."""
    reasons: list[str] = []
    if anomaly["code"] == SCHEMA_FAILED and anomaly["state"] == "open":
        client_type = record.client.client_type
        try:
            place = record.network, anomaly["object_id"], anomaly["height"], anomaly["index"]
            data, _ = evidence_making.snapshot_of(moment.reader, client_type, *place, prove=False)
            document = parse_document(data, max_size=len(data))
            judged_in = moment.reader.header(anomaly["opened"]["custody_height"])
            reasons = SCHEMA_SETS.at(judged_in.protocol_version).explain(anomaly["kind"], document)
        except Rejected:
            reasons = []
    return {"advice": ADVICE[anomaly["code"]], "reasons": reasons}
