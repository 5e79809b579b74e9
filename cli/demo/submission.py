"""Submit one region's sample registrations over REST, each signed by the region's operator, and wait for the
receipts."""

from __future__ import annotations

from collections.abc import Callable

from cli.client import Api, transaction_document
from cli.demo import sample
from cli.localnet.layout import LocalNetwork
from common.core.errors import RuleBroken
from common.core.transaction import sign_envelope
from common.node.keys import load_key_file

LIFE_BLOCKS = 10_000


def submit_region(network: LocalNetwork, region: str, progress: Callable[[str], None]) -> int:
    """Submit all sample transactions of a region in order; the height of the last receipt. Raises RuleBroken on a
    rejection."""
    chain = network.chain(region)
    key = load_key_file(network.key_file(f"{region}-operator"), None)
    height = operations = 0
    with Api([node.api for node in chain.nodes], network.token(f"{region}-operator"), network.ca_file) as api:
        expires_at_height = api.get(f"/v1/networks/{region}/status")["height"] + LIFE_BLOCKS
        for number, batch in enumerate(sample.transactions(region), start=1):
            document = transaction_document(
                network=region,
                genesis_id=chain.genesis_id,
                signers=[key.text],
                nonce=f"demonstration-{number}",
                expires_at_height=expires_at_height,
                operations=batch,
            )
            answer = api.submit(sign_envelope(document, [key.seed], key.suite))
            if answer["status"] != "applied":
                raise RuleBroken("sample_refused", f"{region}, transaction {number}: {answer.get('receipt')}")
            height, operations = answer["height"], operations + len(batch)
    progress(f"{region}: {number} transactions, {operations} operations, final at height {height}")
    return int(height)
