"""`tongjian cert`: TLS certificates of nodes and relays: what there is, and new ones before they expire."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from cli import output
from cli.enrolment import check_host
from cli.output import Group
from common.core.errors import Conflict, Malformed
from common.core.names import check_name, check_principal
from common.node.diagnosis.catalogue import RENEW_BEFORE_DAYS
from common.node.peer.certificates import (
    CertificateInfo,
    check_trusted,
    issue_certificate,
    load_authority,
    load_certificates,
    read_certificates,
)
from common.node.settings import load_settings

AUTHORITY = click.option(
    "--ca",
    "ca_directory",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Directory with ca.crt and ca.key.",
)


@click.group(cls=Group)
def command() -> None:
    """TLS certificates of nodes and relays."""


@command.command(name="list")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@output.AS_JSON
def list_(paths: tuple[Path, ...], as_json: bool) -> None:
    """List the certificates in PATHS (files, or directories with *.crt below them) and the days they have left.

    Exit code 1 if one has expired or expires within 30 days.
    """
    now_ms = time.time_ns() // 1_000_000
    files = [file for path in paths for file in (sorted(path.rglob("*.crt")) if path.is_dir() else [path])]
    rows = [_row(file, info, now_ms) for file in files for info in read_certificates(file)]
    if as_json:
        output.print_json(rows)
    else:
        click.echo(
            output.table(
                ["days left", "subject", "hosts", "file"],
                [[row["days_left"], row["subject"], ",".join(row["hosts"]), row["file"]] for row in rows],
            )
        )
    if any(row["days_left"] < RENEW_BEFORE_DAYS for row in rows):
        raise SystemExit(1)


def _row(file: Path, info: CertificateInfo, now_ms: int) -> dict[str, Any]:
    """What is printed of a certificate as JSON."""
    return {
        "file": str(file),
        "subject": info.subject,
        "hosts": list(info.hosts),
        "days_left": info.days_left(now_ms),
        "fingerprint": info.fingerprint,
    }


@command.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@AUTHORITY
@click.option("--name", required=True, help="The program's name, e.g. relay-1.")
@click.option("--organisation", required=True, help="The organisation that runs it.")
@click.option("--host", "hosts", multiple=True, required=True, help="Host name or address under which it is reached.")
@output.AS_JSON
def issue(
    directory: Path, ca_directory: Path, name: str, organisation: str, hosts: tuple[str, ...], as_json: bool
) -> None:
    """Make tls.key and tls.crt in DIRECTORY for a program that is no node, such as a relay.

    The authority may be that of any node of the organisation. Nothing is written over: `cert rotate` replaces.
    """
    check_name(name, "name")
    check_principal(organisation, "organisation")
    for host in hosts:
        check_host(host)
    for taken in (directory / "tls.crt", directory / "tls.key"):
        if taken.exists():
            raise Conflict("certificate_exists", f"{taken} exists already: `tongjian cert rotate` makes a new one")
    authority = load_authority(ca_directory / "ca.crt", ca_directory / "ca.key")
    directory.mkdir(parents=True, exist_ok=True)
    now_ms = time.time_ns() // 1_000_000
    info = issue_certificate(
        authority,
        directory / "tls.crt",
        directory / "tls.key",
        name=name,
        organisation=organisation,
        hosts=hosts,
        now_ms=now_ms,
    )
    if as_json:
        output.print_json(_row(directory / "tls.crt", info, now_ms))
    else:
        click.echo(f"{directory / 'tls.crt'}: {info.subject}, {info.days_left(now_ms)} days")


@command.command()
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@AUTHORITY
@output.AS_JSON
def rotate(directory: Path, ca_directory: Path, as_json: bool) -> None:
    """Issue a new TLS key and certificate for the node in DIRECTORY, for the same name and hosts.

    A running node uses it from the next connection on. The validator key is not touched: the peers' hello binds the new
    certificate to it. An authority that the node's own bundle of authorities does not hold is refused.
    """
    authority = load_authority(ca_directory / "ca.crt", ca_directory / "ca.key")
    if (directory / "node.toml").is_file():
        check_trusted(authority, load_settings(directory / "node.toml").peer.ca_file)
    current = read_certificates(directory / "tls.crt")[0]
    name = {
        attribute.oid._name: str(attribute.value) for attribute in load_certificates(directory / "tls.crt")[0].subject
    }
    if not {"commonName", "organizationName"} <= name.keys():
        raise Malformed("certificate_subject", f"{directory / 'tls.crt'} names no program and organisation")
    now_ms = time.time_ns() // 1_000_000
    info = issue_certificate(
        authority,
        directory / "tls.crt",
        directory / "tls.key",
        name=name["commonName"],
        organisation=name["organizationName"],
        hosts=current.hosts,
        now_ms=now_ms,
    )
    if as_json:
        output.print_json(_row(directory / "tls.crt", info, now_ms))
    else:
        days_left = info.days_left(now_ms)
        click.echo(f"{directory / 'tls.crt'}: {info.subject}, {days_left} days; used from the next connection on")
