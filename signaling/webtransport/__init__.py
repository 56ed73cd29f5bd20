"""The protocol over WebTransport: HTTP/3 over QUIC, one bidirectional stream of messages a session."""
