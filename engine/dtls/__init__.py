"""DTLS-SRTP key agreement as an object without I/O (RFC 6347, RFC 5763, RFC 5764)."""
