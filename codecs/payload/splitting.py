"""How a frame is cut into payloads of nearly the same size."""

from __future__ import annotations

from triortc.errors import ConfigurationError

__all__ = ["even_chunks"]


def even_chunks(total_bytes: int, max_chunk_bytes: int) -> list[tuple[int, int]]:
    """Cut ``total_bytes`` into the fewest chunks of at most ``max_chunk_bytes``, sizes differing by at most one.

    Packets of even size leave no runt at the end of a frame: one lost packet then costs the same wherever it falls,
    and a run of them fits segmentation offload, which wants equal sizes.

    Args:
        total_bytes: bytes to cut, more than 0.
        max_chunk_bytes: the largest chunk, more than 0.

    Returns:
        ``(start, end)`` of each chunk, in order.

    Raises:
        ConfigurationError: ``max_chunk_bytes`` leaves no room for even one byte.
    """
    if max_chunk_bytes < 1:
        raise ConfigurationError("max_payload_bytes leaves no room for media: raise it, 1200 is a usual value")
    count = -(-total_bytes // max_chunk_bytes)
    size, larger = divmod(total_bytes, count)
    chunks = []
    start = 0
    for index in range(count):
        end = start + size + (index < larger)
        chunks.append((start, end))
        start = end
    return chunks
