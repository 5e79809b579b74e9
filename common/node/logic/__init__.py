"""The node's synchronous logic (protocol rule 23): events in, effects out; no socket, file, clock or task."""
