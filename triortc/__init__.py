"""A media and signaling engine for one-to-one video calls, on trio."""

from __future__ import annotations

from importlib.metadata import version

from triortc.engine.calls.call_recording import RecordingConfiguration
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.endpoint import EndpointConfiguration
from triortc.engine.peer.configuration import PeerConfiguration
from triortc.engine.peer.connection import PeerConnection, open_peer_connection
from triortc.engine.peer.description import RtcSessionDescription
from triortc.engine.session.configuration import SessionConfiguration
from triortc.engine.workers.configuration import WorkerConfiguration
from triortc.errors import (
    CallError,
    CallRefusedError,
    CodecError,
    ConfigurationError,
    ConnectionClosedError,
    DtlsError,
    IceError,
    InvalidStateError,
    ProtocolError,
    RtpError,
    SdpError,
    SignalingError,
    SrtpError,
    StoreError,
    StunError,
    TriortcError,
)
from triortc.signaling.app import RunningServer, ServerConfiguration
from triortc.signaling.engine import Engine, EngineConfiguration, open_engine

__all__ = [
    "CallConfiguration",
    "CallError",
    "CallRefusedError",
    "CodecError",
    "ConfigurationError",
    "ConnectionClosedError",
    "DtlsError",
    "EndpointConfiguration",
    "Engine",
    "EngineConfiguration",
    "IceError",
    "InvalidStateError",
    "MediaConfiguration",
    "PeerConfiguration",
    "PeerConnection",
    "ProtocolError",
    "RecordingConfiguration",
    "RtcSessionDescription",
    "RtpError",
    "RunningServer",
    "SdpError",
    "ServerConfiguration",
    "SessionConfiguration",
    "SignalingError",
    "SrtpError",
    "StoreError",
    "StunError",
    "TriortcError",
    "WorkerConfiguration",
    "__version__",
    "open_engine",
    "open_peer_connection",
]

__version__ = version("triortc")
