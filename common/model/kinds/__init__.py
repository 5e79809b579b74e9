"""One module and one JSON Schema a kind of data object. Pure: bodies are values in, values out.

A builder writes the field names and codes of the pilot's data model 2.0.0 exactly, and what it takes is in the
business's own terms. A reader never fails: a field that is absent or of a shape that the schema does not fix is None,
since the schema has passed before. The schemas are generated (tools/generate_schemas.py) from the field dictionary.
"""
