"""`tongjian doctor`: say what is wrong with a network, and why."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from cli import output
from cli.doctor.diagnose import diagnose
from cli.doctor.observe import observe
from cli.localnet.layout import load_network


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(directory: Path, as_json: bool) -> None:
    """Look at the local network in DIRECTORY and name what is wrong: code, reason, remedy. Exit code 1 if there is a
    fault."""
    findings = diagnose(observe(load_network(directory)))
    if as_json:
        output.print_json([asdict(finding) for finding in findings])
    elif not findings:
        click.echo("no findings: every chain has its quorum, every region is active")
    for finding in findings if not as_json else []:
        click.echo(f"{finding.severity:<8} {finding.code:<20} {finding.about}: {output.printable(finding.detail)}")
        click.echo(f"{'':30}{finding.remedy}")
    if any(finding.severity == "fault" for finding in findings):
        raise SystemExit(1)
