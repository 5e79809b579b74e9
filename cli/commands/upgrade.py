"""`tongjian upgrade`: nodes are upgraded one by one, while their chains go on (protocol rule 8, attack C19)."""

from __future__ import annotations

import click

from cli.output import Group
from cli.preflight.chain_options import place_options, report
from cli.preflight.chain_survey import ChainPlace, observe_chain
from common.node.diagnosis.change_rules import restart_findings


@click.group(cls=Group)
def command() -> None:
    """Rolling upgrades."""


@command.command()
@click.option(
    "--node",
    help="The node that is to be restarted next, by the name that it gives itself (of one that does not answer at its "
    "--url: host:port); without it: any one of each chain.",
)
@click.option("--protocol", type=click.IntRange(1, 65_535), help="Every node must support this protocol version.")
@place_options
def check(places: list[ChainPlace], node: str | None, protocol: int | None, as_json: bool) -> None:
    """Say whether the next node may be restarted: all others are level, a quorum remains, versions are supported, and
    no chain changes views.

    Exit code 0 if so, 1 with the reasons if not.
    """
    listed = [place for place in places if node in [address.name for address in place.nodes]]
    chains = [observe_chain(place) for place in (listed or places)]
    chosen = [chain for chain in chains if node is None or node in [view.name for view in chain.nodes]]
    if not chosen:
        names = ", ".join(view.name for chain in chains for view in chain.nodes)
        raise click.UsageError(f"none of the nodes that were asked is called {node!r}: {names}")
    findings = [finding for chain in chosen for finding in restart_findings(chain, node, protocol)]
    report(findings, as_json, f"{node or 'one node of each chain'} may be restarted")
