"""THE table of the custody chain's state and index keys, and the functions that build them. Nobody else builds a key.

Authenticated state (history is kept, so that regulators may ask for the past)::

    region/<network>                                   trust, anchored tip, partial block, freeze, counts
    anchored/<network>/<height // 64>                  ids of anchored blocks, element h % 64 is the id of height h
    misbehaviour/<network>/<custody height>            evidence for which a region was frozen
    misbehaviour/<network>/<custody height>/named      evidence that named the culprits of such a freeze
    signer/<public key>                                organisation and role of a key that may submit
    policy                                             which roles make and check which operation
    model_schema                                       hash of the JSON Schemas (protocol rule 18)
    subject/<region>/<object>                          codes of a subject
    account/<region>/<object>                          account -> subject
    product/<region>/<object>                          issuer, holder count, totals
    company/<enterprise>/<region>/<subject>            subjects that bear an enterprise code
    issuer/<enterprise>                                regions in which the enterprise has products
    issued/<enterprise>/<region>/<product>             products of an enterprise
    security/<security>                                holders of one security over all its instalments
    position/<investor>/<region>/<product>/<account>   balances
    holding/<region>/<product>/<account>               under which investor the position is filed
    encumbrance/<region>/<product>/<account>/<kind>/<id>  one pledge or freeze
    agreement/<investor>/<contract>                    regions with open pledges under one contract
    anomaly/<region>/<object>                          snapshots kept out of the positions
    refile/<region>/<what>/<object>                    what is still filed as before a change

Index (derived, not proven; the region record chains a hash over every entry's verdict)::

    object/<region>/<object>                           version and verdict of the last snapshot
    body/<region>/<object>                             merged body, for incremental updates
    movement/<region>/<product>/<account>/<number>     one registration's effect on one position
    settled/<region>/<product>/<account>/<kind>/<id>   a pledge or freeze of which nothing is left
    last_movement/<region>/<product>/<account>         number of the newest, and how many were given
    filed/<region>/<account>/<changes>/<changes>/<product>  positions of an account, by changes of its owner and of its
                                                       owner's codes
    owned/<region>/<subject>/<changes>/<account>       accounts of a subject, by changes of its codes
    offered/<region>/<subject>/<changes>/<product>     products of an issuer's subject, by changes of its codes
    waiting/<region>/<what>/<object>                   named by something, and not reported yet
    holder/<region>/<product>/<holder>                 accounts with a balance, and the security they are counted to
    counted/<region>/<product>/<changes>/<holder>      holders of a product, by changes of its security
    security_holder/<security>/<holder>                products of that security with a balance
    instalment/<security>/<region>/<product>           holders of that product who are counted to the security
    delivery/<region>/<height>/<first index>           which transaction brought these snapshots
    header/<region>/<height>                           which transaction brought the header
    revision/<region>/<object>/<height>/<index>        every snapshot of an object
    log/<region>/<custody height>/<number>             the cross-chain log

Invariants:
  * Foreign identifiers are percent-encoded outside ``[A-Za-z0-9._:-]``, so no identifier can contain ``/`` or imitate a
    key of another kind (attacks E4, R8). The encoding is injective.
  * Numbers in index keys are fixed-width hexadecimal, so that key order is number order.

Left out: families that have a table (`custody_chain.tables`), and values of the others (each module documents its own;
all are canonical JSON).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from custody_chain.tables import table
from custody_chain.tables.table import number_step

UNRESOLVED: Final = table.UNRESOLVED
component: Final = table.component
identifier: Final = table.identifier

BUCKET_SIZE: Final = 64
"""Block ids in one `anchored/` value (docs/protocol-evidence.md)."""


def _path(*steps: str) -> bytes:
    return "/".join(steps).encode("ascii")


POLICY: Final = b"policy"
MODEL_SCHEMA: Final = b"model_schema"
REGIONS: Final = b"region/"
SIGNERS: Final = b"signer/"
REFILES: Final = b"refile/"
ANOMALIES: Final = b"anomaly/"


def region(network: str) -> bytes:
    """The region's record."""
    return _path("region", network)


def anchored(network: str, height: int) -> bytes:
    """The bucket that holds the id of `height`."""
    return _path("anchored", network, str(height // BUCKET_SIZE))


def misbehaviour(network: str, custody_height: int) -> bytes:
    """Evidence for which a region was frozen."""
    return _path("misbehaviour", network, number_step(custody_height))


def named_culprits(network: str, custody_height: int) -> bytes:
    """Evidence that named the culprits of a freeze that had no names."""
    return _path("misbehaviour", network, number_step(custody_height), "named")


def misbehaviours_of(network: str) -> bytes:
    """Prefix of the evidence about a region."""
    return _path("misbehaviour", network, "")


def signer(public_key: str) -> bytes:
    """A registered key, in text form."""
    return _path("signer", public_key)


def subject(network: str, object_id: str) -> bytes:
    """A subject of a region."""
    return _path("subject", network, component(object_id))


def account(network: str, object_id: str) -> bytes:
    """An account of a region."""
    return _path("account", network, component(object_id))


def product(network: str, object_id: str) -> bytes:
    """A product of a region."""
    return _path("product", network, component(object_id))


def company(enterprise: str, network: str, object_id: str) -> bytes:
    """A subject that bears an enterprise code."""
    return _path("company", enterprise, network, component(object_id))


def companies(enterprise: str) -> bytes:
    """Prefix of the subjects that bear an enterprise code."""
    return _path("company", enterprise, "")


def issuer(enterprise: str) -> bytes:
    """Where an enterprise has products."""
    return _path("issuer", enterprise)


def issued(enterprise: str, network: str, object_id: str) -> bytes:
    """One product of an enterprise."""
    return _path("issued", enterprise, network, component(object_id))


def issued_by(enterprise: str) -> bytes:
    """Prefix of an enterprise's products."""
    return _path("issued", enterprise, "")


def security(name: str) -> bytes:
    """Holders of one security over its instalments."""
    return _path("security", name)


def position(investor: str, network: str, product_id: str, account_id: str) -> bytes:
    """One position; `investor` is a checked code or `UNRESOLVED`."""
    return _path("position", investor, network, component(product_id), component(account_id))


def positions_of(investor: str) -> bytes:
    """Prefix of an investor's positions."""
    return _path("position", investor, "")


def holding(network: str, product_id: str, account_id: str) -> bytes:
    """Under which investor a position is filed."""
    return _path("holding", network, component(product_id), component(account_id))


def holdings_of(network: str, product_id: str) -> bytes:
    """Prefix of the holdings of one product."""
    return _path("holding", network, component(product_id), "")


def encumbrance(network: str, product_id: str, account_id: str, kind: str, encumbrance_id: str) -> bytes:
    """One pledge or freeze of a position."""
    return _path("encumbrance", network, component(product_id), component(account_id), kind, component(encumbrance_id))


def settled(network: str, product_id: str, account_id: str, kind: str, encumbrance_id: str) -> bytes:
    """Index: a pledge or freeze of which nothing is left."""
    return _path("settled", network, component(product_id), component(account_id), kind, component(encumbrance_id))


def encumbrances_of(network: str, product_id: str, account_id: str) -> bytes:
    """Prefix of a position's pledges and freezes."""
    return _path("encumbrance", network, component(product_id), component(account_id), "")


def agreement(investor: str, contract: str) -> bytes:
    """Where one pledge contract of one pledgor has open pledges."""
    return _path("agreement", investor, component(contract))


def anomaly(network: str, place: str) -> bytes:
    """An anomaly; `place` is an encoded object id, or `#<height>.<index>` if the snapshot names no object."""
    return _path("anomaly", network, place)


def anomalies_of(network: str) -> bytes:
    """Prefix of a region's anomalies."""
    return _path("anomaly", network, "")


def unnamed(height: int, index: int) -> str:
    """The place of an anomaly whose object is unknown; `#` occurs in no encoded identifier."""
    return f"#{height}.{index}"


def refile(network: str, what: str, object_id: str) -> bytes:
    """Work: an account, product or subject (`what`) with something filed as it was before a change."""
    return _path("refile", network, what, component(object_id))


def refiles_of(network: str) -> bytes:
    """Prefix of a region's work."""
    return _path("refile", network, "")


def object_record(network: str, object_id: str) -> bytes:
    """Index: version and verdict of an object."""
    return _path("object", network, component(object_id))


def body(network: str, object_id: str) -> bytes:
    """Index: the merged body of an object."""
    return _path("body", network, component(object_id))


def movement(network: str, product_id: str, account_id: str, number: int) -> bytes:
    """Index: one registration's effect on a position."""
    return _path("movement", network, component(product_id), component(account_id), number_step(number))


def movements_of(network: str, product_id: str, account_id: str) -> bytes:
    """Index: prefix of a position's movements."""
    return _path("movement", network, component(product_id), component(account_id), "")


def last_movement(network: str, product_id: str, account_id: str) -> bytes:
    """Index: the newest movement of a position."""
    return _path("last_movement", network, component(product_id), component(account_id))


@dataclass(frozen=True, slots=True)
class ListByChanges:
    """Index: what is filed as it was after so many changes of its owner; what was filed longest ago comes first."""

    kind: str

    def of(self, network: str, owner: str) -> bytes:
        """Prefix of all that an owner has here."""
        return _path(self.kind, network, component(owner), "")

    def since(self, network: str, owner: str, *changes: int) -> bytes:
        """Prefix of what was filed after so many changes; what was filed before sorts below it."""
        return _path(self.kind, network, component(owner), *map(number_step, changes), "")

    def entry(self, network: str, owner: str, *changes: int, step: str) -> bytes:
        """One entry; `step` is its name as a step of a key path (`component`, `holder_name`)."""
        return self.since(network, owner, *changes) + step.encode("ascii")


FILED: Final = ListByChanges("filed")
"""Positions (products) of an account, by changes of its owner and of the owner's codes."""
OWNED: Final = ListByChanges("owned")
"""Accounts of a subject, by changes of its codes."""
OFFERED: Final = ListByChanges("offered")
"""Products that name a subject as their issuer, by changes of its codes."""
COUNTED: Final = ListByChanges("counted")
"""Holders of a product, by changes of its security."""


def waiting(network: str, what: str, object_id: str) -> bytes:
    """Index: something names this account or subject (`what`), which has not been reported."""
    return _path("waiting", network, what, component(object_id))


def holder(network: str, product_id: str, holder_id: str) -> bytes:
    """Index: number of accounts with a balance that one holder has in a product, and the security it is counted to."""
    return _path("holder", network, component(product_id), holder_id)


def security_holder(name: str, holder_id: str) -> bytes:
    """Index: number of products of a security in which one holder has a balance."""
    return _path("security_holder", name, holder_id)


def instalment(name: str, network: str, product_id: str) -> bytes:
    """Index: number of a product's holders who are counted to a security."""
    return _path("instalment", name, network, component(product_id))


def holder_name(investor: str, network: str, account_id: str) -> str:
    """Who counts as one holder: the investor, or each account by itself while its owner is unresolved."""
    return investor if investor != UNRESOLVED else f"{network}:{component(account_id)}"


def delivery(network: str, height: int, first: int) -> bytes:
    """Index: which transaction brought the snapshots of `height` from index `first` on."""
    return _path("delivery", network, number_step(height), number_step(first))


def deliveries_of(network: str, height: int) -> bytes:
    """Index: prefix of a block's deliveries."""
    return _path("delivery", network, number_step(height), "")


def header(network: str, height: int) -> bytes:
    """Index: which transaction brought the header of `height`."""
    return _path("header", network, number_step(height))


def revision(network: str, object_id: str, height: int, index: int) -> bytes:
    """Index: one snapshot of an object."""
    return _path("revision", network, component(object_id), number_step(height), number_step(index))


def revisions_of(network: str, object_id: str) -> bytes:
    """Index: prefix of an object's snapshots."""
    return _path("revision", network, component(object_id), "")


def revisions_at(network: str, object_id: str, height: int) -> bytes:
    """Index: prefix of an object's snapshots in one block."""
    return _path("revision", network, component(object_id), number_step(height), "")


def log_entry(network: str, custody_height: int, number: int) -> bytes:
    """Index: one line of the cross-chain log."""
    return _path("log", network, number_step(custody_height), number_step(number))


def log_of(network: str) -> bytes:
    """Index: prefix of a region's cross-chain log."""
    return _path("log", network, "")
