"""Attack coverage: for every attack of the catalogue the test that covers it, the check in the product that it rests
on, and proof that the test fails when the check is taken out."""
