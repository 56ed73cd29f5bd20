"""STUN messages (RFC 8489) to and from bytes."""
