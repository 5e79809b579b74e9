"""Attack coverage: for every attack that is covered the tests that cover it, the fault that each must notice, and proof
that it does."""
