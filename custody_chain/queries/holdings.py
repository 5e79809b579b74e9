"""Look-through: who holds what in all markets, and what an enterprise has issued, pledged and frozen.

Figures are the market's own, as its last registration states them; `docs/supervision.md` says what that means. A
quantity is an integer with `scale` decimal places of `unit`; both are null where the market states none. Left out:
natural persons' names, which are on no chain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from common.core.errors import InvariantBroken, Malformed, NotFound
from common.model import codes
from common.node.store.chain_moment import MAX_PROVEN
from custody_chain.queries.moment import PAGE, QueryMoment
from custody_chain.tables.encumbrances import ENCUMBRANCES, Encumbrance
from custody_chain.tables.objects import ObjectKey
from custody_chain.tables.positions import HOLDINGS, POSITIONS, Position, PositionKey
from custody_chain.tables.registry import COMPANIES, ISSUED, PRODUCTS, SUBJECTS, Company, Issued, IssuedKey, Product
from custody_chain.tables.table import UNRESOLVED, R, Table, component, identifier

MAX_LISTED: Final = 200
"""Subjects, companies and products that one answer names besides the paged rows."""
MAX_PROVEN_COMPANIES: Final = MAX_PROVEN // 10
MAX_PROVEN_PRODUCTS: Final = MAX_PROVEN // 5
"""As many as an answer with proofs names, at least one a region; a product takes two. The other half is for holders and
what they pledge; with a company and a product in each of `MAX_REGIONS` regions there is room for one holder still.
"""


def investor(moment: QueryMoment, code: str, cursor: str | None, limit: int | None) -> dict[str, Any]:
    """Positions of one investor across all markets; without a limit `PAGE`, which can be proven.

    Raises `Malformed('investor_code')`, `Malformed('cursor')`; an investor without positions has an empty answer,
    which can be proven too.
    """
    if codes.investor_code(code) is None and code != UNRESOLVED:
        raise Malformed("investor_code", "An investor code is Q, R or S and nine digits (JR/T 0326-2024).")
    root = POSITIONS.prefix(code)
    after = None
    if cursor is not None:
        _parse_cursor(moment, cursor)
        after = root + cursor.encode("ascii")
    size = PAGE if limit is None else limit
    rows: list[dict[str, Any]] = []
    last = b""
    for prefix in sorted(root + network.encode("ascii") + b"/" for network in moment.regions()):
        start = _start_in(prefix, after)
        if start is _PASSED:
            continue
        for key, value in moment.scan(prefix, start, size + 1 - len(rows), POSITIONS):
            if len(rows) == size:
                return {"investor_code": code, "positions": rows, "next_cursor": last[len(root) :].decode("ascii")}
            position_key = POSITIONS.key(key)
            moment.get(POSITIONS, position_key)
            rows.append(position_row(moment, position_key, value))
            last = key
    return {"investor_code": code, "positions": rows, "next_cursor": None}


_PASSED: Final = b""
"""Stands for a prefix that lies before the cursor."""


def _start_in(prefix: bytes, after: bytes | None) -> bytes | None:
    """Where to go on below a prefix: from its beginning (None), after a key, or not at all (`_PASSED`)."""
    if after is None or after < prefix:
        return None
    return after if after.startswith(prefix) else _PASSED


def _parse_cursor(moment: QueryMoment, cursor: str) -> tuple[str, str]:
    """Region and product of a cursor `<region>/<product>/<account>`. Raises `Malformed('cursor')`.

    What it names need not be there any more: a holding may have gone since. Its shape and its region must be right.
    """
    steps = cursor.split("/")
    if len(steps) != 3 or steps[0] not in moment.regions() or not all(map(_is_component, steps[1:])):
        raise Malformed("cursor", "Give the next_cursor of the page before.")
    return steps[0], identifier(steps[1])


def _is_component(step: str) -> bool:
    try:
        return step.isascii() and component(identifier(step)) == step
    except UnicodeDecodeError:
        return False


def position_row(moment: QueryMoment, key: PositionKey, position: Position) -> dict[str, Any]:
    """One position with the names of what it is in."""
    product = moment.peek(PRODUCTS, ObjectKey(key.region, key.product)) or Product()
    return {
        "investor_code": key.investor,
        "region": key.region,
        "product": key.product,
        "product_name": product.name,
        "issuer": product.issuer,
        "security": product.security,
        "scale": product.scale,
        "unit": product.unit,
        "account": key.account,
        "available": position.available,
        "pledged": position.pledged,
        "frozen": position.frozen,
        "held": position.held,
        "share_natures": plain(position.share_natures),
        "registration": {"object_id": position.object_id, "height": position.height, "index": position.index},
        "registered_at_ms": position.time_ms,
        "effective_date": position.effective_date,
    }


def plain(value: Any) -> Any:
    """A record's value as a document has it: structs as objects, tuples as lists."""
    return msgspec.to_builtins(value)


def issuer(
    moment: QueryMoment, code: str, product: str | None, cursor: str | None, limit: int | None
) -> dict[str, Any]:
    """Products of an enterprise in all markets, with a page of their holders, pledges and freezes.

    Without a limit the page has `PAGE` holders; with proofs fewer, as many as can be proven with all that is theirs.
    `truncated` says that companies, products, or pledges and freezes of the first holder are more than are listed.
    Raises `Malformed('enterprise_code')`, `NotFound('enterprise_unknown')`, `NotFound('product_unknown')` for a
    `product` that the enterprise does not have, and `Malformed('cursor')`.
    """
    enterprise = codes.enterprise_key(code)
    if enterprise is None:
        raise Malformed("enterprise_code", "An enterprise code is region letters and six digits (JR/T 0326-2024).")
    companies, more_companies = _listed(moment, COMPANIES, enterprise, MAX_PROVEN_COMPANIES, _company_row)
    products, more_products = _listed(moment, ISSUED, enterprise, MAX_PROVEN_PRODUCTS, _product_row)
    if not companies and not products:
        raise NotFound("enterprise_unknown", "No region has reported this enterprise.", enterprise=enterprise)
    chosen = [(row["region"], row["product"]) for row in products]
    if product is not None:  # looked up by itself: it may be beyond the products that one answer lists
        chosen = [(at, product) for at in moment.regions() if moment.peek(ISSUED, IssuedKey(enterprise, at, product))]
        if not chosen:
            detail = "The enterprise has no such product, or it is outside your scope."
            raise NotFound("product_unknown", detail, product=product, object_id=product)
    page = _holders(moment, chosen, cursor, limit)
    return {
        "enterprise_code": enterprise,
        "companies": companies,
        "products": products,
        "holders": page.holders,
        "pledges": page.encumbrances["pledge"],
        "freezes": page.encumbrances["freeze"],
        "truncated": more_companies or more_products or page.truncated,
        "next_cursor": page.following,
    }


def _listed(
    moment: QueryMoment,
    table: Table[Any, R],
    enterprise: str,
    most_proven: int,
    row: Callable[[QueryMoment, str, R], dict[str, Any]],
) -> tuple[list[dict[str, Any]], bool]:
    """Proven rows of what regions report of an enterprise, and whether there is more than that.

    Only regions that the bearer sees are read. They share the room evenly; what one does not need is the others'.
    """
    most = MAX_LISTED if moment.proven is None else most_proven
    found = {
        network: moment.scan(table.prefix(enterprise, network), None, most + 1, table) for network in moment.regions()
    }
    shares = shares_of({network: len(entries) for network, entries in found.items() if entries}, most)
    rows = []
    for network, share in shares.items():
        for path, value in found[network][:share]:
            moment.get(table, table.key(path))
            rows.append(row(moment, network, value))
    return rows, any(len(found[network]) > share for network, share in shares.items())


def shares_of(counts: dict[str, int], most: int) -> dict[str, int]:
    """How many of each region's entries to list, at least one, together as near to `most` as that allows."""
    shares = {}
    left = most
    for number, network in enumerate(sorted(counts, key=counts.__getitem__)):
        shares[network] = min(counts[network], max(1, left // (len(counts) - number)))
        left -= shares[network]
    return {network: shares[network] for network in counts}


def _company_row(moment: QueryMoment, network: str, company: Company) -> dict[str, Any]:
    subject = moment.peek(SUBJECTS, ObjectKey(network, company.subject))
    return {
        "region": network,
        "object_id": company.subject,
        "name": None if subject is None else subject.name,
        "investor_code": None if subject is None else subject.investor,
        "shareholders_number": None if subject is None else subject.shareholders,
    }


def _product_row(moment: QueryMoment, network: str, issued: Issued) -> dict[str, Any]:
    product = moment.get(PRODUCTS, ObjectKey(network, issued.product)) or Product()
    return {
        "region": network,
        "product": issued.product,
        "code": product.code,
        "name": product.name,
        "product_type": product.product_type,
        "security": product.security,
        "issue_size": product.issue_size,
        "issue_price": product.issue_price,
        "scale": product.scale,
        "unit": product.unit,
        "holders": product.holders,
        "accounts": product.accounts,
        "available": product.available,
        "pledged": product.pledged,
        "frozen": product.frozen,
        "held": product.held,
        "standing_alerts": sorted(product.alerts),
    }


_Named = dict[str, list[tuple[bytes, Encumbrance]]]
"""The pledges and freezes that the state names, by kind."""
_BALANCES: Final = {"pledge": "pledged", "freeze": "frozen"}


def _named(moment: QueryMoment, row: dict[str, Any]) -> tuple[_Named, bool]:
    """The pledges and freezes behind a holder's balances, and whether there are more than an answer lists."""
    place = (row["region"], row["product"], row["account"])
    found = {
        kind: moment.scan(ENCUMBRANCES.prefix(*place, kind), None, MAX_LISTED + 1, ENCUMBRANCES)
        if row[balance] > 0
        else []
        for kind, balance in _BALANCES.items()
    }
    listed = {kind: entries[:MAX_LISTED] for kind, entries in found.items()}
    return listed, any(len(entries) > MAX_LISTED for entries in found.values())


_DETAILS: Final = {
    "pledge": ("contract_number", "pledgee", "parts"),
    "freeze": ("authority", "order_number", "until_ms", "parts"),
}
"""What a line tells of each kind, besides what it tells of both."""


def _lines(row: dict[str, Any], entries: list[tuple[bytes, Encumbrance]], unnamed: int) -> list[dict[str, Any]]:
    """Pledges or freezes of a holder; what none is named for comes as one line without an id."""
    place = {name: row[name] for name in ("region", "product", "account", "investor_code")}
    lines = []
    for _, value in entries:
        details = {name: plain(getattr(value, name)) for name in ("id", "quantity", *_DETAILS[value.kind])}
        registration = {"object_id": value.object_id, "height": value.height, "index": value.index}
        lines.append({**place, **details, "registration": registration, "registered_at_ms": value.time_ms})
    if unnamed > 0:
        rest = {"id": None, "quantity": unnamed, "registration": row["registration"]}
        lines.append({**place, **rest, "registered_at_ms": row["registered_at_ms"]})
    return lines


@dataclass(slots=True)
class _HolderPage:
    """A page of holders with the pledges and freezes behind their balances."""

    holders: list[dict[str, Any]] = field(default_factory=list)
    encumbrances: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {kind: [] for kind in _BALANCES})
    truncated: bool = False
    following: str | None = None

    def add(self, row: dict[str, Any], named: _Named, truncated: bool) -> None:
        """One holder. A balance has an unnamed rest only if everything that is named is listed."""
        self.holders.append(row)
        self.truncated |= truncated
        for kind, entries in named.items():
            quantity = sum(value.quantity for _, value in entries)
            unnamed = 0 if truncated else row[_BALANCES[kind]] - quantity
            self.encumbrances[kind] += _lines(row, entries, unnamed)


def _holders(
    moment: QueryMoment, products: list[tuple[str, str]], cursor: str | None, limit: int | None
) -> _HolderPage:
    """A page of holders, product by product; the cursor is the last holding's key below `holding/`."""
    after = None
    if cursor is not None:
        if _parse_cursor(moment, cursor) not in products:
            raise Malformed("cursor", "Give the next_cursor of the page before.")
        after = b"holding/" + cursor.encode("ascii")
    size = PAGE if limit is None else limit
    page = _HolderPage()
    last = b""
    for prefix, network, product_id in sorted((HOLDINGS.prefix(*place), *place) for place in products):
        start = _start_in(prefix, after)
        if start is _PASSED:
            continue
        for path, holding in moment.scan(prefix, start, size + 1 - len(page.holders), HOLDINGS):
            key = PositionKey(holding.investor, network, product_id, HOLDINGS.key(path).account)
            if len(page.holders) == size or not _add(moment, page, key, bounded=limit is not None):
                page.following = last[len(b"holding/") :].decode("ascii")
                return page
            last = path
    return page


def _add(moment: QueryMoment, page: _HolderPage, key: PositionKey, *, bounded: bool) -> bool:
    """Add a holder with all that is to be proven of it, or say that the page has no room for that.

    The first holder always has: what is too much is left out. So has every one of a page that the question bounds; then
    the proofs are refused if they are too many.
    """
    position = moment.peek(POSITIONS, key)
    if position is None:
        raise InvariantBroken("a holding names an investor under whom no position is filed")
    row = position_row(moment, key, position)
    named, truncated = _named(moment, row)
    if not bounded and sum(map(len, named.values())) >= moment.room:
        if page.holders:
            return False
        named, truncated = _first(named, moment.room - 1), True
    moment.get(POSITIONS, key)
    for path in (path for entries in named.values() for path, _ in entries):
        moment.get(ENCUMBRANCES, ENCUMBRANCES.key(path))
    page.add(row, named, truncated)
    return True


def _first(named: _Named, most: int) -> _Named:
    """At most so many pledges and freezes together."""
    pledges = named["pledge"][:most]
    return {"pledge": pledges, "freeze": named["freeze"][: most - len(pledges)]}
