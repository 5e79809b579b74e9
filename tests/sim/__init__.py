"""Whole networks in one process, each run decided by one seed. `python -m tests.sim --seed N` shows one."""
