"""Leg-to-leg forwarding: rewriting, gates, source switching, keyframe requests."""
