"""A local network: the whole two-tier system as processes of one machine, in one directory.

Each module holds one step: `layout` says what lies where, `initialise` writes it, `processes` starts and ends nodes,
`readiness` waits until chains commit. For rehearsal, demonstration and tests; production nodes are run one by one
with `tongjian node run`."""
