"""Regulators' queries over HTTP (contract, "Regulators' queries"), for relays the regions' cursor, for markets
feedback.

Every answer is the envelope `{as_of_ms, custody_height, complete, basis, data}`; an evidence file is itself. Roles::

    regions                    supervisor, analyst, provincial, auditor, relay, operator, governance, feedback
    supervision, evidence      supervisor, analyst, provincial, auditor
    feedback                   feedback, supervisor, analyst, provincial, auditor
    crosslink log              feedback, relay, operator, supervisor, analyst, provincial, auditor

Invariants:
  * A provincial or feedback token without regions sees none; with regions it sees these, and others do not exist for
    it.
  * Each question of a regulator, refused ones and those at which the node failed included, is in the query log before
    its answer leaves.

Left out: tokens and bounds of requests (common.node), the answers (`queries`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.responses import Response

from common.core.errors import Malformed
from common.node.access import SCOPED, SUPERVISORS, Identity, Role
from common.node.http.context import DIGITS, MAX_HEIGHT, Limit, Node, require_role
from common.node.http.edge import IDENTITY, REQUEST_ID, escaped_path
from common.node.http.problems import code_of
from crosslink.lightclient.evidence_file import MAX_KEY_CHARACTERS
from custody_chain.audit_log import AuditedQuery, AuditLog
from custody_chain.evidence_making import build_evidence
from custody_chain.queries import alert_lists, chains, holdings
from custody_chain.queries.moment import Questions

REGION_READERS: Final = SUPERVISORS | {Role.RELAY, Role.OPERATOR, Role.GOVERNANCE, Role.FEEDBACK}
LOG_READERS: Final = SUPERVISORS | {Role.RELAY, Role.OPERATOR, Role.FEEDBACK}
FEEDBACK_READERS: Final = SUPERVISORS | {Role.FEEDBACK}
_CUSTODY_HEIGHT: Final = "tongjian.custody_height"
_MAX_MS: Final = 2**53 - 1
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode

AsOf = Annotated[int | None, DIGITS, Query(ge=0, le=_MAX_MS, description="As of this time (ms); the newest if absent.")]
Proof = Annotated[bool, Query(description="Add an evidence file of kind `state` for the values read (tip only).")]
PageLimit = Annotated[
    int | None,
    DIGITS,
    Query(
        ge=1,
        le=1000,
        description="At most this many entries; if absent 200 (of feedback 100 of each kind), with `proof=true` as "
        "many of them as one answer can prove. A limit too large for the proofs is refused (`proof_limit`).",
    ),
]
Cursor = Annotated[str | None, Query(max_length=MAX_KEY_CHARACTERS, description="`next_cursor` of the page before.")]
FromHeight = Annotated[
    int, DIGITS, Query(alias="from", ge=0, le=MAX_HEIGHT, description="From this custody height on.")
]


class BasisEntry(BaseModel):
    """What an answer rests on in one region."""

    region: str
    state: Literal["active", "lagging", "silent", "expired", "frozen"]
    anchored_height: int
    block_id: str
    block_time_ms: int
    lag_ms: int
    anomalies: int = Field(description="open anomalies: snapshots kept out of every figure")
    gaps: list[tuple[int, int]] = Field(description="first and last height of blocks not completely taken in")


class Envelope(BaseModel):
    """Every answer to a regulator."""

    as_of_ms: int = Field(description="time of the custody block that the answer holds after")
    custody_height: int
    complete: bool = Field(description="false while any region concerned is not active or has gaps")
    basis: list[BasisEntry]
    data: dict[str, Any]
    evidence: dict[str, Any] | None = Field(default=None, description="with `proof=true`: tongjian/evidence/v1")


def sees(identity: Identity, network: str) -> bool:
    """Whether a bearer may know of a region. Scoped roles without a list of regions see none."""
    if identity.regions is None and identity.role in SCOPED:
        return False
    return identity.may_see_region(network)


def _identity(request: Request) -> Identity:
    identity: Identity = request.scope[IDENTITY]
    return identity


def _questions(request: Request, node: Node) -> Questions:
    identity = _identity(request)
    return Questions(node.chain, lambda network: sees(identity, network))


def _reply(request: Request, envelope: dict[str, Any]) -> Response:
    request.scope[_CUSTODY_HEIGHT] = envelope["custody_height"]
    return Response(_encode(envelope), media_type="application/json")


async def get_regions(request: Request, node: Node, as_of_ms: AsOf = None, proof: Proof = False) -> Response:
    """The regions: state, verified and anchored height, lag, counts."""
    return _reply(request, _questions(request, node).answer(chains.all_regions, as_of_ms=as_of_ms, proof=proof))


async def get_region(
    network: str, request: Request, node: Node, as_of_ms: AsOf = None, proof: Proof = False
) -> Response:
    """One region, with the light client's state from which a relay goes on."""
    questions = _questions(request, node)
    envelope = questions.answer(
        lambda moment: chains.one_region(moment, network), as_of_ms=as_of_ms, proof=proof, concerned=[network]
    )
    return _reply(request, envelope)


async def get_investor(
    investor_code: str,
    request: Request,
    node: Node,
    limit: PageLimit = None,
    cursor: Cursor = None,
    as_of_ms: AsOf = None,
    proof: Proof = False,
) -> Response:
    """Positions of one investor across all markets (穿透). `-` lists positions whose owner has no valid code."""
    questions = _questions(request, node)
    envelope = questions.answer(
        lambda moment: holdings.investor(moment, investor_code, cursor, limit), as_of_ms=as_of_ms, proof=proof
    )
    return _reply(request, envelope)


async def get_issuer(
    enterprise_code: str,
    request: Request,
    node: Node,
    product: Annotated[str | None, Query(max_length=128, description="Holders of this product only.")] = None,
    limit: PageLimit = None,
    cursor: Cursor = None,
    as_of_ms: AsOf = None,
    proof: Proof = False,
) -> Response:
    """Products, holders, pledges and freezes of one enterprise across all markets."""
    questions = _questions(request, node)
    envelope = questions.answer(
        lambda moment: holdings.issuer(moment, enterprise_code, product, cursor, limit),
        as_of_ms=as_of_ms,
        proof=proof,
    )
    return _reply(request, envelope)


async def get_alerts(
    request: Request,
    node: Node,
    region: Annotated[str | None, Query(max_length=32)] = None,
    rule: Annotated[str | None, Query(max_length=64)] = None,
    state: Annotated[Literal["open", "cleared"] | None, Query()] = None,
    since: Annotated[
        int, DIGITS, Query(ge=0, le=_MAX_MS, description="Opened, changed or cleared at or after this time.")
    ] = 0,
    limit: PageLimit = None,
    cursor: Cursor = None,
    as_of_ms: AsOf = None,
    proof: Proof = False,
) -> Response:
    """Alerts, each with rule, source, objects and heights."""
    questions = _questions(request, node)
    envelope = questions.answer(
        lambda moment: alert_lists.listed(
            moment, region=region, rule=rule, standing=state, since_ms=since, cursor=cursor, limit=limit
        ),
        as_of_ms=as_of_ms,
        proof=proof,
        concerned=None if region is None else [region],
    )
    return _reply(request, envelope)


async def get_alert(
    alert_id: str, request: Request, node: Node, as_of_ms: AsOf = None, proof: Proof = False
) -> Response:
    """One alert."""
    questions = _questions(request, node)
    envelope = questions.answer(
        lambda moment: alert_lists.one(moment, alert_id),
        as_of_ms=as_of_ms,
        proof=proof,
        concerned=[alert_id.partition(".")[0]],
    )
    return _reply(request, envelope)


async def get_feedback(
    request: Request,
    node: Node,
    from_height: FromHeight = 0,
    region: Annotated[str | None, Query(max_length=32, description="One region; all of yours if absent.")] = None,
    limit: PageLimit = None,
    cursor: Cursor = None,
    as_of_ms: AsOf = None,
    proof: Proof = False,
) -> Response:
    """For markets: their own anomalies, alerts and lag, each with who has to act."""
    questions = _questions(request, node)

    def question(moment: Any) -> dict[str, Any]:
        networks = list(moment.regions()) if region is None else [region]
        return chains.feedback(moment, networks, from_height, cursor, limit)

    envelope = questions.answer(
        question, as_of_ms=as_of_ms, proof=proof, concerned=None if region is None else [region]
    )
    return _reply(request, envelope)


async def get_log(
    request: Request,
    node: Node,
    region: Annotated[str, Query(max_length=32)],
    from_height: FromHeight = 0,
    limit: Limit = 200,
    cursor: Cursor = None,
    as_of_ms: AsOf = None,
    proof: Proof = False,
) -> Response:
    """The cross-chain log of a region: what was accepted, what is anomalous and why.

    Lines are no state values: a proof shows the region's record, with the number of lines (`log`) and the chained hash
    over all that was taken in (`journal`).
    """
    questions = _questions(request, node)
    envelope = questions.answer(
        lambda moment: chains.crosslink_log(moment, region, from_height, cursor, limit),
        as_of_ms=as_of_ms,
        proof=proof,
        concerned=[region],
    )
    return _reply(request, envelope)


async def get_evidence(
    region: str,
    object_id: str,
    request: Request,
    node: Node,
    height: Annotated[
        int | None, DIGITS, Query(ge=1, le=MAX_HEIGHT, description="Region height; newest if absent.")
    ] = None,
    index: Annotated[int | None, DIGITS, Query(ge=0, le=2**32 - 1, description="Index in that block.")] = None,
) -> Response:
    """The evidence file of one snapshot, for `tongjian verify`."""
    if index is not None and height is None:
        raise Malformed("evidence_place", "An index needs the height of its block.")
    if not 1 <= len(object_id) <= 128:
        raise Malformed("object_id", "An object id has 1 to 128 characters.")
    questions = _questions(request, node)
    envelope = questions.answer(lambda moment: moment.region(region).client.client_type, concerned=[region])
    evidence, proven_height = build_evidence(node.chain, envelope["data"], region, object_id, height, index)
    request.scope[_CUSTODY_HEIGHT] = proven_height
    return Response(evidence.encode(), media_type="application/json")


_ROUTES: Final[tuple[tuple[str, Callable[..., Awaitable[Response]], frozenset[Role], bool], ...]] = (
    ("/regions", get_regions, REGION_READERS, True),
    ("/regions/{network}", get_region, REGION_READERS, True),
    ("/supervision/investors/{investor_code}", get_investor, SUPERVISORS, True),
    ("/supervision/issuers/{enterprise_code}", get_issuer, SUPERVISORS, True),
    ("/supervision/alerts", get_alerts, SUPERVISORS, True),
    ("/supervision/alerts/{alert_id}", get_alert, SUPERVISORS, True),
    ("/feedback", get_feedback, FEEDBACK_READERS, True),
    ("/crosslink/log", get_log, LOG_READERS, True),
    ("/evidence/{region}/{object_id:path}", get_evidence, SUPERVISORS, False),
)
"""Path, function, roles, and whether the answer is an envelope."""


def routers(audit: AuditLog) -> list[APIRouter]:
    """The custody chain's routes; each use by a regulator is recorded in `audit`."""
    router = APIRouter(prefix="/v1", tags=["Regulators' queries"], route_class=audited_route(audit))
    for path, function, roles, enveloped in _ROUTES:
        router.add_api_route(
            path,
            function,
            dependencies=[Depends(require_role(roles))],
            response_class=Response,
            responses={200: {"model": Envelope}} if enveloped else {},
        )
    return [router]


def audited_route(audit: AuditLog) -> type[APIRoute]:
    """A route class that writes the query log before an answer leaves."""

    class AuditedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            answer = super().get_route_handler()

            async def audited(request: Request) -> Response:
                try:
                    response = await answer(request)
                except Exception as failure:
                    # Broad on purpose: whatever becomes of a question, it was asked.
                    _record(audit, request, None, code_of(failure))
                    raise
                _record(audit, request, response.status_code, None)
                return response

            return audited

    return AuditedRoute


def _record(audit: AuditLog, request: Request, status: int | None, code: str | None) -> None:
    """Machines' polling (relay, operator) is in the request log alone; this log is about people's questions."""
    identity = _identity(request)
    if identity.role in (Role.RELAY, Role.OPERATOR):
        return
    audit.record(
        identity,
        AuditedQuery(
            request_id=str(request.scope.get(REQUEST_ID, "")),
            method=request.method,
            path=escaped_path(request.scope),
            query=request.scope["query_string"].decode("latin-1"),
            status=status,
            code=code,
            custody_height=request.scope.get(_CUSTODY_HEIGHT),
        ),
    )
