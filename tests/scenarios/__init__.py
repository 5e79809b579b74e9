"""Transcripts of small networks, to be read. `python -m tests.scenarios --write` regenerates them."""
