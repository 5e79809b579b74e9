"""The options that name a chain for a pre-flight, and how findings are printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cli import output
from cli.preflight.observe import Place, network_at, network_of_urls, places_of
from cli.preflight.rules import Reason

EXISTING = click.Path(path_type=Path, exists=True)


def place_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command receives the chains as `places`."""
    options = [
        click.option("--network", type=EXISTING, help="network.json of the network, or its directory."),
        click.option("--chain", help="Only this chain of the network, e.g. beijing."),
        click.option("--url", "urls", multiple=True, help="Base URL of a node of the chain; give all of them."),
        click.option("--token-file", type=EXISTING, help="For URLs: file with a reader token."),
        click.option("--ca-file", type=EXISTING, help="For URLs: certificate to trust for TLS (PEM)."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    ]

    def wrapped(
        *,
        network: Path | None,
        chain: str | None,
        urls: tuple[str, ...],
        token_file: Path | None,
        ca_file: Path | None,
        **others: Any,
    ) -> Any:
        return function(places=_places(network, chain, urls, token_file, ca_file), **others)

    wrapped.__name__, wrapped.__doc__ = function.__name__, function.__doc__
    decorated: Callable[..., Any] = wrapped
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def _places(
    network: Path | None, chain: str | None, urls: tuple[str, ...], token_file: Path | None, ca_file: Path | None
) -> list[Place]:
    if network is not None:
        return places_of(network_at(network), chain)
    if not urls or token_file is None:
        raise click.UsageError("name the nodes: --network DIR, or every node by --url with --token-file and --ca-file")
    return [network_of_urls(urls, token_file.read_text().strip(), ca_file)]


def only_chain(places: Sequence[Place]) -> Place:
    """The one chain that was named. Raises UsageError."""
    if len(places) != 1:
        raise click.UsageError("name one chain: --chain NETWORK")
    return places[0]


def report(findings: Sequence[Reason], as_json: bool, fine: str) -> None:
    """Print the findings; exit code 1 if one is a fault."""
    if as_json:
        output.print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            click.echo(
                f"{finding.severity:<8} {finding.code:<28} {output.printable(finding.about)}: "
                f"{output.printable(finding.detail)}"
            )
            click.echo(f"{'':38}{finding.remedy}")
    if any(finding.severity == "fault" for finding in findings):
        raise SystemExit(1)
    if not as_json:
        click.echo(fine)
