"""Between the tiers: the pure light client, and the relay that carries headers and snapshots to the custody chain."""
