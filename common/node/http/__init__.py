"""The HTTP interface of a node: edge, routes, problems, tokens."""

import sys
from typing import Any, cast

# FastAPI asks of each annotation whether it is one of pydantic's models of old, and loads all of these to know: 1.5 MiB
# in every node. None of ours is one; so the import is refused, which FastAPI takes for an answer.
cast(dict[str, Any], sys.modules).setdefault("pydantic.v1", None)
