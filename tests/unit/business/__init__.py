"""Tests of the business chain's rules, state and snapshots."""
