"""RTP payload formats, one module a codec. Plain bytes in and out; no FFmpeg, no I/O."""
