"""What the custody chain says of regions: their state by its own time, the relay's cursor, the log, feedback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crosslink.lightclient.client_state import ClientState
from crosslink.relay.http_custody import parse_region_status
from tests.api.custody_server import BEIJING, INVESTOR, CustodyServer
from tests.support.chains import START_MS
from tests.support.custody import entry_of, registration


def test_feedback_of_the_past_and_with_proof_tells_what_stands_in_the_state(custody: CustodyServer) -> None:
    (before,) = custody.get("/v1/feedback", region="beijing", as_of_ms=START_MS + 2000)["data"]["regions"]
    assert (before["anomalies"], before["alerts"]) == ([], [])
    answer = custody.get("/v1/feedback", region="beijing", proof="true")
    (row,) = answer["data"]["regions"]
    proven = {entry["key"] for entry in answer["evidence"]["state"]}
    expected = {f"anomaly/beijing/{item['object_id']}" for item in row["anomalies"]}
    assert proven == expected | {f"alert/{item['id']}" for item in row["alerts"]} | {"region/beijing"}
    assert len(expected) == 1


def test_the_regions_and_the_relays_cursor(custody: CustodyServer) -> None:
    rows = custody.get("/v1/regions", role="relay")["data"]["regions"]
    assert [(row["region"], row["state"], row["anchored_height"]) for row in rows] == [
        ("beijing", "active", 2),
        ("shanghai", "active", 1),
    ]
    answer = custody.ask("/v1/regions/beijing", role="relay")
    status = parse_region_status(answer.content, "beijing")
    assert (status.position.anchored_height, status.client_state.height, status.frozen) == (2, 2, False)
    assert ClientState.from_json(answer.json()["data"]["client_state"]) == status.client_state


def test_feedback_names_anomalies_with_advice_and_reasons(custody: CustodyServer) -> None:
    (region,) = custody.get("/v1/feedback", role="feedback-beijing")["data"]["regions"]
    assert region["lag"] == {"state": "active", "lag_ms": 1500, "lag_blocks": 0, "attributed_to": None}
    (anomaly,) = region["anomalies"]
    assert (anomaly["object_id"], anomaly["code"], anomaly["attributed_to"]) == ("bad", "schema_failed", "region")
    assert "account_type" in anomaly["reasons"][0]
    assert [alert["attributed_to"] for alert in region["alerts"]] == ["region"]
    later = custody.get("/v1/feedback", role="feedback-beijing", **{"from": 4})["data"]["regions"][0]
    assert (later["anomalies"], later["alerts"]) == ([], [])


def test_the_crosslink_log_says_what_was_accepted_and_what_is_anomalous(custody: CustodyServer) -> None:
    data = custody.get("/v1/crosslink/log", region="beijing")["data"]
    assert [line["type"] for line in data["entries"]] == ["accepted", "anomaly", "accepted"]
    assert data["entries"][1]["code"] == "schema_failed"
    page = custody.get("/v1/crosslink/log", region="beijing", limit=2)["data"]
    rest = custody.get("/v1/crosslink/log", region="beijing", limit=2, cursor=page["next_cursor"])["data"]
    assert [*page["entries"], *rest["entries"]] == data["entries"]
    assert custody.get("/v1/crosslink/log", region="beijing", **{"from": "3"})["data"]["entries"] == data["entries"][1:]


def test_states_of_regions_follow_from_the_custody_tips_time_alone(tmp_path: Path) -> None:
    with CustodyServer(tmp_path) as server:
        at = server.on_node(lambda node: node.time_ms)
        seen = []
        for seconds in (28, 32, 121, 15 * 86400):
            server.on_node(lambda node, s=seconds: node.commit(time_ms=at + 1000 * s))
            answer = server.get(INVESTOR, role="provincial-beijing")
            seen.append((answer["basis"][0]["state"], answer["complete"]))
        assert seen == [("active", True), ("lagging", False), ("silent", False), ("expired", False)]
        past = server.get(INVESTOR, as_of_ms=at)
        assert past["complete"] is True, "what was complete then stays so"


def test_a_partly_delivered_block_makes_the_region_lag_and_points_to_the_relay(tmp_path: Path) -> None:
    with CustodyServer(tmp_path) as server:

        def part(node: Any) -> None:
            chain = node.chains[0]
            snapshots = [registration(f"x{n}", BEIJING, "A1", before=(80, 20, 0), report="r") for n in range(2)]
            block = chain.extend(snapshots, time_ms=node.time_ms + 500)
            node.submit("beijing", entry_of(block, first=0, last=1))

        server.on_node(part)
        data = server.get("/v1/regions/beijing")["data"]
        assert (data["state"], data["lag_blocks"], data["verified_height"]) == ("lagging", 1, 3)
        assert data["partial"] == {"height": 3, "next_index": 1}
        assert server.get(INVESTOR)["complete"] is False
        feedback = server.get("/v1/feedback", role="feedback-beijing")["data"]["regions"][0]
        assert feedback["lag"]["attributed_to"] == "relay"
