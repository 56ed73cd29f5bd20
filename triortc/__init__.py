"""A media and signaling engine for one-to-one video calls, on trio."""
