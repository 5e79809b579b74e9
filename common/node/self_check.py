"""Collects what a node knows of itself: peers, votes, disk, certificates, evidence against its validators.

Invariant: cheap enough for a probe every second; certificates are read from their files once a minute.
Left out: what any of it means (`self_judgement`), how it is shown (`http/health_routes.py`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from common.chain.evidence import ACCUSED
from common.core.errors import Rejected
from common.core.validators import ValidatorSet
from common.node.diagnosis.self_judgement import RECENT_BLOCKS, PeerFacts
from common.node.logic.node_events import PeerKey
from common.node.peer.certificates import read_certificates
from common.node.peer.transport import PeerReport
from common.node.settings import NodeSettings
from common.node.store.chain_store import ChainStore

CERTIFICATES_S: Final = 60.0
UNNAMED: Final = "unnamed"


class SelfCheck:
    """The machine under one node: its name, disk and certificates."""

    def __init__(self, settings: NodeSettings, now_ms: Callable[[], int]) -> None:
        self.name = settings.name
        self.now_ms = now_ms
        self.low_space_bytes = settings.limits.low_space_mib << 20
        self._data_dir = settings.data_dir
        self._files: dict[str, Path] = {
            "api": settings.api.certificate_file,
            "peer": settings.peer.certificate_file,
            "peer_ca": settings.peer.ca_file,
        }
        self._read_at = 0.0
        self._days: dict[str, int] = {}

    def free_bytes(self) -> int | None:
        """Space left where votes and blocks go; None if the system does not say."""
        try:
            return shutil.disk_usage(self._data_dir).free
        except OSError:
            return None

    def certificate_days(self) -> dict[str, int]:
        """Days until the first certificate of each file expires."""
        now = time.monotonic()
        if not self._days or now - self._read_at > CERTIFICATES_S:
            self._read_at = now
            self._days = {
                purpose: days for purpose, path in self._files.items() if (days := self._left(path)) is not None
            }
        return self._days

    def _left(self, path: Path) -> int | None:
        try:
            return min(certificate.days_left(self.now_ms()) for certificate in read_certificates(path))
        except (Rejected, ValueError):
            return None


def peer_facts(
    validators: ValidatorSet,
    own_key: PeerKey | None,
    reports: Sequence[PeerReport],
    places: dict[PeerKey, tuple[int, int]],
) -> list[PeerFacts]:
    """The round table: every other validator of the set, then what else is connected or configured."""
    by_key = {report.key: report for report in reports if report.key is not None}
    by_name = {report.name: report for report in reports if report.name}
    rows = []
    for member in validators.members:
        if member.public_key == own_key:
            continue
        report = by_key.pop(member.public_key, None) or by_name.get(member.name)
        rows.append(_row(member.name, member.organisation, True, report, places.get(member.public_key)))
    names = {member.name for member in validators.members}
    for key, report in by_key.items():
        if report.name not in names:
            rows.append(_row(report.name or UNNAMED, "", False, report, places.get(key)))
    return rows


def _row(
    name: str, organisation: str, member: bool, report: PeerReport | None, place: tuple[int, int] | None
) -> PeerFacts:
    height, view = place if place is not None else (None, None)
    if report is None:
        return PeerFacts(name=name, organisation=organisation, member=member, connected=False)
    return PeerFacts(
        name=name,
        organisation=organisation,
        member=member,
        connected=report.connected,
        height=height,
        view=view,
        silent_ms=report.silent_ms,
        round_trip_ms=report.round_trip_ms,
        clock_offset_ms=report.clock_offset_ms,
        error=report.last_error,
    )


def recent_views(chain: ChainStore) -> list[int]:
    """In which view each of the last blocks was decided, newest first."""
    tip = chain.tip().height
    return [chain.certificate(height).view for height in range(tip, max(0, tip - RECENT_BLOCKS), -1)]


def accused_members(chain: ChainStore, validators: ValidatorSet) -> list[str]:
    """Members of the set against whom there is evidence on the chain."""
    suite = chain.genesis.suite
    return [
        member.name
        for member in validators.members
        if chain.state_get(ACCUSED + suite.format_key(member.public_key).encode("ascii")) is not None
    ]
