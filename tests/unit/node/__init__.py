"""Tests of the node's logic: everything in `common/node` that has no sockets, files or clock of its own."""
