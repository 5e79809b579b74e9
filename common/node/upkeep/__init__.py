"""What operators do with a node's data: check, repair, checkpoints, joining, backup."""
