"""One proven snapshot becomes supervisory state, or an anomaly. Called in the order in which the region committed them.

Value of ``anomaly/…``::

    {"object_id" | null, "kind" | null, "version" | null, "operation" | null, "height", "index", "code", "hash",
     "state": "open" | "cleared", "opened": MOMENT, "cleared": MOMENT | null, "attributed_to": "region"}

Invariants:
  * `ingest` never raises `Rejected`: whatever a region commits to, its chain goes on (protocol rule 16).
  * An anomalous snapshot changes no position, subject, account or product. The next good snapshot of the object clears
    the anomaly.
  * The region's `journal` chains a hash over every snapshot and its verdict, so the header's state root commits to what
    the index says.
  * A snapshot's content chooses among fixed functions of this module by its kind, and of nothing else: it is data,
    never an operation (attack R8).
"""

from __future__ import annotations

from typing import Any

from common.core.codec import Writer
from common.model.header import SnapshotHeader
from common.model.kinds.account import account_facts
from common.model.kinds.product import product_facts
from common.model.kinds.registration import registration_facts
from common.model.kinds.subject import subject_facts
from custody_chain import state
from custody_chain.intake import (
    MERGED_KINDS,
    MERGED_TOO_LARGE,
    OVERSIZED,
    QUANTITY_OUT_OF_RANGE,
    SCHEMA_FAILED,
    Reading,
    body_to_judge,
    fits_when_merged,
    passes_schema,
    read_snapshot,
)
from custody_chain.objects import next_record, version_fault
from custody_chain.records import Records
from custody_chain.supervision import registry
from custody_chain.supervision.alerts import Moment, clear_alert, raise_alert
from custody_chain.supervision.movements import apply_registration
from custody_chain.supervision.positions import QuantityOutOfRange

USABLE = "ok"
"""The verdict of a snapshot that is no anomaly."""


def ingest(records: Records, moment: Moment, time_ms: int, data: bytes) -> str:
    """Take in one snapshot; return `USABLE` or the anomaly's code. `time_ms` is the time of the region's block."""
    reading = read_snapshot(data)
    object_id = reading.object_id
    before = None if object_id is None else records.get_index(state.object_record(moment.network, object_id))
    place = None if before is None else before["place"]
    code = reading.anomaly
    if code is None and reading.header is not None:
        records.savepoint()
        code, place = _take(records, moment, time_ms, reading, reading.header, before)
    digest = moment.suite.hash(data)
    if code is not None:
        _keep_out(records, moment, reading, code, digest)
    elif before is not None and before["anomalous"] and object_id is not None:
        _clear(records, moment, object_id)
    if object_id is not None:
        _track(records, moment, reading, object_id, before, code, place)
    _journal(records, moment, digest, code or USABLE)
    return code or USABLE


def _take(
    records: Records,
    moment: Moment,
    time_ms: int,
    reading: Reading,
    header: SnapshotHeader,
    before: dict[str, Any] | None,
) -> tuple[str | None, Any]:
    """Judge by the schema and supervise. Returns the anomaly's code or None, and a registration's place.

    The place stays where it is until a registration takes another one: a wrong kind between two registrations loses
    nothing, so that the second one replaces the first.
    """
    network, object_id = moment.network, header.object_id
    same_kind = before is not None and before["kind"] == header.kind
    place = None if before is None else before["place"]
    merged = header.kind in MERGED_KINDS
    earlier = records.get_index(state.body(network, object_id)) if merged and same_kind else None
    body = body_to_judge(reading, earlier)
    if earlier is not None and not fits_when_merged(body):
        return MERGED_TOO_LARGE, place
    if not passes_schema(reading, body):
        return SCHEMA_FAILED, place
    deleted = body is None
    content = (earlier or {}) if body is None else body
    if merged:
        records.put_index(state.body(network, object_id), content)
    if header.kind != "registration":
        _register(records, moment, reading, header, content, deleted=deleted)
        return None, place
    registration = None if deleted else registration_facts(content, reading.document["header"].get("metadata"))
    if registration is None:
        return None, place
    try:
        since = [moment.height, moment.index] if before is None else before["since"]
        return None, apply_registration(records, moment, object_id, time_ms, registration, place, since)
    except QuantityOutOfRange:
        records.undo()
        return QUANTITY_OUT_OF_RANGE, place


def _register(
    records: Records, moment: Moment, reading: Reading, header: SnapshotHeader, content: Any, *, deleted: bool
) -> None:
    """Supervise who and what there is: subjects, accounts and products."""
    object_id, metadata = header.object_id, reading.document["header"].get("metadata")
    if header.kind == "subject":
        registry.apply_subject(records, moment, object_id, subject_facts(content, metadata), deleted=deleted)
    elif header.kind == "account":
        registry.apply_account(records, moment, object_id, account_facts(content), deleted=deleted)
    elif header.kind == "product":
        registry.apply_product(records, moment, object_id, product_facts(content, metadata), deleted=deleted)


def _keep_out(records: Records, moment: Moment, reading: Reading, code: str, digest: bytes) -> None:
    """Log an anomaly; an oversized snapshot raises its alert as well."""
    header = reading.header
    object_id = reading.object_id
    where = state.unnamed(moment.height, moment.index) if object_id is None else state.component(object_id)
    key = state.anomaly(moment.network, where)
    before = records.get(key)
    now = moment.to_json()
    records.put(
        key,
        {
            "object_id": object_id,
            "kind": None if header is None else header.kind,
            "version": None if header is None else header.version,
            "operation": None if header is None else header.operation,
            "height": moment.height,
            "index": moment.index,
            "code": code,
            "hash": digest.hex(),
            "state": "open",
            "opened": now,
            "cleared": None,
            "attributed_to": "region",
        },
    )
    opened = 0 if before is not None and before["state"] == "open" else 1
    _count(records, moment, anomalies=1, anomalies_open=opened)
    write_log(
        records,
        moment,
        {"type": "anomaly", "code": code, "object_id": object_id, "height": moment.height, "index": moment.index},
    )
    if code == OVERSIZED:
        about = [str(moment.height), str(moment.index)]
        objects = [{"kind": "snapshot", "id": state.unnamed(moment.height, moment.index)}]
        raise_alert(records, moment, "oversized_snapshot", about, objects, {"hash": digest.hex()})


def _clear(records: Records, moment: Moment, object_id: str) -> None:
    key = state.anomaly(moment.network, state.component(object_id))
    before = records.get(key)
    if before is None or before["state"] == "cleared":
        return
    records.put(key, {**before, "state": "cleared", "cleared": moment.to_json()})
    _count(records, moment, anomalies=0, anomalies_open=-1)
    write_log(
        records,
        moment,
        {
            "type": "anomaly_cleared",
            "code": before["code"],
            "object_id": object_id,
            "height": moment.height,
            "index": moment.index,
        },
    )


def _track(
    records: Records,
    moment: Moment,
    reading: Reading,
    object_id: str,
    before: dict[str, Any] | None,
    code: str | None,
    place: Any,
) -> None:
    """Keep the object's version, raise `version_gap`, and index the snapshot for evidence and history."""
    header = reading.header
    records.add_index(
        state.revision(moment.network, object_id, moment.height, moment.index),
        {
            "kind": None if header is None else header.kind,
            "version": None if header is None else header.version,
            "operation": None if header is None else header.operation,
            "verdict": code or USABLE,
            "custody_height": moment.custody_height,
        },
    )
    key = state.object_record(moment.network, object_id)
    if header is None:
        if before is not None:
            records.put_index(key, {**before, "anomalous": True, "unread": True})
        else:
            records.put_index(key, _unread(moment))
        return
    fault = version_fault(before, header)
    after = next_record(
        before,
        header,
        height=moment.height,
        index=moment.index,
        anomalous=code is not None,
        fault=fault,
        place=place,
    )
    if fault is not None:
        objects = [{"kind": header.kind, "id": object_id, "version": header.version}]
        newest = -1 if before is None else before["version"]
        details = {"fault": fault, "operation": header.operation, "version": header.version, "newest_before": newest}
        raise_alert(records, moment, "version_gap", [object_id], objects, details)
    elif before is not None and before["gap"] and not after["gap"]:
        clear_alert(records, moment, "version_gap", [object_id])
    records.put_index(key, after)


def _unread(moment: Moment) -> dict[str, Any]:
    """The entry of an object of which only an unreadable header has been seen."""
    return {
        "kind": "",
        "version": 0,
        "rewritten": None,
        "anomalous": True,
        "deleted": False,
        "gap": False,
        "place": None,
        "since": [moment.height, moment.index],
        "height": moment.height,
        "index": moment.index,
    }


def _journal(records: Records, moment: Moment, digest: bytes, verdict: str) -> None:
    key = state.region(moment.network)
    record = records.get(key)
    data = Writer().fixed(bytes.fromhex(record["journal"]), 32).u64(moment.height).u32(moment.index)
    data.fixed(digest, 32).text8(verdict)
    link = moment.suite.tagged_hash("tongjian/crosslink-journal/v1", data.bytes())
    records.put(key, {**record, "journal": link.hex(), "snapshots": record["snapshots"] + 1})


def _count(records: Records, moment: Moment, *, anomalies: int, anomalies_open: int) -> None:
    key = state.region(moment.network)
    record = records.get(key)
    records.put(
        key,
        {
            **record,
            "anomalies": record["anomalies"] + anomalies,
            "anomalies_open": record["anomalies_open"] + anomalies_open,
        },
    )


def write_log(records: Records, moment: Moment, entry: dict[str, Any]) -> None:
    """Append one line to the region's cross-chain log; the region record numbers the lines."""
    key = state.region(moment.network)
    record = records.get(key)
    number = record["log"]
    records.put(key, {**record, "log": number + 1})
    line = {"custody_height": moment.custody_height, "time_ms": moment.custody_time_ms, **entry}
    records.add_index(state.log_entry(moment.network, moment.custody_height, number), line)
