"""`tongjian verify`: check an evidence file offline against trust roots that the user holds."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cli import output
from cli.answer_evidence import evidence_in
from common.core.errors import Rejected
from crosslink.lightclient.evidence_check import Findings, verify_evidence_file
from crosslink.lightclient.trust import parse_trust_file

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("file", type=FILE)
@click.option("--trust", "trust_path", required=True, type=FILE, help="The trust file that you hold.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(file: Path, trust_path: Path, as_json: bool) -> None:
    """Check the evidence in FILE, an evidence file or a whole answer to a `?proof=true` question; print what it proves,
    the roots' fingerprints, and what it does not prove.

    Exit code 1 and the reason if it proves nothing. Nothing is asked of any network.
    """
    try:
        data = file.read_bytes()
        evidence = evidence_in(data)
        findings = verify_evidence_file(evidence, parse_trust_file(trust_path.read_bytes()))
    except Rejected as error:
        output.fail(error.code, error.detail)
    if evidence is not data:
        output.progress("only `evidence` of this answer is checked: read the values below, not those around it")
    if as_json:
        output.print_json(findings.to_json())
    else:
        _print(findings)


def _print(findings: Findings) -> None:
    click.echo("Proven, for whoever trusts these roots:")
    for network, fingerprint in findings.fingerprints.items():
        click.echo(f"  root {network}: {fingerprint}")
    for fact in findings.proves:
        click.echo(f"  - {output.printable(fact)}")
    click.echo("Not proven:")
    for gap in findings.does_not_prove:
        click.echo(f"  - {output.printable(gap)}")
    if findings.snapshot is not None:
        click.echo("The snapshot:")
        click.echo(output.printable(json.dumps(findings.snapshot, ensure_ascii=False, indent=2)))
