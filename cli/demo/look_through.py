"""Ask the custody chain what the demonstration is about, print it, and check it against what was registered."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from cli import output
from cli.client import Api
from cli.demo import sample
from cli.localnet.layout import CUSTODY, LocalNetwork
from cli.localnet.markets import REGIONS
from common.core.errors import Unavailable

ANCHOR_PATIENCE_S = 90.0
HOLDER_CAP_RULE = "holder_cap"


def custody_api(network: LocalNetwork) -> Api:
    """The custody chain as the supervisor sees it."""
    return Api([node.api for node in network.chain(CUSTODY).nodes], network.token("supervisor"), network.ca_file)


def say_where(network: LocalNetwork) -> None:
    """Print where to go on by hand."""
    click.echo(f"\nnetwork.json   {network.directory / 'network.json'}")
    for chain in network.chains:
        click.echo(f"{chain.network_id:<14} {chain.nodes[0].api}/openapi.json")
    investor = f"{network.chain(CUSTODY).nodes[0].api}/v1/supervision/investors/{sample.INVESTOR}"
    token = network.credentials["supervisor"]["token_file"]
    click.echo(f'\ncurl --cacert {network.ca_file} -H "Authorization: Bearer $(cat {token})" {investor}')


def wait_until_anchored(network: LocalNetwork, heights: dict[str, int], progress: Callable[[str], None]) -> None:
    """Return once every region is anchored at its height; say each region's lag on the way. Raises Unavailable."""
    deadline = time.monotonic() + ANCHOR_PATIENCE_S
    waiting = dict(heights)
    with custody_api(network) as api:
        while waiting:
            regions = {entry["region"]: entry for entry in _rows(api.get("/v1/regions")["data"])}
            for region, height in list(waiting.items()):
                entry = regions[region]
                if entry["anchored_height"] >= height:
                    lag = f"{entry['state']}, lag {entry['lag_ms']} ms"
                    progress(f"{region}: anchored height {entry['anchored_height']}, {lag}")
                    del waiting[region]
            if waiting and time.monotonic() > deadline:
                lags = ", ".join(
                    f"{r} at {regions[r]['anchored_height']} of {h} ({regions[r]['state']})" for r, h in waiting.items()
                )
                raise Unavailable(
                    "not_anchored", f"after {ANCHOR_PATIENCE_S:.0f} s the custody chain has not verified {lags}"
                )
            if waiting:
                time.sleep(0.2)


def _rows(data: Any) -> list[dict[str, Any]]:
    return list(data["regions"]) if isinstance(data, dict) else list(data)


def ask(network: LocalNetwork, regions: list[str]) -> list[str]:
    """Print the look-through table and the alerts; return what differs from the registered facts."""
    with custody_api(network) as api:
        whole = api.get(f"/v1/supervision/investors/{sample.INVESTOR}")
        alerts = api.get("/v1/supervision/alerts", state="open")["data"]
    positions = whole["data"]["positions"]
    click.echo(
        f"Investor {sample.INVESTOR} (a person, known by code only), custody height {whole['custody_height']}:\n"
    )
    rows = [
        [
            f"{position['region']} {REGIONS[position['region']][1]}",
            position.get("issuer", ""),
            position["product"],
            position["available"],
            position["pledged"],
            position["frozen"],
        ]
        for position in positions
    ]
    click.echo(output.table(["market", "issuer", "security", "available", "pledged", "frozen"], rows))
    click.echo()
    for alert in _alerts(alerts):
        objects = ", ".join(f"{entry['kind']} {entry['id']}" for entry in alert["objects"])
        click.echo(f"ALERT {alert['rule']} in {alert['region']}: {objects} ({alert['source']})")
    return _differences(whole, _alerts(alerts), regions)


def _alerts(data: Any) -> list[dict[str, Any]]:
    return list(data["alerts"]) if isinstance(data, dict) else list(data)


def _differences(whole: dict[str, Any], alerts: list[dict[str, Any]], regions: list[str]) -> list[str]:
    found = {
        (position["region"], position["product"], position["available"], position["pledged"], position["frozen"])
        for position in whole["data"]["positions"]
    }
    expected = {
        (position.region, position.product, position.available, position.pledged, 0)
        for position in sample.expected_positions(regions)
    }
    differences = [f"missing position {entry}" for entry in sorted(expected - found)]
    differences += [f"unexpected position {entry}" for entry in sorted(found - expected)]
    if not whole["complete"]:
        states = ", ".join(f"{entry['region']} {entry['state']}" for entry in whole["basis"])
        differences.append(f"the answer is not complete: {states}")
    if not any(alert["region"] == sample.CROWDED_REGION and alert["rule"] == HOLDER_CAP_RULE for alert in alerts):
        differences.append(f"no {HOLDER_CAP_RULE} alert for {sample.CROWDED_REGION}")
    return differences
