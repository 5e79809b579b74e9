"""Tests of the runtime: settings, keys, certificates, frames, hello, transport, effects."""
