"""`tongjian demo`: both tiers on one machine, from invented registrations in five regions to one look-through
answer."""
