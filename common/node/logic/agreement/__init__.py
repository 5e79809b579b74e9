"""Agreement on the next block: what the replica asks of the node, building, validating and committing blocks."""
