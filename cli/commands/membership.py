"""`tongjian membership`: who signs a chain's blocks, and how that changes."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import Any

import click

from cli import output
from cli.enrolment import PublicPart
from cli.output import Group
from cli.preflight.chain_options import EXISTING, only_chain, place_options, report
from cli.preflight.chain_survey import ChainPlace, network_at, observe_chain
from common.core.codec import parse_json
from common.core.errors import Malformed, NotFound, Rejected
from common.core.genesis import parse_genesis
from common.core.membership import concentrated
from common.core.validators import Validator, ValidatorSet
from common.node.diagnosis.catalogue import RENEW_BEFORE_DAYS, finding
from common.node.diagnosis.certificate_forecast import CertifiedNode, forecast
from common.node.diagnosis.chain_view import ChainView
from common.node.diagnosis.change_rules import membership_findings
from common.node.peer.certificates import read_certificates

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
MAX_FILE_BYTES = 2 * 1024 * 1024
DEFAULT_LEAD_BLOCKS = 50


@click.group(cls=Group)
def command() -> None:
    """Validators of a chain."""


@command.command()
@place_options
def show(places: list[ChainPlace], as_json: bool) -> None:
    """Show the validators of the next height, what is scheduled, and what is unhealthy."""
    chain = observe_chain(only_chain(places))
    rows = [
        {
            "name": member.name,
            "organisation": member.organisation,
            "public_key": chain.suite.format_key(member.public_key),
            "level": None if (node := chain.of_member(member.name)) is None else node.ready,
            "voting": None if node is None else node.voting,
        }
        for member in chain.validators.members
    ]
    scheduled = None
    if chain.scheduled_set is not None:
        height, following = chain.scheduled_set
        scheduled = {"effective_height": height, "validators": following.to_json(chain.suite)}
    if as_json:
        output.print_json(
            {
                "network": chain.network,
                "height": chain.height,
                "quorum": chain.validators.quorum,
                "fault_bound": chain.validators.fault_bound,
                "validators": rows,
                "scheduled": scheduled,
                "protocol_version": chain.protocol_version,
                "scheduled_version": chain.scheduled_version,
                "concentrated": concentrated(chain.validators),
            }
        )
        return
    columns = ["name", "organisation", "level", "voting", "public_key"]
    unknown = {row["name"]: "not asked" if row["name"] in chain.not_asked else "no answer" for row in rows}
    shown = [[unknown[row["name"]] if row[column] is None else row[column] for column in columns] for row in rows]
    click.echo(output.table(columns, shown))
    for name in chain.not_asked:
        unasked = finding("member_not_asked", output.printable(name), "no node was named for it")
        click.echo(f"{unasked.code}: {unasked.about}: {unasked.detail}; {unasked.remedy}")
    click.echo(f"quorum {chain.validators.quorum}, tolerates {chain.validators.fault_bound}, height {chain.height}")
    if chain.scheduled_set is not None:
        names = ", ".join(member.name for member in chain.scheduled_set[1].members)
        click.echo(f"from height {chain.scheduled_set[0]}: {names}")
    for organisation, seats in concentrated(chain.validators).items():
        click.echo(f"organisation_concentrated: {output.printable(organisation)} has {seats} seats")


@command.command()
@click.argument("file", type=click.File("rb"))
@place_options
def check(places: list[ChainPlace], file: Any, as_json: bool) -> None:
    """Judge the `validators.change` in FILE (- for standard input) before it is signed.

    Asks every node: would the members that are connected, level and voting now be a quorum of the next set? Exit code 1
    with the reasons if not.
    """
    document = parse_json(file.read(MAX_FILE_BYTES + 1), max_size=MAX_FILE_BYTES)
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if not isinstance(document, dict) or document.get("type") != "validators.change":
        raise Malformed("operation_unknown", "the file does not hold one validators.change operation")
    chain = observe_chain(only_chain(places))
    following = ValidatorSet.from_json(document.get("validators"), chain.suite)
    findings = membership_findings(chain, following, document.get("effective_height"), document.get("replaces"))
    report(findings, as_json, "the change may be signed")


@command.command()
@click.option("--add", "parts", multiple=True, type=FILE, help="public.json of a node that joins.")
@click.option("--remove", "leaving", multiple=True, help="Name of a member that leaves.")
@click.option("--rotate", multiple=True, nargs=2, metavar="NAME PUBLIC_KEY", help="A member's new key.")
@click.option("--effective-in", type=click.IntRange(1, 100_000), default=DEFAULT_LEAD_BLOCKS, show_default=True)
@click.option("--replaces", type=click.IntRange(1), help="Effective height of the scheduled change to be replaced.")
@click.option("--reason", required=True, help="Why, for the record.")
@place_options
def plan(
    places: list[ChainPlace],
    parts: tuple[Path, ...],
    leaving: tuple[str, ...],
    rotate: tuple[tuple[str, str], ...],
    effective_in: int,
    replaces: int | None,
    reason: str,
    as_json: bool,
) -> None:
    """Print the `validators.change` operation for `tongjian tx sign`, after the same checks as `check`.

    The findings go to standard error. Exit code 1 if one is a fault. Without --add, --remove and --rotate it names the
    present validators, which with --replaces withdraws a scheduled change.
    """
    chain = observe_chain(only_chain(places))
    following = _following(chain, [PublicPart.load(path) for path in parts], leaving, dict(rotate))
    operation: dict[str, Any] = {
        "type": "validators.change",
        "validators": following.to_json(chain.suite),
        "effective_height": chain.height + effective_in,
        "reason": reason,
    }
    if replaces is not None:
        operation["replaces"] = replaces
    if places[0].network != "custody":
        operation |= {"business_id": secrets.token_hex(16), "occurred_at_ms": time.time_ns() // 1_000_000}
    findings = membership_findings(chain, following, operation["effective_height"], replaces)
    for found in findings:
        click.echo(
            f"{found.severity} {found.code} {output.printable(found.about)}: {output.printable(found.detail)}",
            err=True,
        )
    if any(found.severity == "fault" for found in findings):
        raise SystemExit(1)
    click.echo(json.dumps(operation, ensure_ascii=False, indent=None if as_json else 2))


@command.command()
@click.option("--network", required=True, type=EXISTING, help="network.json of the network, or its directory.")
@click.option("--days", type=click.IntRange(1, 3650), default=RENEW_BEFORE_DAYS, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def certificates(network: Path, days: int, as_json: bool) -> None:
    """Name the validators whose TLS certificates expire within --days, and chains that would lose their quorum.

    Exit code 1 if one would. Reads the nodes' files, so it needs no running network.
    """
    known = network_at(network)
    now_ms = time.time_ns() // 1_000_000
    nodes = [
        CertifiedNode(
            chain=chain.network_id, name=node.name, days_left=_days_left(node.config.parent / "tls.crt", now_ms)
        )
        for chain in known.chains
        for node in chain.nodes
    ]
    quorums = {
        chain.network_id: parse_genesis(chain.genesis_file.read_bytes()).validators.quorum for chain in known.chains
    }
    report(forecast(nodes, quorums, days), as_json, f"every chain keeps a quorum for {days} days")


def _days_left(file: Path, now_ms: int) -> int | None:
    try:
        return read_certificates(file)[0].days_left(now_ms)
    except (Rejected, IndexError):
        return None


def _following(
    chain: ChainView, joining: list[PublicPart], leaving: tuple[str, ...], keys: dict[str, str]
) -> ValidatorSet:
    """The present set with the changes. Raises NotFound for a member that is none, Malformed for another network."""
    known = {member.name for member in chain.validators.members}
    unknown = [name for name in (*leaving, *keys) if name not in known]
    if unknown:
        raise NotFound("member_unknown", f"{', '.join(unknown)} is no member; members: {', '.join(sorted(known))}")
    foreign = [part.name for part in joining if part.network != chain.network]
    if foreign:
        raise Malformed("mixed_networks", f"{', '.join(foreign)} belongs to another network than {chain.network}")
    members = [
        Validator(member.name, member.organisation, chain.suite.parse_key(keys[member.name]))
        if member.name in keys
        else member
        for member in chain.validators.members
        if member.name not in leaving
    ]
    members += [Validator(part.name, part.organisation, chain.suite.parse_key(part.public_key)) for part in joining]
    return ValidatorSet(tuple(members))
