"""The command line's own parts: what lies where, processes, findings, output."""
