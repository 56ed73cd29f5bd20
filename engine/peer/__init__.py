"""A PeerConnection shaped as the W3C's, in snake_case, for embedders."""
