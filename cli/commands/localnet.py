"""`tongjian localnet`: found, run, inspect, disturb and stop a local network."""

from __future__ import annotations

import contextlib
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from cli import output
from cli.localnet import processes
from cli.localnet.launch import launch
from cli.localnet.layout import Chain, LocalNetwork, Process, load_network
from cli.localnet.markets import PILOTS
from cli.localnet.network_lock import changing
from cli.output import Group
from common.core.errors import Conflict, Unavailable

UP_PATIENCE_S = 120.0
START_PATIENCE_S = 3.0
"""A node that cannot start says so within a second or two; one that replays a long chain needs longer, and lives."""
DIRECTORY = click.argument("directory", type=click.Path(path_type=Path, file_okay=False))


@click.group(cls=Group)
def command() -> None:
    """A whole network as processes of this machine."""


@command.command()
@DIRECTORY
@click.option("--validators", type=click.IntRange(2, 39), default=4, show_default=True, help="Validators a chain.")
@click.option("--regions", default=",".join(PILOTS), show_default=True, help="Business chains, by chain name.")
@click.option("--base-port", type=click.IntRange(1024, 65535), default=18000, show_default=True)
@click.option("--relays", type=click.IntRange(1, 9), default=1, show_default=True)
@click.option(
    "--containers", is_flag=True, help="Settings for one container a process, which reach each other by name."
)
@click.option("--if-absent", is_flag=True, help="Succeed without touching anything if the network is there already.")
@output.AS_JSON
def init(
    directory: Path,
    validators: int,
    regions: str,
    base_port: int,
    relays: int,
    containers: bool,
    if_absent: bool,
    as_json: bool,
) -> None:
    """Make keys, certificates, genesis documents and settings in DIRECTORY, and DIRECTORY/network.json."""
    from cli.localnet.initialise import Plan, initialise

    if if_absent and (directory / "network.json").is_file():
        if as_json:
            output.print_json(_summary(load_network(directory), made=False))
        else:
            click.echo(f"{directory} holds a network already; nothing was changed")
        return
    plan = Plan(
        directory=directory,
        regions=[region.strip() for region in regions.split(",") if region.strip()],
        validators=validators,
        base_port=base_port,
        relays=relays,
        containers=containers,
    )
    network = initialise(plan, now_ms=time.time_ns() // 1_000_000, progress=output.progress)
    if as_json:
        output.print_json(_summary(network, made=True))
        return
    nodes = sum(len(chain.nodes) for chain in network.chains)
    click.echo(f"{len(network.chains)} chains, {nodes} nodes, {relays} relay(s) in {directory}")
    click.echo(f"run them: tongjian localnet up {directory}")


def _summary(network: LocalNetwork, *, made: bool) -> dict[str, Any]:
    """What `localnet init` made, or found: the rest stands in the network's file."""
    return {
        "network_file": str(network.directory / "network.json"),
        "made": made,
        "chains": [
            {
                "network_id": chain.network_id,
                "tier": chain.tier,
                "genesis_id": chain.genesis_id,
                "nodes": [node.name for node in chain.nodes],
            }
            for chain in network.chains
        ],
        "relays": [relay.name for relay in network.relays],
    }


@command.command()
@DIRECTORY
@click.option("--detach", is_flag=True, help="Return once every chain has committed a block; the network goes on.")
def up(directory: Path, detach: bool) -> None:
    """Start every process that does not run. Without --detach: stay, and stop them all on Ctrl-C."""
    with changing(directory) as network:
        idle = [process for process in network.processes() if not processes.is_running(process)]
        if not idle:
            detail = f"every process of {directory} runs already; see: tongjian localnet status {directory}"
            raise Conflict("already_running", detail)
        output.progress(f"starting {len(idle)} processes")
        started = launch(network, idle, tied_to_parent=not detach)
        network = processes.record_started(network, started)
    from cli.localnet.readiness import wait_until_committing

    try:
        wait_until_committing(network, patience_s=UP_PATIENCE_S, progress=output.progress, children=started)
        click.echo(
            f"{len(network.chains)} chains commit; what clients need stands in {network.directory / 'network.json'}"
        )
        if not detach:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            click.echo("Ctrl-C stops the network")
            signal.pause()
    except KeyboardInterrupt:
        click.echo("stopping", err=True)
        _stop(directory, started)
    except BaseException:
        _stop(directory, started)
        raise


def _stop(directory: Path, running: list[Process]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes.stop(running)
    _record_stopped(directory, running)


def _record_stopped(directory: Path, ended: list[Process]) -> None:
    """Clear the pids of processes that have ended; left undone if the network is busy: they count as ended anyway."""
    with contextlib.suppress(Conflict), changing(directory) as network:
        processes.record_stopped(network, ended)


@command.command()
@DIRECTORY
@output.AS_JSON
def status(directory: Path, as_json: bool) -> None:
    """Show every process: running or not, height, view, peers, votes. Exit code 1 if one does not run or answer.

    What answers runs, though this command line has not started it (containers): then without a pid.
    """
    network = load_network(directory)
    with ThreadPoolExecutor(max_workers=max(1, len(network.processes()))) as asking:  # who hangs is waited for once
        nodes = [asking.submit(_node_row, network, chain, node) for chain in network.chains for node in chain.nodes]
        relays = [asking.submit(_relay_row, network, relay) for relay in network.relays]
        rows = [asked.result() for asked in (*nodes, *relays)]
    if as_json:
        output.print_json(rows)
    else:
        columns = ["name", "running", "pid", "height", "view", "peers", "ready", "voting"]
        shown = [row | {"pid": row["pid"] and str(row["pid"])} for row in rows]  # a name, not an amount: 17354
        click.echo(output.table(columns, [["–" if row.get(c) is None else row[c] for c in columns] for row in shown]))
    if not all(row["running"] and row["ready"] for row in rows):
        raise SystemExit(1)


def _node_row(network: LocalNetwork, chain: Chain, node: Process) -> dict[str, Any]:
    from cli.localnet.readiness import node_status

    started, answer = processes.is_running(node), node_status(network, chain, node)
    return {
        "name": node.name,
        "running": started or answer is not None,
        "pid": node.pid if started else None,
        "height": answer and answer["height"],
        "view": answer and answer["view"],
        "peers": answer and _peer_count(answer),
        "ready": bool(answer and answer.get("ready")),
        "voting": answer and answer.get("voting"),
    }


def _relay_row(network: LocalNetwork, relay: Process) -> dict[str, Any]:
    from cli.localnet.readiness import is_relay_serving

    started, serving = processes.is_running(relay), is_relay_serving(network, relay)
    return {
        "name": relay.name,
        "running": started or serving,
        "pid": relay.pid if started else None,
        "ready": serving,
    }


def _peer_count(answer: dict[str, Any]) -> int:
    peers = answer.get("peers", 0)
    return peers if isinstance(peers, int) else len(peers)


@command.command()
@DIRECTORY
def down(directory: Path) -> None:
    """Stop every process of the network."""
    with changing(directory) as network:
        running = [process for process in network.processes() if processes.is_running(process)]
        insisted = processes.stop(running)
        processes.record_stopped(network, network.processes())
    click.echo(f"stopped {len(running)} processes" + (f"; had to kill {', '.join(insisted)}" if insisted else ""))


@command.command()
@DIRECTORY
@click.argument("chain")
@output.AS_JSON
def add(directory: Path, chain: str, as_json: bool) -> None:
    """Make keys and settings of one more node of CHAIN: an observer until governance lets it sign.

    Prints the file that `tongjian membership plan --add` takes.
    """
    from cli.localnet.grow import add_node

    with changing(directory) as network:
        network, part = add_node(network, chain, now_ms=time.time_ns() // 1_000_000)
    process = network.process(part.name)
    public_file = process.config.parent / "public.json"
    if as_json:
        output.print_json(
            {"name": part.name, "public_key": part.public_key, "api": process.api, "public_file": str(public_file)}
        )
    else:
        click.echo(public_file)


@command.command()
@DIRECTORY
@click.argument("node")
def stop(directory: Path, node: str) -> None:
    """End one process in order (SIGTERM), as `node prune`, `backup`, `check` and `repair` need it; the others go on."""
    with changing(directory) as network:
        process = network.process(node)
        if not processes.is_running(process):
            raise Conflict("not_running", f"{node} does not run")
        insisted = processes.stop([process])
        processes.record_stopped(network, [process])
    click.echo(f"stopped {node}" + ("; it had to be killed" if insisted else ""))


@command.command()
@DIRECTORY
@click.argument("node")
def kill(directory: Path, node: str) -> None:
    """End one process at once (SIGKILL), as a crash would."""
    with changing(directory) as network:
        process = network.process(node)
        if not processes.is_running(process):
            raise Conflict("not_running", f"{node} does not run")
        processes.signal_process(process, signal.SIGKILL)
        while processes.is_running(process):
            time.sleep(0.01)
        processes.record_stopped(network, [process])
    click.echo(f"killed {node}")


@command.command()
@DIRECTORY
@click.argument("node")
def start(directory: Path, node: str) -> None:
    """Start one process again; fails with the last line of its log if it ends at once."""
    from cli.localnet.readiness import log_size, wait_until_started

    with changing(directory) as network:
        process = network.process(node)
        if processes.is_running(process):
            raise Conflict("already_running", f"{node} runs already, pid {process.pid}")
        log_begin = log_size(process)
        (started,) = launch(network, [process], tied_to_parent=False)
        processes.record_started(network, [started])
    try:
        wait_until_started(started, log_begin, patience_s=START_PATIENCE_S)
    except Unavailable:
        _record_stopped(directory, [started])
        raise
    click.echo(f"started {node}")
