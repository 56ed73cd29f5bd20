"""A media and signaling engine for one-to-one video calls, on trio.

What is public is imported when it is first asked for (PEP 562): a media process, or a program that wants one protocol
of the engine, does not pay for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

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

if TYPE_CHECKING:
    from triortc.codecs.configuration import AudioEncoderConfiguration, VideoEncoderConfiguration
    from triortc.codecs.frames import EncodedFrame
    from triortc.codecs.recorder import Recorder, RecordingResult
    from triortc.codecs.recording import open_recording
    from triortc.codecs.recording_track import RecorderTrack
    from triortc.codecs.sources import MediaFileSource, MediaSource, SourceFrame, TestCardSource
    from triortc.codecs.threads import CodecThreads
    from triortc.engine.calls.call_events import CallEvent, Missed
    from triortc.engine.calls.call_recording import RecordingConfiguration
    from triortc.engine.calls.configuration import CallConfiguration
    from triortc.engine.calls.leg_configuration import MediaConfiguration
    from triortc.engine.calls.running_calls import RunningCall
    from triortc.engine.endpoint import open_endpoint
    from triortc.engine.endpoint_configuration import EndpointConfiguration
    from triortc.engine.peer.configuration import PeerConfiguration
    from triortc.engine.peer.connection import PeerConnection, open_peer_connection
    from triortc.engine.peer.description import RtcSessionDescription
    from triortc.engine.peer.playout import ReceivedFrame
    from triortc.engine.peer.receiver import RtpReceiver
    from triortc.engine.peer.sender import RtpSender
    from triortc.engine.peer.shared_frames import SharedFrames, open_shared_frames
    from triortc.engine.peer.tracks import DecodedFrame, SendStatistics, decode_frames, send_frames, send_source
    from triortc.engine.peer.transceiver import RtpTransceiver
    from triortc.engine.session.configuration import SessionConfiguration
    from triortc.engine.workers.configuration import WorkerConfiguration
    from triortc.signaling.app import RunningServer, ServerConfiguration
    from triortc.signaling.engine import Engine, EngineConfiguration, open_engine

    __version__: str

__all__ = [
    "AudioEncoderConfiguration",
    "CallConfiguration",
    "CallError",
    "CallEvent",
    "CallRefusedError",
    "CodecError",
    "CodecThreads",
    "ConfigurationError",
    "ConnectionClosedError",
    "DecodedFrame",
    "DtlsError",
    "EncodedFrame",
    "EndpointConfiguration",
    "Engine",
    "EngineConfiguration",
    "IceError",
    "InvalidStateError",
    "MediaConfiguration",
    "MediaFileSource",
    "MediaSource",
    "Missed",
    "PeerConfiguration",
    "PeerConnection",
    "ProtocolError",
    "ReceivedFrame",
    "Recorder",
    "RecorderTrack",
    "RecordingConfiguration",
    "RecordingResult",
    "RtcSessionDescription",
    "RtpError",
    "RtpReceiver",
    "RtpSender",
    "RtpTransceiver",
    "RunningCall",
    "RunningServer",
    "SdpError",
    "SendStatistics",
    "ServerConfiguration",
    "SessionConfiguration",
    "SharedFrames",
    "SignalingError",
    "SourceFrame",
    "SrtpError",
    "StoreError",
    "StunError",
    "TestCardSource",
    "TriortcError",
    "VideoEncoderConfiguration",
    "WorkerConfiguration",
    "__version__",
    "decode_frames",
    "open_endpoint",
    "open_engine",
    "open_peer_connection",
    "open_recording",
    "open_shared_frames",
    "send_frames",
    "send_source",
]

#: Where what is not here yet comes from; the imports above say the same to type checkers, and a test compares them.
_HOMES: Final = {
    "AudioEncoderConfiguration": "triortc.codecs.configuration",
    "CallConfiguration": "triortc.engine.calls.configuration",
    "CallEvent": "triortc.engine.calls.call_events",
    "CodecThreads": "triortc.codecs.threads",
    "DecodedFrame": "triortc.engine.peer.tracks",
    "EncodedFrame": "triortc.codecs.frames",
    "EndpointConfiguration": "triortc.engine.endpoint_configuration",
    "Engine": "triortc.signaling.engine",
    "EngineConfiguration": "triortc.signaling.engine",
    "MediaConfiguration": "triortc.engine.calls.leg_configuration",
    "MediaFileSource": "triortc.codecs.sources",
    "MediaSource": "triortc.codecs.sources",
    "Missed": "triortc.engine.calls.call_events",
    "PeerConfiguration": "triortc.engine.peer.configuration",
    "PeerConnection": "triortc.engine.peer.connection",
    "ReceivedFrame": "triortc.engine.peer.playout",
    "Recorder": "triortc.codecs.recorder",
    "RecorderTrack": "triortc.codecs.recording_track",
    "RecordingConfiguration": "triortc.engine.calls.call_recording",
    "RecordingResult": "triortc.codecs.recorder",
    "RtcSessionDescription": "triortc.engine.peer.description",
    "RtpReceiver": "triortc.engine.peer.receiver",
    "RtpSender": "triortc.engine.peer.sender",
    "RtpTransceiver": "triortc.engine.peer.transceiver",
    "RunningCall": "triortc.engine.calls.running_calls",
    "RunningServer": "triortc.signaling.app",
    "SendStatistics": "triortc.engine.peer.tracks",
    "ServerConfiguration": "triortc.signaling.app",
    "SessionConfiguration": "triortc.engine.session.configuration",
    "SharedFrames": "triortc.engine.peer.shared_frames",
    "SourceFrame": "triortc.codecs.sources",
    "TestCardSource": "triortc.codecs.sources",
    "VideoEncoderConfiguration": "triortc.codecs.configuration",
    "WorkerConfiguration": "triortc.engine.workers.configuration",
    "decode_frames": "triortc.engine.peer.tracks",
    "open_endpoint": "triortc.engine.endpoint",
    "open_engine": "triortc.signaling.engine",
    "open_peer_connection": "triortc.engine.peer.connection",
    "open_recording": "triortc.codecs.recording",
    "open_shared_frames": "triortc.engine.peer.shared_frames",
    "send_frames": "triortc.engine.peer.tracks",
    "send_source": "triortc.engine.peer.tracks",
}


if not TYPE_CHECKING:  # or checkers would believe every name

    def __getattr__(name: str) -> Any:
        value: Any
        if name == "__version__":
            value = import_module("importlib.metadata").version("triortc")
        elif name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
