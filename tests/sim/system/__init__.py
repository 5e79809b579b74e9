"""The whole system in one process, each run decided by one seed: chains, relay, custody chain, clients, and what fails.

`python -m tests.sim --layer system --seed N` shows one run; docs/simulation.md says what is injected and checked.
"""
