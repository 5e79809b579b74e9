"""The pure verifier of another chain: trusted state, headers, snapshots, misbehaviour, evidence files.

Imports `common.core` only: no clock, file, socket, randomness or log, so that the same code runs inside the custody
chain's consensus, in the relay and in the offline verifier, and gives the same verdict in each.
"""
