"""What a next protocol version might bring: one dummy of each kind of thing, declared as a release would declare it.

An operation on both tiers, a supervisory rule, a set of schemas, a header field, a parameter, and a family of index
entries that the release adds to what it keeps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final

from business_chain.application import BusinessApplication
from business_chain.ledger import Ledger
from business_chain.operations.fields import Text
from business_chain.operations.operation_records import Operation
from business_chain.operations.operation_types import OPERATIONS as BUSINESS
from business_chain.operations.operation_types import BusinessOperation
from common.chain.application import BlockContext, StateView
from common.chain.index_families import ChainSource, IndexFamily
from common.chain.signers import GOVERNANCE_ROLE
from common.core.header import FIELDS_OF_VERSION_1, U32, Header, HeaderLayout, register_layout
from common.core.parameters import PARAMETERS, Parameter
from common.core.protocol import rehearse_next_version
from common.model.schemas import MODEL, SCHEMA_SETS, SchemaSet
from custody_chain.application import CustodyApplication
from custody_chain.operations import OPERATIONS as CUSTODY
from custody_chain.operations import CustodyOperation, OperationScope
from custody_chain.supervision.rules import RULES, On, Rule
from custody_chain.supervision.verdicts import Case, RuleFinding
from custody_chain.tables.registry import PRODUCTS

FAMILY: Final = b"dummy/"
"""Keys of the state that the operation writes, and of the index entries beside them."""
KIND: Final = "dummy"
"""A kind of data object that the set of schemas adds."""
RULE: Final = "dummy_rule"
PARAMETER: Final = "dummy_blocks"
PARAMETER_DEFAULT: Final = 7


class Note(Operation, frozen=True, kw_only=True):
    """The operation."""

    TYPE = "dummy.note"

    text: Annotated[str, Text(64, note="anything")]


@dataclass(frozen=True, slots=True, kw_only=True)
class NextHeader(Header):
    """A header with one field more."""

    dummy_count: int = 5


def declare(version: int) -> None:
    """Declare everything under this version."""
    BUSINESS.add(Note.TYPE, BusinessOperation(("operator",), False, Note, _note_on_business), since=version)
    CUSTODY.add(
        Note.TYPE, CustodyOperation((GOVERNANCE_ROLE,), False, lambda document: None, _note_on_custody), since=version
    )
    PARAMETERS.add(PARAMETER, Parameter(PARAMETER_DEFAULT, 1, 9), since=version)
    register_layout(HeaderLayout(version, (*FIELDS_OF_VERSION_1, ("dummy_count", U32)), NextHeader))
    SCHEMA_SETS.add(SchemaSet({**MODEL.schemas, KIND: {"type": "object"}}), since=version)
    RULES.add(
        Rule(
            rule=RULE,
            title="A security is there",
            title_zh="证券存在",
            source="test",
            asks=(On(PRODUCTS, _is_there),),
            since=version,
        )
    )


@contextmanager
def next_release() -> Iterator[int]:
    """This process is of the next release until the end of the block, which gets the number of the version."""
    with rehearse_next_version() as version:
        declare(version)
        for application in (BusinessApplication, CustodyApplication):
            application.index_families = lambda self: [IndexFamily(FAMILY, 2, _rebuild)]
        try:
            yield version
        finally:
            for application in (BusinessApplication, CustodyApplication):
                del application.index_families


def _note_on_business(operation: Any, ledger: Ledger) -> None:
    _note(ledger.state, ledger.context)


def _note_on_custody(work: OperationScope, operation: dict[str, Any]) -> None:
    _note(work.view, work.context)


def _note(state: StateView, context: BlockContext) -> None:
    """The parameter's value under the block's height, in the state and in the index."""
    key, value = FAMILY + b"%016x" % context.height, b"%d" % context.parameters.more[PARAMETER]
    state.put(key, value)
    state.put_index(key, value)


def _rebuild(chain: ChainSource, place: bytes) -> tuple[Sequence[tuple[bytes, bytes]], bytes | None]:
    found = chain.state_scan(FAMILY, place or None, 2)
    return found, found[-1][0] if len(found) == 2 else None


def _is_there(case: Case[Any, Any]) -> RuleFinding | None:
    return RuleFinding([case.key.object_id], [{"kind": "product", "id": case.key.object_id}], {})
