"""A peer connection for embedders, in the shape of the W3C's RTCPeerConnection: one remote endpoint, its own media."""
