"""Whatever peers send, those who watch a call get frames or nothing, and the data plane never hears of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from triortc.engine.calls.frame_assembly import AssembledFrame, CallTap

PACKETS = st.lists(
    st.tuples(
        st.sampled_from(("vp8", "h264", "opus", "pcmu", "g722", "")),
        st.integers(0, 0xFFFF),
        st.integers(0, 0xFFFFFFFF),
        st.integers(0, 2),
        st.booleans(),
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from(
                (b"", b"\x10\x00\x00\x9d\x01\x2a\x40\x01\xf0\x00", b"\x10\x01\x00", b"\xfc\x00", b"\x7c\x85")
            ),
        ),
        st.floats(0, 0.5),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(PACKETS, st.one_of(st.none(), st.floats(-1e9, 1e9)))
def test_no_packet_makes_the_tap_raise(
    packets: list[tuple[str, int, int, int, bool, bytes, float]], told: float | None
) -> None:
    frames: list[AssembledFrame] = []
    tap = CallTap(lambda leg, now: None)
    tap.watchers.append(lambda side, kind, frame: frames.append(frame))
    now = 1000.0

    def clock(ssrc: int, timestamp: int) -> float | None:
        return told

    for codec, number, timestamp, ssrc, marker, payload, wait in packets:
        now += wait
        header = (marker, 96, number, timestamp, ssrc, 12, 0, 0, False)
        kind = "audio" if codec in ("opus", "pcmu") else "video"
        payload_view = memoryview(bytearray(payload))
        tap.packet(
            "agent", f"leg{ssrc}", clock, "audio" if kind == "audio" else "video", codec, header, payload_view, now
        )
    tap.flush(now)
    for frame in frames:
        assert frame.data
        captured_at = frame.clock.told(frame.timestamp, frame.arrived_at)
        assert captured_at is None or abs(captured_at - frame.arrived_at) <= 3.0
        assert abs(frame.clock.guess(frame.timestamp)) < 1e9
