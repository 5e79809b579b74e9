"""What a node keeps: key-value store, the chain in it, state tree, vote log, and every touch of the disk."""
