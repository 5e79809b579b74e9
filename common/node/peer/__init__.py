"""Channels to other nodes: TLS, hello, frames, queues."""
