"""`tongjian upgrade`: nodes are upgraded one by one, while their chains go on (protocol rule 8, attack C19)."""

from __future__ import annotations

from typing import Any

import click

from cli.output import Group
from cli.preflight.observe import Place, observe_chain
from cli.preflight.options import place_options, report
from cli.preflight.rules import restart_findings


@click.group(cls=Group)
def command() -> None:
    """Rolling upgrades."""


@command.command()
@click.option("--node", help="The node that is to be restarted next; without it: any one of each chain.")
@click.option("--protocol", type=click.IntRange(1, 65_535), help="Every node must support this protocol version.")
@place_options
def check(places: list[Place], node: str | None, protocol: int | None, as_json: bool) -> None:
    """Say whether the next node may be restarted: all others are level, a quorum remains, versions are supported, and
    no chain changes views.

    Exit code 0 if so, 1 with the reasons if not.
    """
    chosen: list[Any] = [place for place in places if node is None or node in [name for name, _ in place.nodes]]
    if not chosen:
        raise click.UsageError(f"no chain that was named has a node {node!r}")
    findings = [finding for place in chosen for finding in restart_findings(observe_chain(place), node, protocol)]
    report(findings, as_json, f"{node or 'one node of each chain'} may be restarted")
