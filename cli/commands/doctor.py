"""`tongjian doctor`: say what is wrong with a network or a node, and why."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from cli import output
from cli.doctor.network_observation import observe
from cli.doctor.node_observation import observe_url
from cli.localnet.layout import load_network
from common.node.diagnosis.comparison import Observation, diagnose

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("target", metavar="[DIRECTORY|URL]", default=".")
@click.option("--token-file", type=FILE, help="For a URL: file with a reader token.")
@click.option("--ca-file", type=FILE, help="For a URL: certificate to trust for TLS (PEM).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(target: str, token_file: Path | None, ca_file: Path | None, as_json: bool) -> None:
    """Look at the local network in DIRECTORY, or at the node at URL, and name what is wrong: code, reason, remedy.

    Without either: at the network in the current directory. Exit code 1 if there is a fault.
    """
    findings = diagnose(_observe(target, token_file, ca_file))
    if as_json:
        output.print_json([asdict(finding) for finding in findings])
    elif not findings:
        click.echo("no findings")
    for finding in findings if not as_json else []:
        click.echo(f"{finding.severity:<8} {finding.code:<20} {finding.about}: {output.printable(finding.detail)}")
        click.echo(f"{'':30}{finding.remedy}")
    if any(finding.severity == "fault" for finding in findings):
        raise SystemExit(1)


def _observe(target: str, token_file: Path | None, ca_file: Path | None) -> Observation:
    if "://" not in target:
        return observe(load_network(Path(target)))
    if token_file is None:
        raise click.UsageError("a URL needs --token-file: the token of a reader of that node")
    return observe_url(target, token_file.read_text().strip(), ca_file)
