"""The pure verifier of other chains: trusted state, headers, objects, misbehaviour, evidence files.

Imports `common.core` only: no clock, file, socket, randomness or log, so that the same code runs inside the custody
chain's consensus, in the relay and in the offline verifier, and gives the same verdict in each.

A make of chain is one package below this one and one line here (`port`); everything else takes its headers, trust and
commitments as they are and looks into none of them.
"""

from crosslink.lightclient.client_types import register
from crosslink.lightclient.pbft.client import PBFT

register(PBFT)
