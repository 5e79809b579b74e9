"""Bodies off the chain at a node: kept by their digests, asked of peers, handed out (ADR 0078)."""
