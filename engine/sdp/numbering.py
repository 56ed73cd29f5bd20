"""Payload types and extension ids of our offers: unique in the bundle, and never given a second meaning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from triortc.codecs.registry import Codec, matches, media_kind
from triortc.engine.sdp.attributes import is_rtp
from triortc.engine.sdp.formats import Formats, read_extensions, read_formats
from triortc.engine.sdp.grammar import MediaDescription, SessionDescription
from triortc.engine.sdp.local import LocalMedia
from triortc.errors import ConfigurationError

__all__ = ["Numbering"]

#: Dynamic payload types: the range made for it first, then the unassigned one below (RFC 3551 section 6, RFC 5761).
_DYNAMIC: Final[tuple[int, ...]] = (*range(96, 128), *range(35, 64))
#: 15 is reserved in the one-byte form of header extensions (RFC 8285 section 4.2).
_IDS: Final[tuple[int, ...]] = (*range(1, 15), *range(16, 256))


class Numbering:
    """Gives numbers to the codecs and extensions of an offer.

    Numbers that earlier descriptions of the same connection used keep their meaning (RFC 3264 section 8.3.2, RFC 8285
    section 6).

    Args:
        earlier: the last local and remote descriptions, ours first; none for a first offer.
    """

    def __init__(self, earlier: Iterable[SessionDescription]) -> None:
        self._formats: list[tuple[str, Formats]] = []
        self._used: set[int] = set()
        self._ids: dict[str, int] = {}
        for description in earlier:
            for section in description.media:
                self._learn(description, section)

    def _learn(self, description: SessionDescription, section: MediaDescription) -> None:
        kind = media_kind(section.kind)
        if kind is None or not is_rtp(section.media.protocol):
            return
        self._formats.append((section.mid, read_formats(section, kind)))
        self._used.update(int(item) for item in section.media.formats)
        for uri, entry in read_extensions(description, section).items():
            self._ids.setdefault(uri, entry.id)

    def codecs(self, mid: str, local: LocalMedia) -> Iterator[tuple[Codec, int, int | None]]:
        """Yield each codec of a section, its payload type and that of its retransmissions.

        Raises:
            ConfigurationError: there are more codecs than payload types.
        """
        for codec in local.preferred_codecs:
            number, companion = self._earlier(mid, codec)
            if number is None:
                number = self._take(codec.payload_type)
            if not (codec.rtx and local.rtx):
                companion = None
            elif companion is None:
                companion = self._take(number + 1 if number in _DYNAMIC else None)
            yield codec, number, companion

    def extension(self, uri: str) -> int:
        """Return the id of a header extension, the same in all sections (RFC 9143 section 9.1).

        Raises:
            ConfigurationError: there are more extensions than ids.
        """
        if uri not in self._ids:
            taken = set(self._ids.values())
            number = next((number for number in _IDS if number not in taken), None)
            if number is None:
                raise ConfigurationError("there are more header extensions than ids for them; offer fewer")
            self._ids[uri] = number
        return self._ids[uri]

    def _earlier(self, mid: str, codec: Codec) -> tuple[int | None, int | None]:
        for known, formats in self._formats:
            for number, candidate in formats.codecs.items():
                if known == mid and matches(codec, candidate):
                    return number, formats.retransmissions.get(number)
        return None, None

    def _take(self, preferred: int | None) -> int:
        order = _DYNAMIC if preferred is None else (preferred, *_DYNAMIC)
        number = next((number for number in order if number not in self._used), None)
        if number is None:
            raise ConfigurationError("there are more codecs than payload types for them; offer fewer")
        self._used.add(number)
        return number
