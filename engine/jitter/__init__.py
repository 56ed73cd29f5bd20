"""Jitter buffers: packets in any order and any time become frames in order."""
