"""The HTTP interface of a node: edge, routes, problems, tokens."""
