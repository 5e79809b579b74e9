"""The options that name a chain for a pre-flight, and how findings are printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from cli import output
from cli.paired import one_for_each
from cli.preflight.chain_survey import Address, ChainPlace, network_at, network_of_urls, places_of
from common.node.diagnosis.catalogue import Finding

EXISTING = click.Path(path_type=Path, exists=True)


def place_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command receives the chains as `places`."""
    options = [
        click.option("--network", type=EXISTING, help="network.json of the network, or its directory."),
        click.option("--chain", help="Only this chain of the network, e.g. beijing."),
        click.option(
            "--url",
            "urls",
            multiple=True,
            help="Base URL of a node of the chain; give all of them, or those that network.json does not list.",
        ),
        click.option(
            "--token-file",
            "token_files",
            multiple=True,
            type=EXISTING,
            help="For URLs: file with a reader token; one for each --url, in their order, or one for all.",
        ),
        click.option("--ca-file", type=EXISTING, help="For URLs: certificate to trust for TLS (PEM)."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    ]

    def wrapped(
        *,
        network: Path | None,
        chain: str | None,
        urls: tuple[str, ...],
        token_files: tuple[Path, ...],
        ca_file: Path | None,
        **others: Any,
    ) -> Any:
        return function(places=_places(network, chain, urls, token_files, ca_file), **others)

    wrapped.__name__, wrapped.__doc__ = function.__name__, function.__doc__
    decorated: Callable[..., Any] = wrapped
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def _places(
    network: Path | None, chain: str | None, urls: tuple[str, ...], token_files: tuple[Path, ...], ca_file: Path | None
) -> list[ChainPlace]:
    files = one_for_each(token_files, len(urls), "--token-file", "--url")
    addresses = [
        Address(name=None, url=url, token=file.read_text().strip() if file else None)
        for url, file in zip(urls, files, strict=True)
    ]
    if network is None:
        if not addresses or not token_files:
            raise click.UsageError("name the nodes: --network DIR, or each by --url with --token-file and --ca-file")
        return [network_of_urls(addresses, ca_file)]
    places = places_of(network_at(network), chain)
    if not addresses:
        return places
    return [_with_others(only_chain(places), addresses, ca_file)]


def _with_others(place: ChainPlace, addresses: Sequence[Address], ca_file: Path | None) -> ChainPlace:
    """The nodes of a local network and some that its `network.json` does not list; its own token opens these too, if no
    other is given."""
    own = place.nodes[0].token
    others = tuple(replace(address, token=address.token or own) for address in addresses)
    return replace(place, nodes=(*place.nodes, *others), ca_file=ca_file or place.ca_file)


def only_chain(places: Sequence[ChainPlace]) -> ChainPlace:
    """The one chain that was named. Raises UsageError."""
    if len(places) != 1:
        raise click.UsageError("name one chain: --chain NETWORK")
    return places[0]


def report(findings: Sequence[Finding], as_json: bool, fine: str) -> None:
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
