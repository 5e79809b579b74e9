"""What the rules of both tiers share above consensus: the port to the node, governance, schedule, evidence. Pure."""
