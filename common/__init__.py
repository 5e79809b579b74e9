"""What both tiers share: pure rules (`core`), agreement (`consensus`) and the node around them (`node`)."""
