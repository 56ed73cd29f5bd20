"""Session descriptions: grammar (RFC 8866) and offer/answer (RFC 8829)."""
