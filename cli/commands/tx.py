"""`tongjian tx`: sign a transaction from JSON; submit it and wait for the receipt."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import click

from cli import output
from cli.client import transaction_document
from cli.output import Group
from cli.target import Target, target_options
from common.core.codec import parse_json
from common.core.errors import Malformed, Rejected
from common.core.suite import ED25519_SHA256
from common.core.transaction import parse_envelope, sign_envelope
from common.node.keys import load_key_file

MAX_FILE_BYTES = 2 * 1024 * 1024
DEFAULT_LIFE_BLOCKS = 10_000


@click.group(cls=Group)
def command() -> None:
    """Sign and submit transactions."""


@command.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Key file; maker first, then checkers.",
)
@click.option(
    "--passphrase-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="For encrypted key files."
)
@click.option("--genesis", help="Genesis id (64 hex) of the chain; read from the chain or the local network if absent.")
@click.option("--nonce", help="1-64 characters, never used before by the first signer; random if absent.")
@click.option(
    "--expires-at-height",
    type=int,
    help=f"Last height at which it may commit; the tip + {DEFAULT_LIFE_BLOCKS} if absent.",
)
@target_options
def sign(
    file: Any,
    keys: tuple[Path, ...],
    passphrase_file: Path | None,
    genesis: str | None,
    nonce: str | None,
    expires_at_height: int | None,
    target: Target,
) -> None:
    """Sign FILE (- for standard input) and print the envelope to POST.

    FILE holds a list of operations, one operation, or a whole `transaction` object.
    """
    content = parse_json(file.read(MAX_FILE_BYTES + 1), max_size=MAX_FILE_BYTES)
    local = target.local_network()
    if local is not None and target.credential and not keys:
        keys = (local.key_file(target.credential),)
    if not keys:
        raise click.UsageError("give --key FILE, or --localnet DIR --as CREDENTIAL")
    pairs = [load_key_file(path, passphrase_file) for path in keys]
    if isinstance(content, dict) and "operations" in content:
        transaction = content
    else:
        if target.network is None:
            raise click.UsageError("give --network: FILE holds operations alone")
        if genesis is None and local is not None:
            genesis = local.chain(target.network).genesis_id
        if genesis is None:
            raise click.UsageError("give --genesis, or --localnet")
        if expires_at_height is None:
            with target.api() as api:
                expires_at_height = api.get(f"/v1/networks/{target.network}/status")["height"] + DEFAULT_LIFE_BLOCKS
        transaction = transaction_document(
            network=target.network,
            genesis_id=genesis,
            signers=[pair.text for pair in pairs],
            nonce=nonce or secrets.token_hex(16),
            expires_at_height=expires_at_height,
            operations=content if isinstance(content, list) else [content],
        )
    if transaction.get("signers") != [pair.text for pair in pairs]:
        raise Malformed("signers_differ", "the transaction's `signers` are not the given keys in the given order")
    envelope = sign_envelope(transaction, [pair.seed for pair in pairs], ED25519_SHA256)
    parse_envelope(envelope, ED25519_SHA256)  # what every node would refuse is refused here
    click.echo(envelope)


@command.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--patience", "patience_s", type=click.FloatRange(1, 3600), default=60.0, show_default=True, help="Seconds to wait."
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
@target_options
def submit(file: Any, patience_s: float, as_json: bool, target: Target) -> None:
    """Submit the envelope in FILE (- for standard input) and wait for its receipt. Exit code 1 unless it was
    applied."""
    envelope = file.read(MAX_FILE_BYTES + 1)
    with target.api(default_credential=target.network and f"{target.network}-operator") as api:
        answer = api.submit(envelope, patience_s=patience_s, progress=output.progress)
    if as_json:
        output.print_json(answer)
    else:
        receipt = answer.get("receipt") or {}
        click.echo(f"{answer['status']} at height {answer.get('height')}: {answer['tx_id']}")
        for object_id, version in receipt.get("objects", []):
            click.echo(f"  {object_id} version {version}")
    if answer["status"] != "applied":
        receipt = answer.get("receipt") or {}
        raise Rejected(
            str(receipt.get("code", answer["status"])), json.dumps(receipt.get("parameters", {}), ensure_ascii=False)
        )
