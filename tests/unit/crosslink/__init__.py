"""Light client, evidence and relay planner: pure rules, tested without IO."""
