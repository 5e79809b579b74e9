"""Look-through: who holds what in all markets, and what an enterprise has issued, pledged and frozen.

Figures are the market's own, as its last registration states them; `docs/supervision.md` says what that means. A
quantity is an integer with `scale` decimal places of `unit`; both are null where the market states none. Left out:
natural persons' names, which are on no chain.
"""

from __future__ import annotations

from typing import Any, Final

from common.core.errors import Malformed, NotFound
from custody_chain import state
from custody_chain.queries.moment import Moment
from custody_chain.supervision import codes

MAX_LISTED: Final = 200
"""Subjects, companies and products that one answer names besides the paged rows."""


def investor(moment: Moment, code: str, cursor: str | None, limit: int) -> dict[str, Any]:
    """Positions of one investor across all markets.

    Raises `Malformed('investor_code')`, `Malformed('cursor')`; an investor without positions has an empty answer,
    which can be proven too.
    """
    if codes.investor_code(code) is None and code != state.UNRESOLVED:
        raise Malformed("investor_code", "An investor code is Q, R or S and nine digits (JR/T 0326-2024).")
    root = state.positions_of(code)
    after = None
    if cursor is not None:
        _parse_cursor(moment, cursor)
        after = root + cursor.encode("ascii")
    rows: list[dict[str, Any]] = []
    last = b""
    for prefix in sorted(root + network.encode("ascii") + b"/" for network in moment.regions()):
        start = _start_in(prefix, after)
        if start is _PASSED:
            continue
        for key, value in moment.scan(prefix, start, limit + 1 - len(rows), prove=False):
            if len(rows) == limit:
                return {"investor_code": code, "positions": rows, "next_cursor": last[len(root) :].decode("ascii")}
            moment.get(key)
            rows.append(position_row(moment, key, value))
            last = key
    return {"investor_code": code, "positions": rows, "next_cursor": None}


_PASSED: Final = b""
"""Stands for a prefix that lies before the cursor."""


def _start_in(prefix: bytes, after: bytes | None) -> bytes | None:
    """Where to go on below a prefix: from its beginning (None), after a key, or not at all (`_PASSED`)."""
    if after is None or after < prefix:
        return None
    return after if after.startswith(prefix) else _PASSED


def _parse_cursor(moment: Moment, cursor: str) -> tuple[str, str]:
    """Region and product of a cursor `<region>/<product>/<account>`. Raises `Malformed('cursor')`.

    What it names need not be there any more: a holding may have gone since. Its shape and its region must be right.
    """
    steps = cursor.split("/")
    if len(steps) != 3 or steps[0] not in moment.regions() or not all(map(_is_component, steps[1:])):
        raise Malformed("cursor", "Give the next_cursor of the page before.")
    return steps[0], state.identifier(steps[1])


def _is_component(step: str) -> bool:
    try:
        return step.isascii() and state.component(state.identifier(step)) == step
    except UnicodeDecodeError:
        return False


def position_row(moment: Moment, key: bytes, value: dict[str, Any]) -> dict[str, Any]:
    """One position with the names of what it is in."""
    _, investor_code, network, product_path, account_path = key.decode("ascii").split("/")
    product_id, account_id = state.identifier(product_path), state.identifier(account_path)
    product = moment.peek(state.product(network, product_id)) or {}
    return {
        "investor_code": investor_code,
        "region": network,
        "product": product_id,
        "product_name": product.get("name"),
        "issuer": product.get("issuer"),
        "security": product.get("security"),
        "scale": product.get("scale"),
        "unit": product.get("unit"),
        "account": account_id,
        "available": value["available"],
        "pledged": value["pledged"],
        "frozen": value["frozen"],
        "held": value["available"] + value["pledged"] + value["frozen"],
        "registration": {"object_id": value["object_id"], "height": value["height"], "index": value["index"]},
        "registered_at_ms": value["time_ms"],
    }


def issuer(moment: Moment, code: str, product: str | None, cursor: str | None, limit: int) -> dict[str, Any]:
    """Products of an enterprise in all markets, with a page of their holders, pledges and freezes.

    Raises `Malformed('enterprise_code')`, `NotFound('enterprise_unknown')`, `NotFound('product_unknown')` for a
    `product` that the enterprise does not have, and `Malformed('cursor')`.
    """
    enterprise = codes.enterprise_key(code)
    if enterprise is None:
        raise Malformed("enterprise_code", "An enterprise code is region letters and six digits (JR/T 0326-2024).")
    companies = [
        _company_row(moment, key, value)
        for key, value in moment.scan(state.companies(enterprise), None, MAX_LISTED)
        if moment.sees(_network(key))
    ]
    products = [
        _product_row(moment, _network(key), value["product"])
        for key, value in moment.scan(state.issued_by(enterprise), None, MAX_LISTED)
        if moment.sees(_network(key))
    ]
    if not companies and not products:
        raise NotFound("enterprise_unknown", "No region has reported this enterprise.", enterprise=enterprise)
    chosen = [(row["region"], row["product"]) for row in products]
    if product is not None:  # looked up by itself: it may be beyond the products that one answer lists
        chosen = [(at, product) for at in moment.regions() if moment.peek(state.issued(enterprise, at, product))]
        if not chosen:
            raise NotFound("product_unknown", "The enterprise has no such product, or it is outside your scope.")
    holders, following = _holders(moment, chosen, cursor, limit)
    return {
        "enterprise_code": enterprise,
        "companies": companies,
        "products": products,
        "holders": holders,
        "pledges": [line for row in holders for line in _encumbrances(moment, row, "pledge", row["pledged"])],
        "freezes": [line for row in holders for line in _encumbrances(moment, row, "freeze", row["frozen"])],
        "truncated": len(products) >= MAX_LISTED or len(companies) >= MAX_LISTED,
        "next_cursor": following,
    }


def _network(key: bytes) -> str:
    return key.split(b"/")[2].decode("ascii")


def _company_row(moment: Moment, key: bytes, value: dict[str, Any]) -> dict[str, Any]:
    network = _network(key)
    subject = moment.peek(state.subject(network, value["subject"])) or {}
    return {
        "region": network,
        "object_id": value["subject"],
        "name": subject.get("name"),
        "investor_code": subject.get("investor"),
        "shareholders_number": subject.get("shareholders"),
    }


def _product_row(moment: Moment, network: str, product_id: str) -> dict[str, Any]:
    record = moment.get(state.product(network, product_id))
    return {
        "region": network,
        "product": product_id,
        "code": record["code"],
        "name": record["name"],
        "product_type": record["product_type"],
        "security": record["security"],
        "issue_size": record["issue_size"],
        "scale": record["scale"],
        "unit": record["unit"],
        "holders": record["holders"],
        "accounts": record["accounts"],
        "available": record["available"],
        "pledged": record["pledged"],
        "frozen": record["frozen"],
        "held": record["available"] + record["pledged"] + record["frozen"],
        "standing_alerts": record["alerts"],
    }


def _encumbrances(moment: Moment, row: dict[str, Any], kind: str, balance: int) -> list[dict[str, Any]]:
    """The pledges or freezes behind a balance; what none is named for comes as one line without an id."""
    if balance <= 0:
        return []
    place = {name: row[name] for name in ("region", "product", "account", "investor_code")}
    prefix = state.encumbrances_of(row["region"], row["product"], row["account"]) + kind.encode("ascii") + b"/"
    lines = []
    for _, value in moment.scan(prefix, None, MAX_LISTED):
        details = {name: item for name, item in value.items() if name not in _ENCUMBRANCE_PLACE}
        registration = {name: value[name] for name in ("object_id", "height", "index")}
        lines.append({**place, **details, "registration": registration, "registered_at_ms": value["time_ms"]})
    unnamed = balance - sum(line["quantity"] for line in lines)
    if unnamed > 0 and len(lines) < MAX_LISTED:
        rest = {"id": None, "quantity": unnamed, "registration": row["registration"]}
        lines.append({**place, **rest, "registered_at_ms": row["registered_at_ms"]})
    return lines


_ENCUMBRANCE_PLACE: Final = frozenset({"kind", "investor", "object_id", "height", "index", "time_ms"})


def _holders(
    moment: Moment, products: list[tuple[str, str]], cursor: str | None, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of holders, product by product; the cursor is the last holding's key below `holding/`."""
    after = None
    if cursor is not None:
        if _parse_cursor(moment, cursor) not in products:
            raise Malformed("cursor", "Give the next_cursor of the page before.")
        after = b"holding/" + cursor.encode("ascii")
    rows: list[dict[str, Any]] = []
    last = b""
    for prefix, network, product_id in sorted((state.holdings_of(*place), *place) for place in products):
        start = _start_in(prefix, after)
        if start is _PASSED:
            continue
        for key, value in moment.scan(prefix, start, limit + 1 - len(rows)):
            if len(rows) == limit:
                return rows, last[len(b"holding/") :].decode("ascii")
            account_id = state.identifier(key.rsplit(b"/", 1)[1].decode("ascii"))
            position_key = state.position(value["investor"], network, product_id, account_id)
            position = moment.get(position_key)
            rows.append(position_row(moment, position_key, position))
            last = key
    return rows, None
