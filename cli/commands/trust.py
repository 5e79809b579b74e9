"""`tongjian trust`: the trust roots that `verify` needs, for a user to keep apart from any evidence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from cli.localnet.layout import LocalNetwork, load_network
from cli.localnet.readiness import node_api
from cli.output import Group
from cli.trust_root import trust_root
from common.core.errors import Conflict
from common.core.genesis import Genesis, parse_genesis
from common.core.header import Header
from common.core.validators import ValidatorSet
from crosslink.lightclient.trust import build_trust_file
from crosslink.lightclient.trust_root import Checkpoint


@click.group(cls=Group)
def command() -> None:
    """Trust roots for `verify`."""


@command.command()
@click.argument("genesis_files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--localnet", type=click.Path(path_type=Path, file_okay=False), help="Export every chain of a local network."
)
@click.option("--recent", is_flag=True, help="Add each chain's current header as a checkpoint (needs --localnet).")
def export(genesis_files: tuple[Path, ...], localnet: Path | None, recent: bool) -> None:
    """Print a trust file for the chains of GENESIS_FILES, or of a local network; fingerprints go to standard error.

    Get genesis documents from the chains' founders, not from whoever hands you evidence, and compare fingerprints by
    telephone.
    """
    network = load_network(localnet) if localnet else None
    files = list(genesis_files) + ([chain.genesis_file for chain in network.chains] if network else [])
    if not files:
        raise click.UsageError("name genesis documents, or --localnet DIR")
    if recent and network is None:
        raise click.UsageError("--recent needs --localnet")
    roots = []
    for file in files:
        genesis = parse_genesis(file.read_bytes())
        root = trust_root(genesis)
        click.echo(f"{root.network:<12} {root.fingerprint().hex()}", err=True)
        roots.append(replace(root, checkpoint=_checkpoint(network, genesis)) if recent and network else root)
    click.echo(build_trust_file(roots).encode())


def _checkpoint(network: LocalNetwork, genesis: Genesis) -> Checkpoint:
    """The chain's tip as its own nodes give it: convenient, and only as good as the user's trust in those nodes."""
    base = f"/v1/networks/{genesis.network}"
    with node_api(network, network.chain(genesis.network)) as api:
        tip = api.get(f"{base}/status")["height"]
        answer = api.get(f"{base}/blocks", **{"from": tip, "limit": 1})
        validators = ValidatorSet.from_json(api.get(f"{base}/governance")["validators"], genesis.suite)
    header = Header.decode(bytes.fromhex(answer["blocks"][0]["header"]))
    if header.next_validators_hash != validators.hash(genesis.suite):
        raise Conflict("set_changed", f"{genesis.network} changes its validators at this moment: try again")
    return Checkpoint(height=header.height, id=header.id(genesis.suite), time_ms=header.time_ms, validators=validators)
