"""Perturbation runs: a real local network under client load is disturbed as a manifest says, and then judged through
the public API alone (attacks S1, S3, S4, C16, C19)."""
