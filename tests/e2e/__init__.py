"""End to end: real processes, sockets, TLS and files, driven as their users drive them."""
