"""`tongjian tx`: sign a transaction from JSON, alone or one signer after the other; submit it and wait for the
receipt."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cli import output
from cli.client import transaction_document
from cli.output import Group
from cli.paired import one_for_each
from cli.signing import TransactionDraft, is_draft, read_document, refuse_incomplete
from cli.target import Target, target_options
from common.core.errors import Conflict, Malformed, Rejected
from common.core.transaction import MAX_ENVELOPE_BYTES
from common.node.keys import KeyPair, load_key_file

DEFAULT_LIFE_BLOCKS = 10_000
FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(cls=Group)
def command() -> None:
    """Sign and submit transactions."""


@command.command()
@click.argument("file", type=click.File("rb"))
@click.option("--key", "keys", multiple=True, type=FILE, help="Key file to sign with; may be repeated.")
@click.option(
    "--passphrase-file",
    "passphrase_files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="For encrypted key files: one for each --key, in their order, or one for all.",
)
@click.option(
    "--signer", "others", multiple=True, help="Public key of somebody who signs later, after the keys; repeatable."
)
@click.option("--genesis", help="Genesis id (64 hex) of the chain; read from the chain or the local network if absent.")
@click.option("--nonce", help="1-64 characters, never used before by the first signer; random if absent.")
@click.option(
    "--expires-at-height",
    type=int,
    help=f"Last height at which it may commit; the tip + {DEFAULT_LIFE_BLOCKS} if absent.",
)
@output.ALWAYS_JSON
@target_options
def sign(
    file: Any,
    keys: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    target: Target,
    **made: Any,
) -> None:
    """Sign FILE (- for standard input) and print the document for the next signer, or, once all have signed, the
    envelope to submit. What is signed is summed up on standard error.

    FILE holds a list of operations, one operation, a whole `transaction` object, or what an earlier `tx sign` printed.
    Operations become a transaction here: its signers are the keys, maker first, then every --signer; without a key
    nothing is signed yet. The others sign in any order, each with a key of their own.
    """
    content = read_document(file.read(MAX_ENVELOPE_BYTES + 1))
    local = target.local_network()
    if local is not None and target.credential and not keys:
        keys = (local.key_file(target.credential),)
    secrets_of_keys = one_for_each(passphrase_files, len(keys), "--passphrase-file", "--key")
    pairs = [load_key_file(path, secret) for path, secret in zip(keys, secrets_of_keys, strict=True)]
    draft = _draft(content, pairs, target, **made)
    for pair in pairs:
        draft = draft.signed_by(pair)
    click.echo(draft.summary(), err=True)
    click.echo(draft.encode())


def _draft(
    content: Any, pairs: Sequence[KeyPair], target: Target, others: tuple[str, ...], **made: Any
) -> TransactionDraft:
    """What FILE holds, as a draft. Raises UsageError for options that do not fit it."""
    given = is_draft(content) or (isinstance(content, dict) and "operations" in content)
    if not given:
        signers = [*(pair.text for pair in pairs), *others]
        if not signers:
            raise click.UsageError("give --key FILE, --signer PUBLIC_KEY, or --localnet DIR --as CREDENTIAL")
        return TransactionDraft.unsigned(_transaction(content, signers, target, **made))
    if others or any(value is not None for value in made.values()):
        raise click.UsageError(
            "FILE holds a transaction: --signer, --genesis, --nonce and --expires-at-height are settled"
        )
    if not pairs:
        raise click.UsageError("give --key FILE, or --localnet DIR --as CREDENTIAL; `tx show` signs nothing")
    draft = TransactionDraft.parse(content) if is_draft(content) else TransactionDraft.unsigned(content)
    if target.network not in (None, draft.parsed.network):
        raise Conflict("network_differs", f"the transaction is for {draft.parsed.network}, not {target.network}")
    return draft


def _transaction(
    content: Any,
    signers: Sequence[str],
    target: Target,
    genesis: str | None,
    nonce: str | None,
    expires_at_height: int | None,
) -> dict[str, Any]:
    """A transaction of the operations in FILE; what is not given is asked of the chain."""
    if target.network is None:
        raise click.UsageError("give --network: FILE holds operations alone")
    local = target.local_network()
    if genesis is None and local is not None:
        genesis = local.chain(target.network).genesis_id
    if genesis is None or expires_at_height is None:
        with target.api() as api:
            status = api.get(f"/v1/networks/{target.network}/status")
        genesis = genesis or str(status["genesis_id"])
        expires_at_height = expires_at_height or status["height"] + DEFAULT_LIFE_BLOCKS
    return transaction_document(
        network=target.network,
        genesis_id=genesis,
        signers=signers,
        nonce=nonce or secrets.token_hex(16),
        expires_at_height=expires_at_height,
        operations=content if isinstance(content, list) else [content],
    )


@command.command()
@click.argument("file", type=click.File("rb"))
@output.AS_JSON
def show(file: Any, as_json: bool) -> None:
    """Say what the document or envelope in FILE (- for standard input) does, for which chain, and who has signed.

    Exit code 1 if a signature in it is not over its content.
    """
    content = read_document(file.read(MAX_ENVELOPE_BYTES + 1))
    if not is_draft(content):
        raise Malformed("envelope_fields", "the file holds no transaction with signatures, as `tx sign` prints it")
    draft = TransactionDraft.parse(content)
    if as_json:
        output.print_json(draft.facts())
    else:
        click.echo(draft.summary())


@command.command()
@click.argument("files", nargs=-1, required=True, type=click.File("rb"))
@output.ALWAYS_JSON
def join(files: tuple[Any, ...]) -> None:
    """Join the copies in FILES, which several people have signed at the same time, into one document."""
    drafts = []
    for file in files:
        content = read_document(file.read(MAX_ENVELOPE_BYTES + 1))
        if not is_draft(content):
            raise Malformed("envelope_fields", f"{file.name} holds no transaction with signatures")
        drafts.append(TransactionDraft.parse(content))
    whole = drafts[0]
    for draft in drafts[1:]:
        whole = whole.joined(draft)
    click.echo(whole.summary(), err=True)
    click.echo(whole.encode())


@command.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--patience", "patience_s", type=click.FloatRange(1, 3600), default=60.0, show_default=True, help="Seconds to wait."
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
@target_options
def submit(file: Any, patience_s: float, as_json: bool, target: Target) -> None:
    """Submit the envelope in FILE (- for standard input) and wait for its receipt. Exit code 1 unless it was
    applied. One that somebody has still to sign is not sent."""
    envelope = file.read(MAX_ENVELOPE_BYTES + 1)
    refuse_incomplete(envelope)
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
