"""What the snapshots mean: their facts, positions, issuers, and the rules that raise alerts. Pure, no IO."""
