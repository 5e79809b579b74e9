"""Floods: a real node under a hostile validator and hostile HTTP clients, its memory and its honest clients watched
(attacks C13, N2, N3)."""
