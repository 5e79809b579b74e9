"""Wait until a local network does its work: every node answers and every chain has committed a block."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from cli.client import Api
from cli.localnet.layout import CUSTODY, Chain, LocalNetwork, Process
from cli.localnet.processes import is_running
from common.core.errors import Rejected, Unavailable

POLL_S = 0.15
LOG_TAIL_LINES = 1
ANSWER_PATIENCE_S = 4.0
"""How long a process is waited for that may be paused."""
STARTED_LINES = (b'"message": "node started"', b'"message": "relay started"')
"""What a node or relay logs once it listens."""


def reader_credential(network_id: str) -> str:
    """The credential that reads a chain's node interface."""
    return f"{network_id}-reader" if network_id != CUSTODY else "custody-reader"


def node_api(network: LocalNetwork, chain: Chain, nodes: Sequence[Process] | None = None) -> Api:
    """A reader of a chain through some of its nodes (all by default)."""
    urls = [node.api for node in (nodes or chain.nodes)]
    return Api(urls, network.token(reader_credential(chain.network_id)), network.ca_file)


def node_status(network: LocalNetwork, chain: Chain, node: Process) -> dict[str, Any] | None:
    """One node's answer to the status call, or None if it does not answer in time."""
    token = network.token(reader_credential(chain.network_id))
    try:
        with Api([node.api], token, network.ca_file, timeout_s=ANSWER_PATIENCE_S) as api:
            return dict(api.get(f"/v1/networks/{chain.network_id}/status"))
    except (Rejected, httpx.HTTPError):
        return None


def is_relay_serving(network: LocalNetwork, relay: Process) -> bool:
    """Whether a relay answers its health check in time."""
    try:
        with Api([relay.api], None, network.ca_file, timeout_s=ANSWER_PATIENCE_S) as api:
            api.text("/healthz")
    except (Rejected, httpx.HTTPError):
        return False
    return True


def wait_until_committing(
    network: LocalNetwork, *, patience_s: float, progress: Callable[[str], None], children: Sequence[Process] = ()
) -> None:
    """Return once every node of every chain shows a committed block.

    Raises Unavailable with the log's last lines if one of `children` ends, or when `patience_s` is over.
    """
    deadline = time.monotonic() + patience_s
    waiting = {node.name: (chain, node) for chain in network.chains for node in chain.nodes}
    seen: set[str] = set()
    while waiting:
        for name, (chain, node) in list(waiting.items()):
            status = node_status(network, chain, node)
            if status is not None and status["height"] >= 1:
                del waiting[name]
        done = {chain.network_id for chain in network.chains} - {chain.network_id for chain, _ in waiting.values()}
        for network_id in sorted(done - seen):
            progress(f"{network_id}: every node has committed a block")
        seen |= done
        dead = [process for process in children if not is_running(process)]
        if dead:
            raise Unavailable(
                "process_ended", "; ".join(f"{process.name} ended: {_log_tail(process)}" for process in dead)
            )
        if waiting and time.monotonic() > deadline:
            raise Unavailable(
                "network_not_ready", f"no committed block after {patience_s:.0f} s on {', '.join(waiting)}"
            )
        if waiting:
            time.sleep(POLL_S)


def log_size(process: Process) -> int:
    """Bytes in a process's log; where the lines of its next life begin."""
    try:
        return process.log.stat().st_size
    except FileNotFoundError:
        return 0


def wait_until_started(process: Process, log_begin: int, *, patience_s: float) -> None:
    """Return once the process says in its log, behind `log_begin` bytes, that it serves, or when `patience_s` is over
    and it still lives. (An answer at its port would prove less: it may be another's who has taken it.)

    Raises Unavailable('process_ended') with the log's last line.
    """
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if not is_running(process):
            raise Unavailable("process_ended", f"{process.name} ended: {_log_tail(process)}")
        if log_size(process) > log_begin and _says_started(process, log_begin):
            return
        time.sleep(POLL_S)


def _says_started(process: Process, log_begin: int) -> bool:
    with process.log.open("rb") as log:
        log.seek(log_begin)
        said = log.read()
    return any(line in said for line in STARTED_LINES)


def _log_tail(process: Process) -> str:
    try:
        lines = process.log.read_text(errors="replace").splitlines()
    except OSError:
        return f"no log at {process.log}"
    return " / ".join(lines[-LOG_TAIL_LINES:]) or f"empty log {process.log}"
