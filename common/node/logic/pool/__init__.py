"""Transactions that wait for a block: admission, gossip, and bodies that proposals name."""
