"""THE tables of the custody chain: every family of keys, the record under it, and who builds its keys.

One module a family of records; nobody else builds a key or decodes a record. Families that still have no table are in
`custody_chain.state`.
"""
