"""Media in processes of its own: the media port over a stream, the processes at its far end, and the pool of them."""
