"""How a node that is behind gets level, and what it serves to others: blocks, bodies, checkpoints."""
