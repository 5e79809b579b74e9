"""`tongjian token`: access tokens of a node. A running node sees changes at once; tokens are stored as hashes."""

from __future__ import annotations

import time
from pathlib import Path

import click

from cli import output
from cli.output import Group
from common.node.access import issue_token, list_tokens, revoke_token

TOKENS_FILE = click.option(
    "--tokens-file", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The node's tokens file."
)
DAY_MS = 86_400_000


@click.group(cls=Group)
def command() -> None:
    """Access tokens of a node, reloaded live."""


@command.command()
@TOKENS_FILE
@click.option("--subject", required=True, help="The person or program that will use it.")
@click.option("--organisation", required=True, help="Whose it is, as on chain: [a-z0-9-]{1,64}.")
@click.option(
    "--role",
    required=True,
    help="operator, member, reader, relay, feedback, supervisor, analyst, provincial, auditor, governance",
)
@click.option("--regions", help="Limit to these regions, comma-separated.")
@click.option("--days", type=click.IntRange(1, 3650), help="Days until it expires; never, if absent.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def issue(
    tokens_file: Path, subject: str, organisation: str, role: str, regions: str | None, days: int | None, as_json: bool
) -> None:
    """Make a token and print it: this is the only time it can be read."""
    now_ms = time.time_ns() // 1_000_000
    token = issue_token(
        tokens_file,
        subject=subject,
        organisation=organisation,
        role=role,
        regions=regions.split(",") if regions else None,
        expires_ms=now_ms + days * DAY_MS if days else None,
        now_ms=now_ms,
    )
    if as_json:
        output.print_json({"id": token.id, "token": token.secret})
    else:
        output.progress(f"token {token.id}; keep it secret, it is not shown again")
        click.echo(token.secret)


@command.command()
@TOKENS_FILE
@click.argument("token_id")
def revoke(tokens_file: Path, token_id: str) -> None:
    """Revoke the token with this id."""
    revoke_token(tokens_file, token_id)
    click.echo(f"revoked {token_id}")


@command.command(name="list")
@TOKENS_FILE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(tokens_file: Path, as_json: bool) -> None:
    """List the tokens, without their secrets."""
    rows = [
        {
            "id": token.id,
            "subject": token.subject,
            "organisation": token.organisation,
            "role": token.role,
            "regions": list(token.regions) if token.regions is not None else None,
            "expires_ms": token.expires_ms,
        }
        for token in list_tokens(tokens_file)
    ]
    if as_json:
        output.print_json(rows)
    else:
        columns = ["id", "subject", "organisation", "role", "regions", "expires_ms"]
        click.echo(output.table(columns, [[_text(row[column]) for column in columns] for row in rows]))


def _text(value: object) -> str:
    if value is None:
        return "–"
    return ",".join(value) if isinstance(value, list) else str(value)
