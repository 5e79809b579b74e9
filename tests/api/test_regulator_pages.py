"""Pages of regulators' answers: nobody is missed, and a cursor that no page gave is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.core.codec import canonical_json
from crosslink.lightclient.evidence_check import verify_evidence_file
from tests.api.custody_server import ALERTS, BEIJING, INVESTOR, ISSUER, CustodyServer, paged
from tests.support.custody import holder, market_with_product, product, registration, snapshot
from tests.support.custody_node import CustodyNode


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
    pledged: dict[str, Any] = {"metadata": {"pledge": "\U00020003" * 256}}
    second = registration("long-2", short, account_id, before=(9, 0, 0), change=(-4, 4, 0), **pledged)
    others = [registration(f"other-{n}", unknown, f"{account_id[:-1]}{n}", change=(1, 0, 0)) for n in range(3)]
    with CustodyServer(tmp_path) as server:
        server.on_node(lambda node: node.deliver(node.chains[0], product(short, "issuer"), first, second, *others))
        trust = server.on_node(lambda node: node.trust())
        for path, name in (("/v1/supervision/investors/-", "positions"), (ISSUER, "holders")):
            rows: list[dict[str, Any]] = []
            for answer in server.pages(path, limit=1, proof=True):
                verify_evidence_file(canonical_json(answer["evidence"]), trust)
                rows += answer["data"][name]
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


def test_pages_miss_nobody_where_one_products_id_begins_with_anothers(tmp_path: Path) -> None:
    """`a-b` comes after `a` among ids, but its holdings `a-b/...` before `a/...` among keys."""
    with CustodyServer(tmp_path) as server:
        other = BEIJING + "-B"
        server.on_node(lambda node: node.deliver(node.chains[0], *market_with_product(other)[1:], *holder(3, 5, other)))
        whole = [(row["product"], row["account"]) for row in server.get(ISSUER)["data"]["holders"]]
        assert sorted(whole) == [(BEIJING, "A1"), (BEIJING, "A2"), (other, "A3")]
        rows = [row for page in server.pages(ISSUER, limit=1) for row in page["data"]["holders"]]
        assert [(row["product"], row["account"]) for row in rows] == whole


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
        pages = [paged(answer) for answer in server.pages("/v1/feedback", role=market, limit=2)]
        assert len(pages) == 4
        for name in ("anomalies", "alerts"):
            assert [item for page in pages for item in page[name]] == whole[name]
        good = pages[0]["next_cursor"]
        for wrong in ("~", "x", "bad-9~", "~beijing.holder_cap", f"{good}~", "\u80a1~", "~"):
            assert server.ask("/v1/feedback", role=market, cursor=wrong).json()["code"] == "cursor", wrong
        assert server.ask("/v1/feedback", role="supervisor", cursor=good).json()["code"] == "cursor"
        assert server.ask("/v1/feedback", role="supervisor", region="shanghai", cursor=good).json()["code"] == "cursor"
        assert server.ask("/v1/feedback", role="supervisor", region="beijing", cursor=good).status_code == 200
