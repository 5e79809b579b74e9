"""Pure values and rules of the protocol: no IO, clock, randomness or locale.

Everything on which two validators, a light client or an offline verifier must agree byte for byte lives here and
depends on nothing else in the project. `docs/protocol.md` specifies the bytes; `tests/vectors/` freezes them.
"""
