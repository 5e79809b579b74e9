"""What must hold after any disturbance, judged by what the public interface of every node says.

Each check returns the sentences that are not true; an empty list is a pass."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.bench.registrations import product_code
from tests.perturbation.fleet import Fleet
from tests.perturbation.load import Journal, Load
from tests.perturbation.view import CUSTODY, Reader, Watch, until
from tests.support.running import tongjian

ASKED_EVERYWHERE = 60
"""Receipts that every node is asked for; block ids commit to the rest, and one node's lists of them are compared."""
EVIDENCE_SAMPLES = 2
LEVEL_PATIENCE_S = 60.0
Violations = list[str]


def blocks_agree(fleet: Fleet, reader: Reader, watch: Watch) -> tuple[Violations, dict[str, list[str]]]:
    """Every node of a chain reaches the highest tip that was ever shown, and shows the same ids below it; and these
    ids, by chain."""
    wrong: Violations = []
    ids: dict[str, list[str]] = {}
    for chain in fleet.chains:
        shown_now = [status["height"] for node in chain.nodes if (status := reader.status(node.name))]
        tip = max([watch.tip(chain.network_id), *shown_now])
        for node in chain.nodes:
            status = until(
                lambda name=node.name, tip=tip: (s := reader.status(name)) and s["height"] >= tip and s,
                LEVEL_PATIENCE_S,
            )
            if not status or status["height"] < tip:
                wrong.append(f"{node.name} has not reached {tip}: {status and status['height']}")
                continue
            shown = reader.header_ids(node.name, tip)
            known = ids.setdefault(chain.network_id, shown)
            if shown != known:
                height = next(at for at, pair in enumerate(zip(shown, known, strict=True), 1) if pair[0] != pair[1])
                wrong.append(f"{node.name} has another block {height} than {chain.nodes[0].name}: a fork")
    return wrong, ids


def heights_never_go_back(watch: Watch) -> Violations:
    """A height once shown is durable."""
    return list(watch.went_back)


def nodes_vote_and_accuse_nobody(fleet: Fleet, reader: Reader) -> Violations:
    """At the end everybody votes again, and nobody holds evidence of a double vote."""
    wrong: Violations = []
    for chain in fleet.chains:
        for node in chain.nodes:
            if not until(lambda name=node.name: (s := reader.status(name)) and s["voting"], LEVEL_PATIENCE_S):
                wrong.append(f"{node.name} does not vote")
            numbers = str(reader.get(node.name, "/metrics"))
            if "tongjian_accusations_total 0.0" not in numbers:
                wrong.append(f"{node.name} accuses somebody, though everybody is honest")
    return wrong


def receipts_stand(load: Load, fleet: Fleet, reader: Reader, tip: int) -> Violations:
    """Every final receipt is found again, at its height and index, on every node; what is committed was submitted, and
    once, no nonce twice; nothing is left without an answer."""
    journal, region = load.journal, load.journal.region
    names = fleet.names(region)
    wrong = [f"no receipt for {sent.nonce} ({sent.tx_id})" for sent in load.open()]
    wrong += [f"refused: {refusal}" for refusal in journal.refused if not _twin(journal, refusal)]
    committed = _committed(reader, names, region, tip)
    places = {tx_id: place for place, tx_id in committed.items()}
    if len(places) != len(committed):
        wrong.append(f"{len(committed) - len(places)} transactions are committed twice")
    for tx_id in places.keys() - journal.sent.keys():
        wrong.append(f"nobody submitted {tx_id} at {places[tx_id]}")
    nonces = Counter(journal.sent[tx_id].nonce for tx_id in places if tx_id in journal.sent)
    wrong += [f"nonce {nonce} committed {count} times" for nonce, count in nonces.items() if count > 1]
    for sent in journal.final:
        assert sent.final is not None
        if places.get(sent.tx_id) != (sent.final["height"], sent.final["index"]):
            wrong.append(f"{sent.tx_id}: receipt {sent.final['height']}/{sent.final['index']}, block says otherwise")
    final = journal.final
    for sent in final[:: max(1, len(final) // ASKED_EVERYWHERE)]:
        for name in names:
            answer = reader.get(name, f"/v1/transactions/{sent.tx_id}", credential=f"{region}-operator")
            if _essence(answer) != _essence(sent.final):
                wrong.append(
                    f"{name} answers {_essence(answer)} for {sent.tx_id}, the receipt was {_essence(sent.final)}"
                )
    return wrong


def _twin(journal: Journal, refusal: str) -> bool:
    nonce = refusal.split(":", 1)[0]
    return sum(sent.nonce == nonce for sent in journal.sent.values()) > 1


def _essence(answer: Any) -> tuple[Any, ...]:
    return (None,) if not answer else tuple(answer.get(name) for name in ("status", "height", "index", "receipt"))


def _committed(reader: Reader, names: list[str], region: str, tip: int) -> dict[tuple[int, int], str]:
    """(height, index) -> transaction, as the blocks say; the nodes are asked in turn."""
    found = {}
    for height in range(1, tip + 1):
        block = reader.get(names[height % len(names)], f"/v1/networks/{region}/blocks/{height}")
        for index, tx_id in enumerate(block["tx_ids"]):
            found[height, index] = tx_id
    return found


def register_is_conserved(load: Load, fleet: Fleet, reader: Reader) -> Violations:
    """Transfers move shares, they neither make nor lose any: at every node the holdings add up to what was issued."""
    region, wrong = load.journal.region, []
    for name in fleet.names(region):
        total, cursor = 0, ""
        while cursor is not None:
            query = {"cursor": cursor} if cursor else {}
            path = f"/v1/products/{product_code(region)}/register"
            page = reader.get(name, path, credential=f"{region}-operator", **query)
            if page is None:
                wrong.append(f"{name} does not show the register")
                break
            total += sum(holder["held"] for holder in page["holders"])
            cursor = page["next_cursor"]
        if total != load.total:
            wrong.append(f"{name}: the register of {region} holds {total}, issued were {load.total}")
    return wrong


def anchors_are_the_regions_blocks(
    load: Load, fleet: Fleet, reader: Reader, region_ids: list[str], tip: int
) -> Violations:
    """The custody chain anchors the region up to its tip, calls it active, and names the region's own blocks."""
    region, wrong = load.journal.region, []
    for name in fleet.names(CUSTODY):

        def anchored(name: str = name) -> Any:
            answer = reader.get(name, f"/v1/regions/{region}", credential="supervisor")
            return answer and answer["data"]["anchored_height"] >= tip and answer["data"]

        data = until(anchored, LEVEL_PATIENCE_S)
        if not data:
            wrong.append(f"{name}: {region} is not anchored up to {tip}")
            continue
        if data["state"] != "active" or data["frozen"]:
            wrong.append(f"{name}: {region} is {data['state']}, frozen {data['frozen']}")
        if data["counts"]["anomalies"]:
            wrong.append(f"{name}: {data['counts']['anomalies']} anomalies of {region}")
        height = data["anchored_height"]
        if height <= len(region_ids) and data["block_id"] != region_ids[height - 1]:
            wrong.append(f"{name}: anchored {data['block_id']} at {height}, the region has another block")
    return wrong


def evidence_verifies(load: Load, fleet: Fleet, reader: Reader) -> Violations:
    """Evidence of snapshots from the beginning and the end of the run is checked offline, against the user's roots."""
    region, wrong = load.journal.region, []
    heights = sorted({sent.final["height"] for sent in load.journal.final if sent.final["status"] == "applied"})  # type: ignore[index]
    for height in [heights[0], *heights[-(EVIDENCE_SAMPLES - 1) :]]:
        listed = reader.get(fleet.names(region)[0], f"/v1/networks/{region}/blocks/{height}/objects")
        chosen = listed[0]
        path = f"/v1/evidence/{region}/{chosen['object_id']}"
        text = reader.get(fleet.names(CUSTODY)[0], path, credential="supervisor", height=height, index=chosen["index"])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "evidence.json"
            file.write_text(_as_text(text))
            result = tongjian("verify", str(file), "--trust", str(fleet.network.trust_file), "--json", check=False)
        if result.returncode != 0:
            wrong.append(f"evidence of {chosen['object_id']} at {height}: {result.stderr.strip()[:300]}")
    return wrong


def _as_text(answer: Any) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
