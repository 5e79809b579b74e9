"""`tongjian node query-log`: whether the regulators' query log of a custody node is whole."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from cli import output
from common.core.errors import Malformed
from custody_chain.audit_log import FIRST_PREVIOUS, follow_log


@click.command(name="query-log")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--previous", default=FIRST_PREVIOUS, help="Of a rotated log: the hash that the file before ended with.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def query_log(file: Path, previous: str, as_json: bool) -> None:
    """Check that every line of FILE (regulators-queries.jsonl) follows the one before; print their number and the last
    hash, to be kept elsewhere: lines that are cut off the end show against it alone.

    Exit code 1 and the line otherwise.
    """
    try:
        followed = follow_log(file, previous)
    except ValueError as error:
        raise Malformed("query_log_broken", f"{file}: {error}") from error
    if as_json:
        output.print_json(asdict(followed))
        return
    torn = f"; {followed.torn} torn by a crash" if followed.torn else ""
    click.echo(f"{followed.lines} lines, each after the one before{torn}; last hash {followed.last_hash}")
