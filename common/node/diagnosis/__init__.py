"""What can be wrong with nodes, chains, planned changes and stored data: one catalogue, and pure rules over facts."""
