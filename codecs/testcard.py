"""A moving test picture and its sound, made so that a test can read back what it saw and heard.

The picture carries its frame number as black and white blocks that survive compression, and once a second a white
patch flashes while the tone beeps, so that the distance of the two can be measured.
"""

from __future__ import annotations

import math
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from triortc.errors import ConfigurationError

__all__ = ["TestCard", "Tone", "read_flash", "read_frame_number"]

_Plane = NDArray[np.uint8]
_Samples = NDArray[np.int16]

# The number: 24 bits and 8 bits of checksum, 16 blocks a row, two rows at the top of the picture.
_NUMBER_BITS = 24
_COLUMNS = 16
_ROWS = 2
_BLACK, _WHITE = 16, 235
_THRESHOLD = 126
# The flash: a square in the middle of the lower right quarter, in 64ths of the picture's sides.
_FLASH_LEFT, _FLASH_TOP, _FLASH_SIZE = 44, 38, 14

# BT.601 colour bars at 75 %: (Y, U, V) of white, yellow, cyan, green, magenta, red, blue, black.
_BARS = (
    (180, 128, 128),
    (162, 44, 142),
    (131, 156, 44),
    (112, 72, 58),
    (84, 184, 198),
    (65, 100, 212),
    (35, 212, 114),
    (16, 128, 128),
)


class TestCard:
    """Pictures of a test card, by their number: colour bars, a clock hand, a moving square, a counter, a flash."""

    __test__ = False  # the name is the trade's; it is not for pytest to collect

    def __init__(self, width: int = 640, height: int = 480, frame_rate: int = 30) -> None:
        """Draw what does not move.

        Args:
            width: pixels, a multiple of 16, at least 128.
            height: pixels, even, at least 96.
            frame_rate: pictures a second.

        Raises:
            ConfigurationError: the size does not fit the blocks of the counter.
        """
        if width < 128 or width % 16 or height < 96 or height % 2:
            raise ConfigurationError(
                "a test card needs a width that is a multiple of 16, at least 128, and an even height"
            )
        if not 4 <= frame_rate <= 240:
            raise ConfigurationError("a test card needs 4 to 240 frames a second")
        self.width, self.height, self.frame_rate = width, height, frame_rate
        self.flash_frames = max(1, round(frame_rate / 15))
        """So many pictures long is the flash."""
        self._base = self._draw_base()

    def is_flash(self, number: int) -> bool:
        """Whether picture ``number`` shows the flash: the first ones of every second do."""
        return number % self.frame_rate < self.flash_frames

    def picture(self, number: int) -> av.VideoFrame:
        """Picture ``number``, counted from 0 (modulo 2**24), as planar YUV 4:2:0. Without a ``pts``."""
        width, height = self.width, self.height
        canvas = self._base.copy()
        luma = canvas[:height]
        self._draw_clock_hand(luma, number)
        side = height // 8 & ~1
        left = number * 4 % (width - side) & ~1
        luma[height - side : height, left : left + side] = _WHITE
        x, y, size = _flash_area(width, height)
        luma[y : y + size, x : x + size] = _WHITE if self.is_flash(number) else _BLACK
        _draw_number(luma, number)
        return av.VideoFrame.from_ndarray(canvas, format="yuv420p")

    def _draw_base(self) -> _Plane:
        width, height = self.width, self.height
        canvas = np.full((height * 3 // 2, width), 128, np.uint8)
        bars = np.minimum(np.arange(width) * len(_BARS) // width, len(_BARS) - 1)
        luma, u, v = (np.array([bar[plane] for bar in _BARS], np.uint8)[bars] for plane in range(3))
        canvas[:height] = luma
        # The two chroma planes lie behind the luma, each a quarter of its size.
        chroma = canvas[height:].reshape(2, height // 2, width // 2)
        chroma[0] = u[::2]
        chroma[1] = v[::2]
        band = height - (height // 8 & ~1)
        canvas[band:height] = np.linspace(_BLACK, 160, width).astype(np.uint8)  # a ramp under the moving square
        chroma[:, band // 2 :] = 128
        x, y, size = _flash_area(width, height)
        chroma[:, y // 2 : (y + size) // 2, x // 2 : (x + size) // 2] = 128
        chroma[:, : _number_height(height) // 2] = 128
        return canvas

    def _draw_clock_hand(self, luma: _Plane, number: int) -> None:
        """A hand that goes round once in four seconds, and its dial."""
        angle = 2 * math.pi * number / (4 * self.frame_rate)
        middle_x, middle_y, radius = self.width // 4, self.height * 9 // 16, self.height // 5
        steps = np.linspace(0, 1, radius * 2)
        for offset in (-1, 0, 1):
            x = (middle_x + offset + math.sin(angle) * radius * steps).astype(int)
            y = (middle_y - math.cos(angle) * radius * steps).astype(int)
            luma[y, x] = _WHITE
            luma[y + 1, x] = _BLACK
        ticks = np.arange(12) * (math.pi / 6)
        x = (middle_x + np.sin(ticks) * (radius + 4)).astype(int)
        y = (middle_y - np.cos(ticks) * (radius + 4)).astype(int)
        for dy in (0, 1):
            for dx in (0, 1):
                luma[y + dy, x + dx] = _WHITE


def _flash_area(width: int, height: int) -> tuple[int, int, int]:
    """Left, top and side of the flash, even numbers of pixels."""
    return width * _FLASH_LEFT // 64 & ~1, height * _FLASH_TOP // 64 & ~1, height * _FLASH_SIZE // 64 & ~1


def _number_height(height: int) -> int:
    """Height in pixels of the two rows of blocks."""
    return _ROWS * (height // 16 & ~1)


def _checksum(number: int) -> int:
    """Eight bits that a number read wrongly hardly matches, and that an all-black or all-white area does not."""
    return (number ^ number >> 8 ^ number >> 16 ^ 0xA5) & 0xFF


def _draw_number(luma: _Plane, number: int) -> None:
    number &= (1 << _NUMBER_BITS) - 1
    bits = number << 8 | _checksum(number)
    height, width = luma.shape
    row_height = _number_height(height) // _ROWS
    block = width // _COLUMNS
    blocks = np.array([bits >> (31 - index) & 1 for index in range(32)], np.uint8).reshape(_ROWS, _COLUMNS)
    levels = np.where(blocks == 1, _WHITE, _BLACK).astype(np.uint8)
    luma[: _ROWS * row_height] = levels.repeat(row_height, axis=0).repeat(block, axis=1)


def _luma(frame: av.VideoFrame) -> _Plane:
    if frame.format.name != "yuv420p":
        frame = frame.reformat(format="yuv420p")
    planar: NDArray[Any] = frame.to_ndarray()
    return planar[: frame.height]


def read_frame_number(frame: av.VideoFrame) -> int | None:
    """The number that a test card's picture carries, after any compression and scaling.

    Returns:
        ``None`` when the picture is no test card or its blocks cannot be read.
    """
    luma = _luma(frame)
    height, width = luma.shape
    row_height = height / 16
    block = width / _COLUMNS
    bits = 0
    for row in range(_ROWS):
        top, bottom = (
            int((row + 0.3) * row_height),
            max(int((row + 0.7) * row_height), int((row + 0.3) * row_height) + 1),
        )
        for column in range(_COLUMNS):
            left, right = int((column + 0.3) * block), int((column + 0.7) * block) + 1
            bits = bits << 1 | int(luma[top:bottom, left:right].mean() > _THRESHOLD)
    number, checksum = bits >> 8, bits & 0xFF
    return number if checksum == _checksum(number) else None


def read_flash(frame: av.VideoFrame) -> bool:
    """Whether a test card's picture shows the flash."""
    luma = _luma(frame)
    height, width = luma.shape
    x, y, size = _flash_area(width, height)
    inset = size // 4
    return bool(luma[y + inset : y + size - inset, x + inset : x + size - inset].mean() > _THRESHOLD)


class Tone:
    """The test card's sound: a quiet sine all the time, and a loud beep exactly as long as the flash."""

    def __init__(
        self,
        *,
        sample_rate: int = 48_000,
        tone_hz: float = 220.0,
        beep_hz: float = 1_000.0,
        tone_level: float = 0.03,
        beep_level: float = 0.5,
        beep_s: float = 2 / 30,
    ) -> None:
        """Choose the sounds.

        Args:
            sample_rate: samples a second.
            tone_hz: frequency of the quiet sine.
            beep_hz: frequency of the beep.
            tone_level: amplitude of the quiet sine, 0 to 1.
            beep_level: amplitude of the beep, 0 to 1.
            beep_s: how long the beep is, from the start of every second.

        Raises:
            ConfigurationError: the levels together exceed full scale.
        """
        if not 0 <= tone_level + beep_level <= 1:
            raise ConfigurationError("tone_level and beep_level together must be 0 to 1")
        self.sample_rate = sample_rate
        self._tone_hz, self._tone_level = tone_hz, tone_level
        self._beep_hz, self._beep_level = beep_hz, beep_level
        self._beep_samples = round(beep_s * sample_rate)

    def samples(self, start: int, count: int) -> _Samples:
        """``count`` samples of one channel from sample ``start`` on, 16 bits."""
        index = np.arange(start, start + count, dtype=np.float64)
        within_second = index % self.sample_rate
        wave = self._tone_level * np.sin(index * (2 * math.pi * self._tone_hz / self.sample_rate))
        beep = self._beep_level * np.sin(within_second * (2 * math.pi * self._beep_hz / self.sample_rate))
        wave += np.where(within_second < self._beep_samples, beep, 0.0)
        return (wave * 32767).astype(np.int16)

    def sound(self, start: int, count: int) -> av.AudioFrame:
        """The same as a mono frame for an encoder."""
        frame = av.AudioFrame.from_ndarray(self.samples(start, count).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = self.sample_rate
        return frame
