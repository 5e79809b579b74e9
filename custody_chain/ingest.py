"""One proven snapshot becomes supervisory state, or an anomaly. Called in the order in which the region committed them.

Invariants:
  * `ingest` never raises `Rejected`: whatever a region commits to, its chain goes on (protocol rule 16).
  * An anomalous snapshot changes no position, subject, account or product. The next good snapshot of the object clears
    the anomaly.
  * The region's `journal` chains a hash over every snapshot and its verdict, so the header's state root commits to what
    the index says.
  * A snapshot's content chooses among fixed functions of this module by its kind, and of nothing else: it is data,
    never an operation (attack R8).
  * Rules are asked about what a snapshot changed once it is taken in (`supervision.judging`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec.structs import replace

from common.core.codec import Writer
from common.model.kinds.account import account_facts
from common.model.kinds.product import product_facts
from common.model.kinds.registration import registration_facts
from common.model.kinds.subject import subject_facts
from common.model.object_header import OVERWRITE, SnapshotHeader
from common.model.schemas import SCHEMA_SETS
from common.model.sealed import sealed_facts
from custody_chain.intake import (
    MERGED_KINDS,
    MERGED_TOO_LARGE,
    QUANTITY_OUT_OF_RANGE,
    SCHEMA_FAILED,
    Reading,
    body_to_judge,
    fits_when_merged,
    passes_schema,
    read_snapshot,
)
from custody_chain.objects import tracked, unread
from custody_chain.records import Records
from custody_chain.regions import load
from custody_chain.supervision import registry
from custody_chain.supervision.alerts import Moment
from custody_chain.supervision.judging import judge_touched
from custody_chain.supervision.movements import apply_registration
from custody_chain.supervision.positions import QuantityOutOfRange
from custody_chain.tables.deliveries import LOG, AnomalyClearedLine, AnomalyLine, LogKey, LogLine
from custody_chain.tables.objects import (
    ANOMALIES,
    BODIES,
    OBJECTS,
    REVISIONS,
    SEALED,
    Anomaly,
    DataObject,
    ObjectKey,
    Place,
    Revision,
    RevisionKey,
    Sealed,
    SealedKey,
    Where,
    anomaly_key,
)
from custody_chain.tables.regions import REGIONS, RegionKey

USABLE = "ok"
"""The verdict of a snapshot that is no anomaly."""


class _Registered(NamedTuple):
    """Where an object's last usable registration stands, or where it was if it was not complete."""

    place: Place | None = None
    incomplete: Where | None = None


def ingest(records: Records, moment: Moment, time_ms: int, data: bytes) -> str:
    """Take in one snapshot; return `USABLE` or the anomaly's code. `time_ms` is the time of the region's block."""
    reading = read_snapshot(data, SCHEMA_SETS.at(records.protocol_version))
    object_id = reading.object_id
    before = None if object_id is None else records.get(OBJECTS, ObjectKey(moment.network, object_id))
    registered = _Registered() if before is None else _Registered(before.place, before.incomplete)
    code = reading.anomaly
    if code is None and reading.header is not None:
        records.savepoint()
        try:
            code, registered = _take(records, moment, time_ms, reading, reading.header, before, registered)
        except QuantityOutOfRange:
            records.undo()
            code = QUANTITY_OUT_OF_RANGE
    if code is None and reading.header is not None:
        _seal(records, moment, reading, reading.header)
    digest = moment.suite.hash(data)
    if code is not None:
        _keep_out(records, moment, reading, code, digest)
    elif before is not None and before.anomalous and object_id is not None:
        _clear(records, moment, object_id)
    if object_id is not None:
        _track(records, moment, reading, object_id, before, code, registered)
    _journal(records, moment, digest, code or USABLE)
    judge_touched(records, moment)
    return code or USABLE


def _seal(records: Records, moment: Moment, reading: Reading, header: SnapshotHeader) -> None:
    """Keep the bodies off the chain that this version commits to, in place of what it committed to before."""
    bodies = sealed_facts(reading.document["header"].get("metadata"))
    key = SealedKey(moment.network, header.object_id, header.version)
    if bodies:
        records.put(SEALED, key, Sealed(bodies, moment.height, moment.index))
    elif header.operation == OVERWRITE:
        records.delete(SEALED, key)


def _take(
    records: Records,
    moment: Moment,
    time_ms: int,
    reading: Reading,
    header: SnapshotHeader,
    before: DataObject | None,
    registered: _Registered,
) -> tuple[str | None, _Registered]:
    """Judge by the schema and supervise. Returns the anomaly's code or None, and how the object is registered then.

    A registration's place stays where it is until a registration takes another one: a wrong kind between two
    registrations loses nothing, so that the second one replaces the first. Raises `QuantityOutOfRange`.
    """
    key = ObjectKey(moment.network, header.object_id)
    merged = header.kind in MERGED_KINDS
    same_kind = before is not None and before.kind == header.kind
    earlier = records.get(BODIES, key) if merged and same_kind else None
    body = body_to_judge(reading, earlier)
    if earlier is not None and not fits_when_merged(body):
        return MERGED_TOO_LARGE, registered
    if not passes_schema(reading, body, SCHEMA_SETS.at(records.protocol_version)):
        return SCHEMA_FAILED, registered
    deleted = body is None
    content = (earlier or {}) if body is None else body
    if merged:
        records.put(BODIES, key, content)
    if header.kind != "registration":
        _register(records, moment, reading, header, content, deleted=deleted)
        return None, registered
    registration = None if deleted else registration_facts(content, reading.document["header"].get("metadata"))
    if registration is None:
        return None, registered
    where = Where(moment.height, moment.index)
    since = where if before is None else before.since
    place = apply_registration(records, moment, key.object_id, time_ms, registration, registered.place, since)
    return None, _Registered(place, where if place is None else None)


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
    """Log an anomaly."""
    header, object_id = reading.header, reading.object_id
    key = anomaly_key(moment.network, object_id, Where(moment.height, moment.index))
    before = records.get(ANOMALIES, key)
    anomaly = Anomaly(
        object_id=object_id,
        kind=None if header is None else header.kind,
        version=None if header is None else header.version,
        operation=None if header is None else header.operation,
        height=moment.height,
        index=moment.index,
        code=code,
        hash=digest.hex(),
        state="open",
        opened=moment.seen,
        cleared=None,
        attributed_to="region",
    )
    records.put(ANOMALIES, key, anomaly)
    opened = 0 if before is not None and before.state == "open" else 1
    _count(records, moment, anomalies=1, anomalies_open=opened)
    line = AnomalyLine(code=code, object_id=object_id, height=moment.height, index=moment.index)
    write_log(records, moment, line)


def _clear(records: Records, moment: Moment, object_id: str) -> None:
    where = Where(moment.height, moment.index)
    key = anomaly_key(moment.network, object_id, where)
    before = records.get(ANOMALIES, key)
    if before is None or before.state == "cleared":
        return
    records.put(ANOMALIES, key, replace(before, state="cleared", cleared=moment.seen))
    _count(records, moment, anomalies=0, anomalies_open=-1)
    line = AnomalyClearedLine(code=before.code, object_id=object_id, height=moment.height, index=moment.index)
    write_log(records, moment, line)


def _track(
    records: Records,
    moment: Moment,
    reading: Reading,
    object_id: str,
    before: DataObject | None,
    code: str | None,
    registered: _Registered,
) -> None:
    """Keep the object, and index the snapshot for evidence and history."""
    header = reading.header
    revision = Revision(
        kind=None if header is None else header.kind,
        version=None if header is None else header.version,
        operation=None if header is None else header.operation,
        verdict=code or USABLE,
        custody_height=moment.custody_height,
    )
    key = ObjectKey(moment.network, object_id)
    records.add(REVISIONS, RevisionKey(*key, moment.height, moment.index), revision)
    where = Where(moment.height, moment.index)
    if header is None:
        records.put(OBJECTS, key, unread(before, where))
    else:
        after = tracked(before, header, where, anomalous=code is not None)
        records.put(OBJECTS, key, replace(after, place=registered.place, incomplete=registered.incomplete))


def _journal(records: Records, moment: Moment, digest: bytes, verdict: str) -> None:
    record = load(records, moment.network)
    data = Writer().fixed(bytes.fromhex(record.journal), 32).u64(moment.height).u32(moment.index)
    data.fixed(digest, 32).text8(verdict)
    link = moment.suite.tagged_hash("tongjian/crosslink-journal/v1", data.bytes())
    after = replace(record, journal=link.hex(), snapshots=record.snapshots + 1)
    records.put(REGIONS, RegionKey(moment.network), after)


def _count(records: Records, moment: Moment, *, anomalies: int, anomalies_open: int) -> None:
    record = load(records, moment.network)
    after = replace(
        record, anomalies=record.anomalies + anomalies, anomalies_open=record.anomalies_open + anomalies_open
    )
    records.put(REGIONS, RegionKey(moment.network), after)


def write_log(records: Records, moment: Moment, line: LogLine) -> None:
    """Append one line to the region's cross-chain log; the region record numbers the lines."""
    record = load(records, moment.network)
    records.put(REGIONS, RegionKey(moment.network), replace(record, log=record.log + 1))
    placed = replace(line, custody_height=moment.custody_height, time_ms=moment.custody_time_ms)
    records.add(LOG, LogKey(moment.network, moment.custody_height, record.log), placed)
