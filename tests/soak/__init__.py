"""Soak runs: hours under a steady load, and what drifts meanwhile: memory, descriptors, latency."""
