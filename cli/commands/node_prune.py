"""`tongjian node prune`: give up old blocks that the custody chain has anchored."""

from __future__ import annotations

from pathlib import Path

import click

from cli import output
from cli.anchoring_proof import anchored_block
from common.node.genesis_file import read_genesis
from common.node.settings import load_settings
from common.node.startup import DATABASE_DIRECTORY
from common.node.store.chain_prune import check_prunable, prune
from common.node.store.chain_store import ChainStore
from common.node.store.storage import LevelDBStore
from crosslink.lightclient.trust import parse_trust_file

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("prune")
@click.option("--config", required=True, type=FILE, help="The node's settings (TOML).")
@click.option("--keep-from", required=True, type=click.IntRange(1), help="The lowest height whose block stays.")
@click.option(
    "--anchored-proof",
    required=True,
    type=FILE,
    help="The answer of a custody node to /v1/regions/NETWORK?proof=true.",
)
@click.option(
    "--trust", "trust_path", required=True, type=FILE, help="The trust file that you hold, with the custody chain."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(config: Path, keep_from: int, anchored_proof: Path, trust_path: Path, as_json: bool) -> None:
    """Give up the content of blocks below --keep-from of a stopped business node.

    Headers, certificates, revisions, used nonces and (storage.keep_receipts) receipts stay. The proof must show that
    the custody chain has anchored every block that is given up; it is verified offline with your own trust root.
    """
    settings = load_settings(config)
    genesis = read_genesis(settings.genesis_file)
    anchored = anchored_block(anchored_proof.read_bytes(), parse_trust_file(trust_path.read_bytes()), genesis.network)
    store = LevelDBStore(settings.data_dir / DATABASE_DIRECTORY)
    try:
        chain = ChainStore(store, genesis)
        chain.check_consistency()
        check_prunable(chain, keep_from, settings.storage, anchored)
        output.progress(f"custody has anchored every block up to {anchored.height}")
        removed = prune(
            chain,
            keep_from,
            keep_receipts=settings.storage.keep_receipts,
            say=lambda so_far: None if so_far % 100_000 else output.progress(f"{so_far:,} entries removed"),
        )
        output.progress("compacting the database")
        store.compact()
        result = {
            "network": genesis.network,
            "pruned_below": chain.pruning_floor(),
            "receipts_below": chain.receipt_floor(),
            "entries_removed": removed,
        }
    finally:
        store.close()
    if as_json:
        output.print_json(result)
    else:
        click.echo(f"{removed:,} entries removed; blocks are kept from {result['pruned_below']} on")
