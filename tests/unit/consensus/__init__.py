"""Tests of `common.consensus` at the level of one replica or a network moved by hand."""
