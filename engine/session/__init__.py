"""One remote endpoint: ICE, DTLS, SRTP and RTP composed, still without I/O."""
