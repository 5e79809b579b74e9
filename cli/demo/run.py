"""The demonstration, step by step: found a network, run it, register, wait for custody, ask, check the answer.

Every child process is tied to this one, so that no way of ending the demonstration leaves a process behind. Ports are
looked for: a second demonstration on the same machine gets others."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from cli import output
from cli.demo import look_through
from cli.demo.submission import submit_region
from cli.localnet import processes
from cli.localnet.free_ports import reserved_base_port
from cli.localnet.initialise import Plan, initialise
from cli.localnet.launch import launch
from cli.localnet.layout import LocalNetwork
from cli.localnet.markets import PILOTS
from cli.localnet.readiness import wait_until_committing

START_PATIENCE_S = 120.0


def run_demo(*, once: bool, directory: Path | None, base_port: int | None, validators: int) -> None:
    """Run the demonstration. Exits with 1 if the look-through answer is not the expected one, or an error stops it."""
    started_s = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _directory(directory) as folder, _base_port(base_port, validators) as port:
            click.echo("Tongjian 通鉴: one custody chain, five business chains, one relay that only reads\n")
            click.echo("1. Founding the network")
            plan = Plan(
                directory=folder,
                regions=PILOTS,
                validators=validators,
                base_port=port,
            )
            network = initialise(plan, now_ms=time.time_ns() // 1_000_000, progress=output.progress)
            with _running(network) as network:
                findings = _register_and_ask(network)
                verdict = "The answer is right" if not findings else "THE ANSWER IS WRONG: " + "; ".join(findings)
                click.echo(f"\n{verdict} ({time.monotonic() - started_s:.0f} s after the start)")
                if not once:
                    look_through.say_where(network)
                    click.echo("\nThe network keeps running. Ctrl-C stops it.")
                    signal.pause()
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        if once:
            raise SystemExit(1) from None
        return
    if findings:
        raise SystemExit(1)


def _register_and_ask(network: LocalNetwork) -> list[str]:
    """Steps 3 to 5; returns what is wrong with the answer."""
    click.echo("3. Registering equity in five regions over REST")
    with ThreadPoolExecutor(max_workers=len(PILOTS)) as pool:
        jobs = {region: pool.submit(submit_region, network, region, output.progress) for region in PILOTS}
        heights = {region: job.result() for region, job in jobs.items()}
    click.echo("4. Waiting until the custody chain has verified them")
    look_through.wait_until_anchored(network, heights, output.progress)
    click.echo("5. A regulator asks: what does one investor hold, across all markets?\n")
    return look_through.ask(network, list(PILOTS))


@contextlib.contextmanager
def _directory(chosen: Path | None) -> Iterator[Path]:
    """The directory that was asked for, or a temporary one that is removed at the end."""
    if chosen is not None:
        yield chosen
        return
    parent = Path(tempfile.mkdtemp(prefix="tongjian-demo-"))
    try:
        yield parent / "network"
    finally:
        shutil.rmtree(parent, ignore_errors=True)


@contextlib.contextmanager
def _base_port(chosen: int | None, validators: int) -> Iterator[int]:
    """The base port that was asked for, or a range that is free and stays reserved."""
    if chosen is not None:
        yield chosen
        return
    with reserved_base_port(validators) as base_port:
        yield base_port


@contextlib.contextmanager
def _running(network: LocalNetwork) -> Iterator[LocalNetwork]:
    """The network with every process running; they end with the block."""
    click.echo(f"2. Starting {len(network.processes())} processes; their logs are in {network.directory}")
    started = launch(network, network.processes(), tied_to_parent=True)
    try:
        network = processes.record_started(network, started)
        wait_until_committing(network, patience_s=START_PATIENCE_S, progress=output.progress, children=started)
        yield network
    finally:
        with _uninterrupted():
            processes.stop(started)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold back a second Ctrl-C while processes are being stopped."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
