"""Regulators' queries over real HTTP: answers, roles, region scope, the past, proofs, paging, the query log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.core.codec import canonical_json
from common.core.errors import InvariantBroken, Unavailable
from common.node.store.store_errors import DamagedStore
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.evidence import verify_evidence_file
from crosslink.relay.http_custody import parse_region_status
from custody_chain.audit_log import AuditedQuery, AuditLog, verify_log
from custody_chain.queries import holdings
from custody_chain.supervision.rules import RULES
from tests.api.custody_server import BEIJING, SHANGHAI, CustodyServer
from tests.api.spellings import refuse_other_spellings
from tests.support.chains import START_MS
from tests.support.custody import entry_of, holder, market_with_product, product, registration, snapshot
from tests.support.custody_node import CustodyNode

INVESTOR = "/v1/supervision/investors/Q000000001"
ISSUER = "/v1/supervision/issuers/BJ000001"
ALERTS = "/v1/supervision/alerts"


@pytest.fixture(scope="module")
def custody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CustodyServer]:
    with CustodyServer(tmp_path_factory.mktemp("custody")) as server:
        yield server


def test_the_envelope_says_what_an_answer_rests_on(custody: CustodyServer) -> None:
    answer = custody.get(INVESTOR)
    assert answer["complete"] is True
    assert (answer["custody_height"], answer["as_of_ms"]) == (4, START_MS + 4000)
    basis = {entry["region"]: entry for entry in answer["basis"]}
    assert sorted(basis) == ["beijing", "shanghai"]
    assert basis["beijing"]["anchored_height"] == 2
    assert (basis["beijing"]["state"], basis["beijing"]["anomalies"], basis["beijing"]["lag_ms"]) == ("active", 1, 1500)


def test_an_investor_is_looked_through_in_all_markets(custody: CustodyServer) -> None:
    rows = custody.get(INVESTOR)["data"]["positions"]
    figures = [(r["region"], r["product"], r["account"], r["available"], r["pledged"], r["frozen"]) for r in rows]
    assert figures == [("beijing", BEIJING, "A1", 80, 20, 0), ("shanghai", SHANGHAI, "A1", 30, 0, 0)]
    assert (rows[0]["issuer"], rows[0]["held"], rows[0]["product_name"]) == ("BJ000001", 100, "普通股")
    assert rows[0]["registration"] == {"object_id": "pledge", "height": 2, "index": 0}


def test_an_unknown_investor_has_no_positions_and_a_wrong_code_is_refused(custody: CustodyServer) -> None:
    assert custody.get("/v1/supervision/investors/Q999999999")["data"]["positions"] == []
    answer = custody.ask("/v1/supervision/investors/X1")
    assert (answer.status_code, answer.json()["code"]) == (400, "investor_code")


def test_an_issuer_with_its_products_holders_pledges_and_freezes(custody: CustodyServer) -> None:
    data = custody.get(ISSUER)["data"]
    assert data["companies"][0]["name"] == "样例公司"
    (product,) = data["products"]
    totals = (product["holders"], product["available"], product["pledged"], product["frozen"], product["held"])
    assert totals == (2, 113, 20, 5, 138)
    assert [(row["account"], row["held"]) for row in data["holders"]] == [("A1", 100), ("A2", 38)]
    assert [(row["account"], row["quantity"]) for row in data["pledges"]] == [("A1", 20)]
    assert [(row["account"], row["quantity"]) for row in data["freezes"]] == [("A2", 5)]
    assert custody.ask("/v1/supervision/issuers/BJ999999").json()["code"] == "enterprise_unknown"
    assert custody.get(ISSUER + "F")["data"]["enterprise_code"] == "BJ000001", "the tier letter is no part of the key"


def test_quantities_come_with_their_decimal_places_and_unit(tmp_path: Path) -> None:
    with CustodyServer(tmp_path) as server:

        def restate(node: Any) -> None:
            size = {"product_scale": 900, "product_scale_unit": 2}
            basic = {"product_information": {"essential_information": {"basic_product_information": size}}}
            stated = {"quantity_scale": 4}
            node.deliver(node.chains[0], snapshot("product", BEIJING, basic, version=1, metadata=stated))

        assert [server.get(ISSUER)["data"]["products"][0][name] for name in ("scale", "unit")] == [None, None]
        server.on_node(restate)
        data = server.get(ISSUER)["data"]
        (product,) = data["products"]
        assert (product["scale"], product["unit"], product["issue_size"]) == (4, "fund_unit", 900)
        position = server.get(INVESTOR)["data"]["positions"][0]
        for row in (data["holders"][0], position):
            assert (row["product"], row["scale"], row["unit"]) == (BEIJING, 4, "fund_unit")


def test_answers_are_paged(custody: CustodyServer) -> None:
    first = custody.get(INVESTOR, limit=1)["data"]
    second = custody.get(INVESTOR, limit=1, cursor=first["next_cursor"])["data"]
    assert [row["region"] for row in (*first["positions"], *second["positions"])] == ["beijing", "shanghai"]
    assert second["next_cursor"] is None
    first = custody.get(ISSUER, limit=1)["data"]
    second = custody.get(ISSUER, limit=1, cursor=first["next_cursor"])["data"]
    assert [row["account"] for row in (*first["holders"], *second["holders"])] == ["A1", "A2"]
    assert second["next_cursor"] is None
    assert custody.ask(INVESTOR, limit=0).status_code == 400
    assert custody.ask(INVESTOR, limit=1001).status_code == 400
    assert custody.ask(INVESTOR, cursor="\n").json()["code"] == "cursor"


def test_the_longest_identifiers_are_paged_and_proven(tmp_path: Path) -> None:
    unknown, account_id, short = "\U00020000" * 254, "\U00020001" * 254, "\U00020002" * 128
    first = registration("long-1", short, account_id, change=(9, 0, 0))
    pledged = {"metadata": {"pledge": "\U00020003" * 256}}
    second = registration("long-2", short, account_id, before=(9, 0, 0), change=(-4, 4, 0), **pledged)
    others = [registration(f"other-{n}", unknown, f"{account_id[:-1]}{n}", change=(1, 0, 0)) for n in range(3)]
    with CustodyServer(tmp_path) as server:
        server.on_node(lambda node: node.deliver(node.chains[0], product(short, "issuer"), first, second, *others))
        trust = server.on_node(lambda node: node.trust())
        for path, name in (("/v1/supervision/investors/-", "positions"), (ISSUER, "holders")):
            rows: list[dict[str, Any]] = []
            page: dict[str, Any] = {"next_cursor": ""}
            while page["next_cursor"] is not None:
                cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
                answer = server.get(path, limit=1, proof=True, **cursor)
                verify_evidence_file(canonical_json(answer["evidence"]), trust)
                page = answer["data"]
                rows += page[name]
            assert rows == server.get(path)["data"][name]
            assert account_id in {row["account"] for row in rows}


HOLDING = f"beijing/{BEIJING}/A1"


@pytest.mark.parametrize(
    ("path", "cursor"),
    [
        *(
            (path, cursor)
            for path in (INVESTOR, "/v1/supervision/investors/R000000001", ISSUER)
            for cursor in (
                "zzzz",
                "",
                "null",
                "beijing/x",
                f"{HOLDING}/x",
                f"guangdong/{BEIJING}/A1",
                f"beijing/{BEIJING}/",
                f"beijing/{BEIJING}/%ff",
                f"beijing/{BEIJING}/%41",
                f"beijing/{BEIJING}/\u80a1",
            )
        ),
        (ISSUER, "beijing/other/A1"),
        (ISSUER, f"shanghai/{BEIJING}/A1"),
        ("/v1/crosslink/log?region=beijing", "zzzz"),
        ("/v1/crosslink/log?region=beijing", ""),
        ("/v1/crosslink/log?region=beijing", "f" * 16 + "/" + "0" * 16),
        ("/v1/crosslink/log?region=beijing", "0" * 16 + "/" + "0" * 15 + "G"),
        (ALERTS, f"guangdong.holder_cap.{'0' * 24}"),
        (ALERTS, f"beijing.nonsense.{'0' * 24}"),
        (f"{ALERTS}?region=beijing", f"shanghai.holder_cap.{'0' * 24}"),
    ],
)
def test_a_cursor_that_no_page_gave_is_refused(custody: CustodyServer, path: str, cursor: str) -> None:
    bare, _, region = path.partition("?region=")
    answer = custody.ask(bare, cursor=cursor, **({"region": region} if region else {}))
    assert (answer.status_code, answer.json()["code"]) == (400, "cursor")


def test_a_cursor_into_an_invisible_region_is_as_wrong_as_one_into_none(custody: CustodyServer) -> None:
    for path, cursor in ((INVESTOR, HOLDING), (ALERTS, f"beijing.holder_cap.{'0' * 24}")):
        assert custody.ask(path, cursor=cursor).status_code == 200
        answer = custody.ask(path, role="provincial-shanghai", cursor=cursor)
        assert (answer.status_code, answer.json()["code"]) == (400, "cursor")


def test_holders_of_one_product(custody: CustodyServer) -> None:
    data = custody.get(ISSUER, product=BEIJING)["data"]
    assert [row["account"] for row in data["holders"]] == ["A1", "A2"]
    for path, code in ((ISSUER, "XX"), (ISSUER, SHANGHAI), (ISSUER, ""), (ISSUER, "-")):
        answer = custody.ask(path, product=code)
        assert (answer.status_code, answer.json()["code"]) == (404, "product_unknown")
        assert answer.json()["object_id"] == answer.json()["product"]
    assert custody.ask(ISSUER, prodct=BEIJING).json()["allowed"] == "as_of_ms, cursor, limit, product, proof"
    assert custody.ask(ALERTS, region=["beijing", "shanghai"]).json()["code"] == "parameter_repeated"


def test_pages_miss_nobody_where_one_products_id_begins_with_anothers(tmp_path: Path) -> None:
    """`a-b` comes after `a` among ids, but its holdings `a-b/...` before `a/...` among keys."""
    with CustodyServer(tmp_path) as server:
        other = BEIJING + "-B"
        server.on_node(lambda node: node.deliver(node.chains[0], *market_with_product(other)[1:], *holder(3, 5, other)))
        whole = [(row["product"], row["account"]) for row in server.get(ISSUER)["data"]["holders"]]
        assert sorted(whole) == [(BEIJING, "A1"), (BEIJING, "A2"), (other, "A3")]
        paged, cursor = [], None
        while True:
            query = {} if cursor is None else {"cursor": cursor}
            page = server.get(ISSUER, limit=1, **query)["data"]
            paged += [(row["product"], row["account"]) for row in page["holders"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert paged == whole


def test_alerts_name_rule_source_objects_and_heights(custody: CustodyServer) -> None:
    (alert,) = custody.get(ALERTS)["data"]["alerts"]
    assert (alert["rule"], alert["region"], alert["state"]) == ("balance_arithmetic", "beijing", "open")
    assert alert["source"] == RULES["balance_arithmetic"].source
    assert alert["objects"][0] == {"kind": "registration", "id": "broken"}
    assert (alert["opened"]["region_height"], alert["opened"]["custody_height"]) == (2, 3)
    assert custody.get(f"{ALERTS}/{alert['id']}")["data"] == alert


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ({"region": "beijing"}, 1),
        ({"region": "shanghai"}, 0),
        ({"rule": "balance_arithmetic"}, 1),
        ({"rule": "holder_cap"}, 0),
        ({"state": "open"}, 1),
        ({"state": "cleared"}, 0),
        ({"since": START_MS + 3000}, 1),
        ({"since": START_MS + 3001}, 0),
    ],
)
def test_alerts_are_filtered(custody: CustodyServer, parameters: dict[str, Any], count: int) -> None:
    assert len(custody.get(ALERTS, **parameters)["data"]["alerts"]) == count


def test_integers_of_the_supervisory_routes_have_one_spelling(custody: CustodyServer) -> None:
    assert refuse_other_spellings(custody, "custody", "supervisor", "operator") >= 25


@pytest.mark.parametrize(
    ("path", "parameters", "status", "code"),
    [
        (ALERTS, {"rule": "nonsense"}, 400, "alert_rule_unknown"),
        (ALERTS, {"region": "guangdong"}, 404, "region_unknown"),
        (ALERTS, {"state": "asleep"}, 400, "request_invalid"),
        (f"{ALERTS}/beijing.holder_cap.000000000000000000000000", {}, 404, "alert_unknown"),
        (f"{ALERTS}/nonsense", {}, 400, "alert_id"),
        ("/v1/regions/guangdong", {}, 404, "region_unknown"),
        ("/v1/evidence/beijing/nobody", {}, 404, "object_unknown"),
        ("/v1/evidence/beijing/pledge", {"index": 1}, 400, "evidence_place"),
        ("/v1/crosslink/log", {}, 400, "request_invalid"),
        (INVESTOR, {"as_of_ms": START_MS - 1}, 404, "as_of_before_genesis"),
        (INVESTOR, {"as_of_ms": START_MS + 1, "proof": "true"}, 422, "proof_only_at_tip"),
    ],
)
def test_refusals_are_problems_with_stable_codes(
    custody: CustodyServer, path: str, parameters: dict[str, Any], status: int, code: str
) -> None:
    answer = custody.ask(path, **parameters)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_past_is_answered_from_the_state_of_that_time(custody: CustodyServer) -> None:
    def at(as_of_ms: int) -> tuple[int, list[tuple[int, int]]]:
        answer = custody.get(INVESTOR, as_of_ms=as_of_ms)
        return answer["custody_height"], [(r["available"], r["pledged"]) for r in answer["data"]["positions"]]

    assert at(START_MS) == (0, [])
    assert at(START_MS + 1000) == (1, [(100, 0)])
    assert at(START_MS + 1999) == (1, [(100, 0)])
    assert at(START_MS + 2000) == (2, [(100, 0), (30, 0)])
    assert at(START_MS + 3500) == (3, [(80, 20), (30, 0)])
    assert at(START_MS + 10**9) == (4, [(80, 20), (30, 0)]), "the future is the tip"
    assert custody.get(ALERTS, as_of_ms=START_MS + 2000)["data"]["alerts"] == []
    past = custody.get("/v1/regions/beijing", as_of_ms=START_MS + 2000)
    assert (past["data"]["anchored_height"], past["data"]["counts"]["snapshots"]) == (1, 8)
    log = custody.get("/v1/crosslink/log", region="beijing", as_of_ms=START_MS + 2000)["data"]
    assert [line["type"] for line in log["entries"]] == ["accepted"]


@pytest.mark.parametrize(
    "path",
    [INVESTOR, ISSUER, ALERTS, "/v1/regions", "/v1/regions/beijing", "/v1/feedback", "/v1/crosslink/log"],
)
def test_a_proof_is_an_evidence_file_that_the_offline_verifier_accepts(custody: CustodyServer, path: str) -> None:
    needed = {"region": "beijing"} if path == "/v1/crosslink/log" else {}
    answer = custody.get(path, proof="true", **needed)
    findings = verify_evidence_file(canonical_json(answer["evidence"]), custody.on_node(lambda node: node.trust()))
    assert (findings.kind, findings.height) == ("state", answer["custody_height"])
    assert findings.state


def test_the_proven_figures_are_those_of_the_answer(custody: CustodyServer) -> None:
    answer = custody.get(INVESTOR, proof="true")
    values = {entry["key"]: json.loads(entry["value"]) for entry in answer["evidence"]["state"]}
    for row in answer["data"]["positions"]:
        proven = values[f"position/Q000000001/{row['region']}/{row['product']}/{row['account']}"]
        assert (proven["available"], proven["pledged"]) == (row["available"], row["pledged"])


def test_feedback_of_the_past_and_with_proof_tells_what_stands_in_the_state(custody: CustodyServer) -> None:
    (before,) = custody.get("/v1/feedback", region="beijing", as_of_ms=START_MS + 2000)["data"]["regions"]
    assert (before["anomalies"], before["alerts"]) == ([], [])
    answer = custody.get("/v1/feedback", region="beijing", proof="true")
    (row,) = answer["data"]["regions"]
    proven = {entry["key"] for entry in answer["evidence"]["state"]}
    expected = {f"anomaly/beijing/{item['object_id']}" for item in row["anomalies"]}
    assert proven == expected | {f"alert/{item['id']}" for item in row["alerts"]} | {"region/beijing"}
    assert len(expected) == 1


def test_evidence_for_a_snapshot(custody: CustodyServer) -> None:
    answer = custody.ask("/v1/evidence/beijing/pledge")
    findings = verify_evidence_file(answer.content, custody.on_node(lambda node: node.trust()))
    assert findings.snapshot is not None
    assert findings.snapshot["header"]["content"]["object_id"] == "pledge"
    older = custody.ask("/v1/evidence/beijing/person-1", height=1, index=2)
    assert verify_evidence_file(older.content, custody.on_node(lambda node: node.trust())).region_height == 1


@pytest.mark.parametrize(
    ("object_id", "query", "code"),
    [("nobody", {}, "object_unknown"), ("pledge", {"height": 1}, "snapshot_unknown"), ("甲/乙", {}, "object_unknown")],
)
def test_a_refusal_about_an_object_names_it(
    custody: CustodyServer, object_id: str, query: dict[str, Any], code: str
) -> None:
    problem = custody.ask(f"/v1/evidence/beijing/{object_id}", **query).json()
    assert (problem["code"], problem["object_id"]) == (code, object_id)


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


def test_feedback_is_paged_until_everything_was_told(tmp_path: Path) -> None:
    with CustodyServer(tmp_path) as server:

        def spoil(node: CustodyNode) -> None:
            bad = [snapshot("subject", f"bad-{number}", {}) for number in range(5)]
            strange = [
                registration(f"odd-{number}", f"X{number}", f"X{number}", change=(1, 0, 0)) for number in range(3)
            ]
            node.deliver(node.chains[0], *bad, *strange)

        server.on_node(spoil)
        market = "feedback-beijing"
        (whole,) = server.get("/v1/feedback", role=market)["data"]["regions"]
        assert (whole["truncated"], whole["next_cursor"]) == (False, None)
        assert (len(whole["anomalies"]), len(whole["alerts"])) == (6, 7)
        pages, cursor = [], {}
        while True:
            (page,) = server.get("/v1/feedback", role=market, limit=2, **cursor)["data"]["regions"]
            pages.append(page)
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert len(pages) == 4
        for name in ("anomalies", "alerts"):
            assert [item for page in pages for item in page[name]] == whole[name]
        good = pages[0]["next_cursor"]
        for wrong in ("~", "x", "bad-9~", "~beijing.holder_cap", f"{good}~", "\u80a1~", "~"):
            assert server.ask("/v1/feedback", role=market, cursor=wrong).json()["code"] == "cursor", wrong
        assert server.ask("/v1/feedback", role="supervisor", cursor=good).json()["code"] == "cursor"
        assert server.ask("/v1/feedback", role="supervisor", region="shanghai", cursor=good).json()["code"] == "cursor"
        assert server.ask("/v1/feedback", role="supervisor", region="beijing", cursor=good).status_code == 200


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
    assert custody.get("/v1/crosslink/log", region="beijing", **{"from": 3})["data"]["entries"] == data["entries"][1:]


SUPERVISION = [INVESTOR, ISSUER, ALERTS, "/v1/evidence/beijing/pledge"]
ALLOWED = {
    "/v1/regions": "supervisor analyst provincial auditor relay operator governance feedback",
    "/v1/regions/beijing": "supervisor analyst auditor relay operator governance",
    **dict.fromkeys(SUPERVISION[:1] + SUPERVISION[2:3], "supervisor analyst provincial auditor"),
    ISSUER: "supervisor analyst auditor",
    SUPERVISION[3]: "supervisor analyst auditor",
    "/v1/feedback": "supervisor analyst provincial auditor feedback",
    "/v1/crosslink/log?region=beijing": "supervisor analyst auditor relay operator",
}
"""Roles that get an answer; the tokens of scoped roles name a region that does not exist, so they see none."""


@pytest.mark.parametrize("path", sorted(ALLOWED))
def test_only_the_roles_that_may_ask_get_an_answer(custody: CustodyServer, path: str) -> None:
    answered = {role for role in custody.tokens if "-" not in role and custody.ask(path, role).status_code == 200}
    assert answered == set(ALLOWED[path].split())
    with custody.client(None) as client:
        assert client.get(path).status_code == 401


def test_a_provincial_bearer_sees_its_own_regions_only(custody: CustodyServer) -> None:
    beijing, shanghai = "provincial-beijing", "provincial-shanghai"
    answer = custody.get(INVESTOR, role=shanghai)
    assert [row["region"] for row in answer["data"]["positions"]] == ["shanghai"]
    assert [entry["region"] for entry in answer["basis"]] == ["shanghai"]
    assert [row["region"] for row in custody.get("/v1/regions", role=shanghai)["data"]["regions"]] == ["shanghai"]
    assert custody.get(ALERTS, role=shanghai)["data"]["alerts"] == []
    (alert,) = custody.get(ALERTS, role=beijing)["data"]["alerts"]
    for path in (
        ISSUER,
        f"{ALERTS}/{alert['id']}",
        "/v1/regions/beijing",
        "/v1/evidence/beijing/pledge",
        "/v1/crosslink/log?region=beijing",
        "/v1/feedback?region=beijing",
    ):
        assert custody.ask(path, shanghai).status_code == 404, path
        assert custody.ask(path, beijing).status_code == 200, path
    assert "beijing" not in custody.ask(INVESTOR, shanghai, limit=1).text


def test_a_market_sees_its_own_feedback_only(custody: CustodyServer) -> None:
    regions = custody.get("/v1/feedback", role="feedback-shanghai")["data"]["regions"]
    assert [region["region"] for region in regions] == ["shanghai"]
    assert custody.ask("/v1/feedback", "feedback-shanghai", region="beijing").status_code == 404
    assert custody.ask(INVESTOR, "feedback-shanghai").status_code == 403


def chain_routes(custody: CustodyServer) -> list[str]:
    """Every route that shows what is in the custody chain's blocks: here, what Beijing delivered."""
    tx_id = custody.on_node(lambda node: node.chain.receipts(1)[0].tx_id.hex())
    base = "/v1/networks/custody"
    return [
        *(f"{base}/{name}" for name in ("blocks", "blocks?include=snapshots", "blocks/0", "blocks/1")),
        *(f"{base}/blocks/1/{name}" for name in (f"transactions/{tx_id}", "consensus-state", "objects", "objects/x")),
        f"{base}/objects/x",
        f"/v1/transactions/{tx_id}",
        f"/v1/transactions/{tx_id}?proof=true",
        "/v1/events?from_height=1",
    ]


ASKING = ["provincial", "provincial-shanghai", "feedback", "feedback-shanghai", "supervisor", "analyst", "auditor"]


@pytest.mark.parametrize("role", ASKING)
def test_other_regions_and_unlogged_reading_are_not_had_through_the_node_interface(
    custody: CustodyServer, role: str
) -> None:
    for path in chain_routes(custody):
        answer = custody.ask(path, role)
        assert (answer.status_code, answer.json()["code"]) == (403, "role_not_allowed"), path
        assert "beijing" not in answer.text, path


def test_a_reader_token_of_the_custody_chain_reads_its_blocks_whole(custody: CustodyServer) -> None:
    operations = next(path for path in chain_routes(custody) if "/blocks/1/transactions/" in path)
    assert custody.get(operations, role="reader")["operations"][0]["region"] == "beijing"
    with custody.client("relay") as client, client.stream("GET", "/v1/events?from_height=1") as response:
        assert response.status_code == 200


def lines(custody: CustodyServer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in custody.audit_file.read_text("ascii").splitlines()]


def test_every_question_is_in_the_query_log_with_its_outcome(custody: CustodyServer) -> None:
    before = len(lines(custody))
    custody.get(INVESTOR, role="provincial-beijing", limit=7)
    custody.ask(INVESTOR, "reader")
    custody.ask(ALERTS, since="x")
    custody.get("/v1/regions", role="relay")
    custody.ask("/v1/evidence/beijing/pledge")
    asked, refused, malformed, evidence = lines(custody)[before:]
    assert (asked["subject"], asked["role"], asked["path"], asked["query"], asked["status"]) == (
        "provincial-beijing",
        "provincial",
        INVESTOR,
        "limit=7",
        200,
    )
    assert asked["custody_height"] == 4
    assert (refused["role"], refused["code"]) == ("reader", "role_not_allowed")
    assert malformed["code"] == "request_invalid"
    assert evidence["custody_height"] == 4
    assert verify_log(custody.audit_file) == len(lines(custody))


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (DamagedStore("a value is damaged", remedy="none"), 503, "database_damaged"),
        (InvariantBroken("the index names a transaction that the chain does not have"), 500, "internal_error"),
        (KeyError("name"), 500, "internal_error"),
    ],
)
def test_a_question_at_which_the_node_fails_is_in_the_query_log(
    custody: CustodyServer, monkeypatch: pytest.MonkeyPatch, failure: Exception, status: int, code: str
) -> None:
    def fail(*arguments: Any) -> None:
        raise failure

    monkeypatch.setattr(holdings, "investor", fail)
    before = len(lines(custody))
    answer = custody.ask(INVESTOR, "provincial-beijing")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    (line,) = lines(custody)[before:]
    assert (line["subject"], line["path"], line["code"], line["status"]) == ("provincial-beijing", INVESTOR, code, None)


def test_n6_a_client_cannot_write_a_line_of_the_query_log(custody: CustodyServer) -> None:
    before = len(lines(custody))
    path = "/v1/supervision/investors/Q1%0A%7B%22sequence%22%3A0%7D%E2%80%AE"
    custody.ask(path, cursor='a\n{"sequence":0}\r\x1b[31m\u202e')
    text = custody.audit_file.read_bytes()
    assert len(lines(custody)) == before + 1
    assert text.isascii()
    assert not set(text) & {*range(32)} - {10}


def test_nothing_is_answered_that_cannot_be_logged(custody: CustodyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: AuditLog, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AuditLog, "_append", fail)
    answer = custody.ask(INVESTOR)
    assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
    assert "positions" not in answer.text


def query(path: str) -> AuditedQuery:
    return AuditedQuery(request_id="1", method="GET", path=path, query="", status=200, code=None, custody_height=1)


def test_the_query_log_goes_on_after_a_restart_a_torn_line_and_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log" / "queries.jsonl"
    log = AuditLog(path, now_ms=lambda: 7)
    log.record(None, query("/1"))
    log.close()
    with path.open("ab") as file:
        file.write(b'{"sequence":1,"torn')
    log = AuditLog(path)
    log.record(None, query("/2"))
    assert verify_log(path) == 2
    path.rename(tmp_path / "old.jsonl")
    log.record(None, query("/3"))
    log.close()
    newest = json.loads(path.read_text())
    assert (newest["sequence"], newest["path"]) == (2, "/3")
    joined = tmp_path / "joined.jsonl"
    joined.write_bytes((tmp_path / "old.jsonl").read_bytes() + path.read_bytes())
    assert verify_log(joined) == 3


def test_a_line_taken_out_of_the_query_log_shows(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    log = AuditLog(path)
    for number in range(4):
        log.record(None, query(f"/{number}"))
    log.close()
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(kept[:1] + kept[2:]))
    with pytest.raises(ValueError, match="line 2"):
        verify_log(path)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_lines_cut_off_the_start_of_the_query_log_show(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "queries.jsonl"
    log = AuditLog(path)
    for number in range(4):
        log.record(None, query(f"/{number}"))
    log.close()
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(kept[cut:]))
    with pytest.raises(ValueError, match="line 1"):
        verify_log(path)
    last = hashlib.sha256(kept[cut - 1].rstrip(b"\n")).hexdigest()
    assert verify_log(path, last) == 4 - cut, "a rotated file is checked against the one before"


def test_the_query_log_must_be_writable_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        AuditLog(tmp_path)


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
        assert data["partial"] == {"height": 3, "next_index": 1, "count": 2}
        assert server.get(INVESTOR)["complete"] is False
        feedback = server.get("/v1/feedback", role="feedback-beijing")["data"]["regions"][0]
        assert feedback["lag"]["attributed_to"] == "relay"


def test_the_openapi_document_describes_the_routes(custody: CustodyServer) -> None:
    with custody.client(None) as client:
        document = client.get("/openapi.json").json()
    paths = document["paths"]
    for path in ("/v1/regions", "/v1/supervision/investors/{investor_code}", "/v1/evidence/{region}/{object_id}"):
        assert path in paths
    schema = paths["/v1/supervision/alerts"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Envelope"}
