"""Benchmarks: the performance bars as measurements, never as timed tests. `make bench`, or `python -m tests.bench
NAME …`."""
