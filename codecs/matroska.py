"""Writes Matroska and WebM files of encoded frames, cluster by cluster (RFC 9559, EBML of RFC 8794).

Written here rather than by FFmpeg's muxer because frames come from peers: parameter sets, late tracks and a disk that
fills up are handled where they happen, and the file can be played up to its last cluster whatever follows.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["MatroskaTrack", "MatroskaWriter", "avc_configuration", "opus_head", "wave_format"]

_EBML, _SEGMENT, _SEEK_HEAD, _INFO, _TRACKS = 0x1A45DFA3, 0x18538067, 0x114D9B74, 0x1549A966, 0x1654AE6B
_CLUSTER, _CUES, _VOID = 0x1F43B675, 0x1C53BB6B, 0xEC
_MILLISECOND_NS = 1_000_000
_SEEK_HEAD_BYTES = 96  # room kept at the front for where the parts are
_UNKNOWN_SIZE = b"\x01" + b"\xff" * 7
_APPLICATION = "triortc"
_MAX_CLUSTER_BYTES = 4 << 20
_MAX_BLOCK_OFFSET_MS = 30_000  # block times are signed 16 bits from their cluster's


@dataclass(frozen=True, slots=True, kw_only=True)
class MatroskaTrack:
    """What a track's entry in the file says.

    Attributes:
        name: for people.
        codec_id: Matroska's, such as ``V_VP8``.
        codec_private: the decoder's configuration, in the form that the codec id asks for.
        width, height: pixels; 0 for sound.
        sample_rate, channels: of sound; 0 for pictures.
        codec_delay_ns: how much later than its timestamp decoded sound comes (Opus).
        seek_preroll_ns: how much sound before a point must be decoded to hear it right (Opus).
    """

    name: str
    codec_id: str
    codec_private: bytes = b""
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0
    codec_delay_ns: int = 0
    seek_preroll_ns: int = 0


def opus_head(channels: int, pre_skip: int) -> bytes:
    """The identification header of Opus, its decoder configuration (RFC 7845 section 5.1)."""
    return b"OpusHead" + struct.pack("<BBHIhB", 1, channels, pre_skip, 48_000, 0, 0)


def wave_format(tag: int, channels: int, sample_rate: int) -> bytes:
    """A WAVEFORMATEX of eight bits a sample, for codecs that Matroska only knows by it: PCMA is 6, PCMU is 7."""
    return struct.pack("<HHIIHHH", tag, channels, sample_rate, sample_rate * channels, channels, 8, 0)


def avc_configuration(sps: bytes, pps: bytes) -> bytes:
    """An AVCDecoderConfigurationRecord with four-byte lengths (ISO/IEC 14496-15), of one SPS and one PPS."""
    record = bytes((1, sps[1], sps[2], sps[3], 0xFC | 3, 0xE0 | 1))
    record += len(sps).to_bytes(2, "big") + sps + b"\x01" + len(pps).to_bytes(2, "big") + pps
    if sps[1] in (100, 110, 122, 144):  # the high profiles say more: 4:2:0, eight bits, no extensions
        record += b"\xfd\xf8\xf8\x00"
    return record


def _element(identifier: int, payload: bytes) -> bytes:
    size = len(payload)
    length = 1
    while size >= (1 << 7 * length) - 1:  # all ones means an unknown size
        length += 1
    head = identifier.to_bytes((identifier.bit_length() + 7) // 8, "big")
    return head + (size | 1 << 7 * length).to_bytes(length, "big") + payload


def _unsigned(identifier: int, value: int) -> bytes:
    return _element(identifier, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def _text(identifier: int, value: str) -> bytes:
    return _element(identifier, value.encode())


def _float(identifier: int, value: float) -> bytes:
    return _element(identifier, struct.pack(">d", value))


class MatroskaWriter:
    """Writes one file to a seekable binary stream. Times are milliseconds from the file's start.

    Every method but the constructor may raise `OSError`. After one, `salvage` makes the file whole as far as it goes.
    """

    def __init__(
        self, file: BinaryIO, tracks: Sequence[MatroskaTrack], *, webm: bool, cluster_ms: int, title: str = ""
    ) -> None:
        """Nothing is written yet.

        Args:
            file: where to write, at its start.
            tracks: in the order of their numbers in `write`.
            webm: the document type is WebM; only VP8 and Opus belong into it.
            cluster_ms: how much goes into one cluster.
            title: of the whole file, for people.
        """
        self._file = file
        self._tracks = tuple(tracks)
        self._webm = webm
        self._cluster_ms = cluster_ms
        self._title = title
        self._blocks: list[tuple[int, int, bytes, bool, int]] = []  # time, track, data, keyframe, duration
        self._block_bytes = 0
        self._earliest_ms = self._latest_ms = 0  # of the blocks above
        self._cues: list[tuple[int, int, int]] = []  # time, track number, offset of the cluster in the segment
        self._segment_start = 0
        self._duration_offset = 0
        self._parts: list[tuple[int, int]] = []  # element id, offset in the segment
        self._good_end = 0  # the end of the last whole cluster
        self._end_ms = 0
        self._written_end_ms = 0  # the same, of what is on the disk

    @property
    def bytes_written(self) -> int:
        """The file's size up to its last whole cluster."""
        return self._good_end

    @property
    def written_end_ms(self) -> int:
        """The end of the last frame on the disk."""
        return self._written_end_ms

    def write_head(self) -> None:
        """Write what stands before the first cluster."""
        doc_type = "webm" if self._webm else "matroska"
        head = _element(
            _EBML,
            _unsigned(0x4286, 1) + _unsigned(0x42F7, 1) + _unsigned(0x42F2, 4) + _unsigned(0x42F3, 8)
            + _text(0x4282, doc_type) + _unsigned(0x4287, 4) + _unsigned(0x4285, 2),
        )  # fmt: skip  # versions of EBML, then the document type and its versions
        head += _SEGMENT.to_bytes(4, "big") + _UNKNOWN_SIZE
        self._segment_start = len(head)
        head += _void(_SEEK_HEAD_BYTES)
        self._parts.append((_INFO, len(head) - self._segment_start))
        info = _unsigned(0x2AD7B1, _MILLISECOND_NS) + _text(0x4D80, _APPLICATION) + _text(0x5741, _APPLICATION)
        if self._title:
            info += _text(0x7BA9, self._title)
        info += _float(0x4489, 0.0)  # the duration, last so that its place is known
        head += _element(_INFO, info)
        self._duration_offset = len(head) - 8
        self._parts.append((_TRACKS, len(head) - self._segment_start))
        head += _element(_TRACKS, b"".join(_track_entry(index, track) for index, track in enumerate(self._tracks)))
        self._write_all(head)
        self._file.flush()
        self._good_end = len(head)

    def write(self, track: int, time_ms: int, data: bytes, *, keyframe: bool, duration_ms: int = 0) -> None:
        """Add a frame to the cluster in progress, and write that when it is full.

        Args:
            track: index of the track. Times of one track do not go back.
            time_ms: when it begins.
            data: the frame, in the form that the track's codec id asks for.
            keyframe: decoding can start here.
            duration_ms: said in the file when above 0; needed for the last picture only.
        """
        if self._blocks:
            # Tracks are not in step: what comes later may belong before the first block.
            spread = max(self._latest_ms, time_ms) - min(self._earliest_ms, time_ms)
            if (
                spread >= _MAX_BLOCK_OFFSET_MS
                or time_ms - self._blocks[0][0] >= self._cluster_ms
                or self._block_bytes + len(data) > _MAX_CLUSTER_BYTES
            ):
                self.flush()
        if not self._blocks:
            self._earliest_ms = self._latest_ms = time_ms
        self._earliest_ms = min(self._earliest_ms, time_ms)
        self._latest_ms = max(self._latest_ms, time_ms)
        self._blocks.append((time_ms, track, data, keyframe, duration_ms))
        self._block_bytes += len(data)
        self._end_ms = max(self._end_ms, time_ms + duration_ms)

    def flush(self) -> None:
        """Write the cluster in progress."""
        if not self._blocks:
            return
        blocks, self._blocks, self._block_bytes = sorted(self._blocks, key=lambda block: block[0]), [], 0
        start = blocks[0][0]
        offset = self._good_end - self._segment_start
        cues = []
        body = [_unsigned(0xE7, start)]
        for time_ms, track, data, keyframe, duration_ms in blocks:
            body.append(_block(track + 1, time_ms - start, data, keyframe, duration_ms))
            if keyframe and self._tracks[track].width:
                cues.append((time_ms, track + 1, offset))
        if not any(track.width for track in self._tracks):
            cues = [(start, blocks[0][1] + 1, offset)]  # of sound alone, each cluster is as good a place as any
        cluster = _element(_CLUSTER, b"".join(body))
        self._file.seek(self._good_end)
        self._write_all(cluster)
        self._file.flush()
        self._good_end += len(cluster)
        self._cues += cues
        self._written_end_ms = self._end_ms

    def finish(self, duration_ms: int = 0) -> None:
        """Write what is left, the index, and the duration: of the frames, or ``duration_ms`` if that is longer."""
        self.flush()
        if self._cues:
            cues = b"".join(
                _element(
                    0xBB, _unsigned(0xB3, time_ms) + _element(0xB7, _unsigned(0xF7, track) + _unsigned(0xF1, offset))
                )
                for time_ms, track, offset in self._cues
            )
            element = _element(_CUES, cues)
            self._file.seek(self._good_end)
            self._write_all(element)
            self._parts.append((_CUES, self._good_end - self._segment_start))
            self._good_end += len(element)
        self._patch(max(duration_ms, self._written_end_ms))

    def salvage(self) -> None:
        """After an error: cut the file behind its last whole cluster and state its duration. Takes no more room."""
        self._blocks = []
        self._file.truncate(self._good_end)
        self._patch(self._written_end_ms)

    def _write_all(self, data: bytes) -> None:
        """An unbuffered file may take less than it is given, on a disk that is nearly full."""
        view = memoryview(data)
        while view:
            taken = self._file.write(view)
            if not taken:
                raise OSError(errno.ENOSPC, "no room is left for the recording")
            view = view[taken:]

    def _patch(self, duration_ms: int) -> None:
        """Fill in what was not known when the head was written."""
        seeks = b"".join(
            _element(0x4DBB, _element(0x53AB, identifier.to_bytes(4, "big")) + _unsigned(0x53AC, offset))
            for identifier, offset in self._parts
        )
        seek_head = _element(_SEEK_HEAD, seeks)
        self._file.seek(self._segment_start)
        self._write_all(seek_head + _void(_SEEK_HEAD_BYTES - len(seek_head)))
        self._file.seek(self._duration_offset)
        self._write_all(struct.pack(">d", float(duration_ms)))
        self._file.seek(self._segment_start - 8)
        self._write_all((1 << 56 | self._good_end - self._segment_start).to_bytes(8, "big"))
        self._file.flush()


def _void(total_bytes: int) -> bytes:
    """A filler element of ``total_bytes``, 2 to 128."""
    return _element(_VOID, bytes(total_bytes - 2))


def _block(number: int, offset_ms: int, data: bytes, keyframe: bool, duration_ms: int) -> bytes:
    """A SimpleBlock, or a BlockGroup where a duration must be said (RFC 9559 section 10)."""
    head = bytes((0x80 | number,)) + struct.pack(">h", offset_ms)
    if not duration_ms:
        return _element(0xA3, head + (b"\x80" if keyframe else b"\x00") + data)
    group = _element(0xA1, head + b"\x00" + data) + _unsigned(0x9B, duration_ms)
    if not keyframe:
        group += _element(0xFB, b"\xff")  # it refers to the frame 1 ms before: what matters is that it refers
    return _element(0xA0, group)


def _track_entry(index: int, track: MatroskaTrack) -> bytes:
    entry = _unsigned(0xD7, index + 1) + _unsigned(0x73C5, index + 1) + _unsigned(0x83, 1 if track.width else 2)
    entry += _unsigned(0x9C, 0) + _text(0x22B59C, "und") + _text(0x536E, track.name) + _text(0x86, track.codec_id)
    if track.codec_private:
        entry += _element(0x63A2, track.codec_private)
    if track.codec_delay_ns:
        entry += _unsigned(0x56AA, track.codec_delay_ns)
    if track.seek_preroll_ns:
        entry += _unsigned(0x56BB, track.seek_preroll_ns)
    if track.width:
        entry += _element(0xE0, _unsigned(0xB0, track.width) + _unsigned(0xBA, track.height))
    else:
        entry += _element(0xE1, _float(0xB5, float(track.sample_rate)) + _unsigned(0x9F, track.channels))
    return _element(0xAE, entry)
