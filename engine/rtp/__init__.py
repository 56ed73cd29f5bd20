"""RTP headers, header extensions and the retransmission format to and from bytes."""
