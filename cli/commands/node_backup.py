"""`tongjian node backup` and `node restore`: a stopped node's database, with hashes, and back."""

from __future__ import annotations

from pathlib import Path

import click

from cli.commands.node_join import Teller
from common.node.genesis_file import read_genesis
from common.node.settings import load_settings
from common.node.upkeep.backup import back_up, read_backup
from common.node.upkeep.backup import restore as restore_backup

CONFIG = click.option(
    "--config",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The node's settings (TOML).",
)
DIRECTORY = click.Path(path_type=Path, file_okay=False)


@click.command()
@CONFIG
@click.option("--to", "target", required=True, type=DIRECTORY, help="A directory that is absent or empty.")
def backup(config: Path, target: Path) -> None:
    """Copy the database of a stopped node, with hashes.

    Without keys, tokens, settings and votes: save key files and the genesis document apart. A running node is refused
    (database_in_use): stop it, its chain goes on with the other validators.
    """
    settings = load_settings(config)
    genesis = read_genesis(settings.genesis_file)
    teller = Teller()
    for step in back_up(settings.data_dir, genesis, target):
        teller(step)
    info = read_backup(target, genesis)
    click.echo(f"{info.network} up to height {info.height}: {len(info.files)} files, {info.size_bytes:,} bytes")


@click.command()
@CONFIG
@click.option("--from", "source", required=True, type=DIRECTORY, help="The backup's directory.")
@click.option(
    "--key-has-not-signed",
    is_flag=True,
    help="Only if this node's validator key has certainly signed nothing above the backup's height, no vote on the "
    "next block either (votes are not in a backup), or if a quorum was lost and all organisations give up what was "
    "signed above it: vote at once.",
)
def restore(config: Path, source: Path, key_has_not_signed: bool) -> None:
    """Put a backup into a data directory that holds no chain; every file is checked against its hash.

    The node then catches up from its peers. A validator signs nothing before it is level with a quorum, and nothing at
    heights at which it may have signed before.
    """
    settings = load_settings(config)
    genesis = read_genesis(settings.genesis_file)
    teller = Teller()
    for step in restore_backup(settings.data_dir, genesis, source, may_have_voted=not key_has_not_signed):
        teller(step)
    info = read_backup(source, genesis)
    click.echo(f"{info.network} restored at height {info.height}")
