"""Interactive Connectivity Establishment as an object without I/O (RFC 8445)."""
