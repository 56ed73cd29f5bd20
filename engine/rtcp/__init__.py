"""RTCP packets (RFC 3550, RFC 4585, RFC 5104) to and from bytes."""
