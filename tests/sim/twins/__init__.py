"""Twins, enumerated: every schedule of leaders and partitions over a few rounds, up to symmetry.

Bano et al., "Twins: BFT Systems Made Robust" (2020). `world` runs one schedule, `schedules` lists them.
"""
