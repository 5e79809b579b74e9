"""Agreement of the validators of one chain on one block per height: PBFT without input or output of its own.

`replica.Replica` takes events and returns effects; the node performs them. Imports `common.core` only. The wire format
of every message is specified in docs/protocol-consensus.md; why there are no locks, in docs/adr/0010.
"""
