"""`tongjian node repair`: build the database of a stopped node again, and keep the old one beside it."""

from __future__ import annotations

import time
from pathlib import Path

import click

from cli import output
from cli.commands.node_check import AS_JSON, CONFIG, ShownProgress, application_of
from common.core.errors import Rejected
from common.node.genesis_file import read_genesis
from common.node.settings import load_settings
from common.node.store.store_errors import StoreFailed
from common.node.upkeep.chain_rebuild import no_progress
from common.node.upkeep.repair import Repair, Repaired

COULD_NOT_BEGIN = 2


@click.command()
@CONFIG
@AS_JSON
@click.option("--from-peers", is_flag=True, help="Use no block of the old database: the peers have them all.")
@click.option(
    "--silent-through",
    type=click.IntRange(1),
    help="Start a new vote log that signs nothing up to this height, also if the old one seems whole.",
)
def repair(config: Path, as_json: bool, from_peers: bool, silent_through: int | None) -> None:
    """Mend a stopped node: execute its blocks again into a new database; what is missing comes from the peers.

    Nothing is deleted: the old database, and a vote log that is damaged, stay beside the new ones. Start the node
    afterwards; until it is level with its chain it does not vote.
    """
    try:
        settings = load_settings(config)
        genesis = read_genesis(settings.genesis_file)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        progress = no_progress if as_json else ShownProgress()
        work = Repair(settings.data_dir, genesis, application_of(genesis), stamp, progress)
        done = work.run(from_peers=from_peers, silent_through=silent_through)
    except (Rejected, StoreFailed) as error:
        detail = error.detail if isinstance(error, Rejected) else str(error)
        click.echo(f"error: {error.code}: {output.printable(detail)}", err=True)
        raise SystemExit(COULD_NOT_BEGIN) from None
    if as_json:
        output.print_json(done.document())
    else:
        _print(done)


def _print(done: Repaired) -> None:
    for path in done.kept:
        click.echo(f"kept: {path}")
    if done.stopped_by is not None:
        click.echo(output.printable(f"not every block could be taken: {done.stopped_by}"))
    click.echo(f"the new database holds the chain up to height {done.height:,}")
    if done.silent_through is not None:
        click.echo(f"the validator signs nothing up to height {done.silent_through:,}")
    if done.stored_height is None or done.height < done.stored_height:
        click.echo("start the node: it fetches the rest from its peers, and votes again when it is level")
    else:
        click.echo("start the node")
