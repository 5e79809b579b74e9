"""Execution of blocks: what makes a transaction acceptable, what it changes, and the state of height 0."""
