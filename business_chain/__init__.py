"""The business chain of one regional equity market: registration rules, state, snapshots, queries (地方业务链)."""
