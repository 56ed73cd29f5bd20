"""Bandwidth estimation at the sender (transport-wide feedback, REMB, loss)."""
