"""The client type `tongjian-pbft/v1`: chains of this suite, of either tier."""
