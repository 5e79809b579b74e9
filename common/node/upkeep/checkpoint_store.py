"""Checkpoints as files of a node: made in a thread from a moment of the chain, kept two at a time, served to peers.

    data_dir/checkpoints/<height, 20 digits>/manifest
    data_dir/checkpoints/<height, 20 digits>/<number, 8 digits>

Files and not the database, so that serving costs a read, a restart keeps them, and an old moment of the database is
held no longer than it takes to copy it.

Invariants
  Y1  Consensus goes on: one thread does the work and rests three times as long as it works, so it takes a quarter of
      one core at most. Of a checkpoint that comes due meanwhile nothing is made.
  Y2  A checkpoint appears under its name when it is complete; what a crash left unfinished is removed at the start.
  Y3  A chunk is checked against its id before it is served: a bad disk must not make this node look like a liar.
  Y4  A checkpoint that cannot be made (full disk) is one warning; the node goes on, until votes find it full (S5).

Left out: what is in a checkpoint (`checkpoint`), who asks (`serving`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from common.core.errors import InvariantBroken, Rejected
from common.core.suite import Suite
from common.node.logic.catchup.checkpoint_format import Manifest, chunk_id, chunks_of
from common.node.logic.wire.checkpoint_messages import MANIFEST_PART, Offer
from common.node.store import disk
from common.node.store.chain_reader import ChainReader

CHECKPOINTS_DIRECTORY: Final = "checkpoints"
KEPT: Final = 2
"""The newest is offered; the one before it lets a joining node finish that began with it."""
REST_FACTOR: Final = 3.0
_PARTIAL: Final = ".partial"

_log = logging.getLogger("tongjian.node")


class CheckpointFiles:
    """The finished checkpoints of one node. Reading is for the node's thread, `add` for the one that makes them."""

    def __init__(self, directory: Path, suite: Suite) -> None:
        """Load what is there; remove what is unfinished or unreadable (Y2). Raises OSError."""
        self._directory = directory
        self._suite = suite
        self._lock = threading.Lock()
        self._manifests: dict[int, Manifest] = {}
        for folder in sorted(directory.iterdir()) if directory.is_dir() else []:
            manifest = None if folder.name.endswith(_PARTIAL) else _load(folder)
            if manifest is None:
                disk.remove_tree(folder, "checkpoint.remove")
            else:
                self._manifests[manifest.height] = manifest

    def offers(self) -> tuple[Offer, ...]:
        """See `checkpoint.CheckpointSource`."""
        with self._lock:
            manifests = sorted(self._manifests.items(), reverse=True)
        return tuple([manifest.offer(self._suite) for _, manifest in manifests[:KEPT]])

    def part(self, height: int, number: int) -> bytes | None:
        """See `checkpoint.CheckpointSource` (Y3)."""
        manifest = self._manifests.get(height)
        if manifest is None:
            return None
        if number == MANIFEST_PART:
            return manifest.encode()
        if number >= len(manifest.chunks):
            return None
        try:
            chunk = (self._folder(height) / f"{number:08d}").read_bytes()
        except OSError:
            return None
        if chunk_id(self._suite, chunk) == manifest.chunks[number].id:
            return chunk
        _log.error("a chunk of a checkpoint is damaged", extra={"height": height, "chunk": number})
        self._forget(height)
        return None

    def make(self, moment: ChainReader, rest: Callable[[float], None], stopped: Callable[[], bool]) -> Manifest | None:
        """Write the checkpoint of a moment; `rest` is called with seconds between chunks. None if it was stopped.

        Raises DamagedStore or OSError; nothing is offered then.
        """
        header = moment.tip().header
        if header is None:
            raise InvariantBroken("there is no checkpoint of height 0")
        folder = self._folder(header.height)
        partial = folder.with_name(folder.name + _PARTIAL)
        disk.remove_tree(partial, "checkpoint.remove")
        partial.mkdir(parents=True, mode=0o700)
        infos = []
        began = time.monotonic()
        for number, (info, chunk) in enumerate(chunks_of(moment)):
            disk.write_file(partial / f"{number:08d}", chunk, "checkpoint.write")
            infos.append(info)
            rest(REST_FACTOR * (time.monotonic() - began))
            began = time.monotonic()
            if stopped():
                disk.remove_tree(partial, "checkpoint.remove")
                return None
        manifest = Manifest(header, tuple(infos))
        disk.write_file(partial / "manifest", manifest.encode(), "checkpoint.write")
        disk.remove_tree(folder, "checkpoint.remove")
        disk.rename(partial, folder, "checkpoint.rename")
        self._add(manifest)
        return manifest

    def _add(self, manifest: Manifest) -> None:
        with self._lock:
            self._manifests[manifest.height] = manifest
            old = sorted(self._manifests)[:-KEPT]
        for height in old:
            self._forget(height)

    def _forget(self, height: int) -> None:
        with self._lock:
            self._manifests.pop(height, None)
        disk.remove_tree(self._folder(height), "checkpoint.remove")

    def _folder(self, height: int) -> Path:
        return self._directory / f"{height:020d}"


def _load(folder: Path) -> Manifest | None:
    try:
        manifest = Manifest.decode((folder / "manifest").read_bytes())
    except (OSError, Rejected):
        return None
    return manifest if folder.name == f"{manifest.height:020d}" else None


class CheckpointMaker:
    """Makes checkpoints in a thread of its own (Y1)."""

    def __init__(self, files: CheckpointFiles) -> None:
        self._files = files
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._stopping = threading.Event()
        self._busy = False

    def make(self, moment: ChainReader) -> None:
        """Begin, unless one is being made."""
        if self._busy or self._stopping.is_set():
            return
        self._busy = True
        self._thread.submit(self._run, moment)

    def close(self) -> None:
        """Give up what is being made, and wait for the thread."""
        self._stopping.set()
        self._thread.shutdown()

    def _run(self, moment: ChainReader) -> None:
        began = time.monotonic()
        height = moment.tip().height
        try:
            manifest = self._files.make(moment, self._rest, self._stopping.is_set)
        except (OSError, InvariantBroken) as error:
            _log.warning("a checkpoint could not be made", extra={"height": height, "error": str(error)})
        else:
            if manifest is not None:
                _log.info(
                    "checkpoint made",
                    extra={
                        "height": height,
                        "chunks": len(manifest.chunks),
                        "bytes": manifest.size_bytes,
                        "took_ms": int((time.monotonic() - began) * 1000),
                    },
                )
        finally:
            self._busy = False

    def _rest(self, seconds: float) -> None:
        self._stopping.wait(seconds)
