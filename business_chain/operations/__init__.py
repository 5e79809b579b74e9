"""The operations of a business chain: records and their fields, rules, and the registry that joins them."""
