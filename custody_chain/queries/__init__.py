"""Regulators' questions, answered from one moment of the custody chain. Reading only; who may ask: the routes."""
