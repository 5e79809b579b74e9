"""Style is a test: sizes, stray marks, documents that point somewhere, generated files that are current."""
