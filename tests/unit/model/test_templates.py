"""Texts made from templates are the canonical JSON of the plain bodies, whatever stands in them (docs/adr/0077)."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.model.document import encode_document, json_text
from common.model.kinds import product, registration, transactionreport
from common.model.template import Template

BUILDERS = [
    registration._body,
    transactionreport._transfer,
    transactionreport._issue,
    product._equity,
    product._bond,
    product._fund,
]
VALUES = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.integers(-(2**53), 2**53))


def names_of(build: Callable[..., Any]) -> tuple[list[str], list[str]]:
    """Required and optional names of a builder, with those of the builder that it hands on to."""
    required: list[str] = []
    optional: list[str] = []
    builders = [build, product._body if build.__module__ == product.__name__ else transactionreport._body]
    if build is registration._body:
        builders = [build]
    for builder in builders:
        for name, parameter in signature(builder).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY:
                (required if parameter.default is parameter.empty else optional).append(name)
    return required, optional


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: f"{build.__module__}.{build.__name__}")
@given(data=st.data())
def test_a_template_writes_what_the_plain_builder_writes(build: Callable[..., dict[str, Any]], data: Any) -> None:
    required, optional = names_of(build)
    chosen = required + data.draw(st.lists(st.sampled_from(optional), unique=True) if optional else st.just([]))
    values = {name: data.draw(VALUES) for name in data.draw(st.permutations(chosen))}
    text = Template(build).text({name: json_text(value) for name, value in values.items()})
    assert text.encode() == encode_document(build(**values))


def test_literals_of_a_body_may_look_like_places() -> None:
    template = Template(lambda a: {"x%(a)s": "100 %", "%": a})
    assert template.text({"a": json_text("%(b)s")}) == '{"%":"%(b)s","x%(a)s":"100 %"}'
