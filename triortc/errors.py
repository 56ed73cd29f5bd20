"""The error tree. What an embedder can catch, and nothing a hostile packet can raise past a session."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "CallError",
    "CallRefusedError",
    "CodecError",
    "ConfigurationError",
    "ConnectionClosedError",
    "DtlsError",
    "IceError",
    "InvalidStateError",
    "ProtocolError",
    "RtpError",
    "SdpError",
    "SignalingError",
    "SrtpError",
    "StoreError",
    "StunError",
    "TriortcError",
]


class TriortcError(Exception):
    """The root of every error that this library raises on purpose."""


class ConfigurationError(TriortcError):
    """A configuration value or an argument of the embedder makes no sense; the message says what to do."""


class InvalidStateError(TriortcError):
    """A method was called in a state that does not allow it; the message says which call comes first."""


class ConnectionClosedError(TriortcError):
    """The connection was closed, here or by the peer, while something waited for it."""


class ProtocolError(TriortcError):
    """Bytes from the network break a protocol's rules. Raised by parsers, caught at the session's boundary."""


class StunError(ProtocolError):
    """A STUN message is malformed (RFC 8489)."""


class RtpError(ProtocolError):
    """An RTP or RTCP packet is malformed (RFC 3550)."""


class SrtpError(ProtocolError):
    """An SRTP key, profile or packet is not usable (RFC 3711, RFC 7714)."""


class SdpError(ProtocolError):
    """A session description cannot be parsed or cannot be negotiated (RFC 8866, RFC 8829)."""


class IceError(TriortcError):
    """Connectivity establishment was used wrongly or failed (RFC 8445)."""


class DtlsError(TriortcError):
    """The DTLS handshake was used wrongly or failed (RFC 6347, RFC 5764)."""


class CodecError(TriortcError):
    """An encoder, decoder, source or sink cannot do what was asked."""


class CallError(TriortcError):
    """A call command cannot be carried out in the present state."""


class StoreError(TriortcError):
    """What is kept on disk cannot be opened, read or written; the message says what to do."""


class CallRefusedError(CallError):
    """Call control refuses what a server that embeds the engine asks for.

    Attributes:
        code: a stable word, as in docs/protocol.md: `conversation.closed`, `agent.busy`, …
        details: what the code is about.
        retryable: whether the same may simply be asked again.
    """

    def __init__(self, code: str, message: str, details: Mapping[str, object], *, retryable: bool) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.details = details
        self.retryable = retryable


class SignalingError(TriortcError):
    """A signaling connection, token or message is not acceptable."""
