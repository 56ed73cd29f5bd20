"""What is kept per RTP stream: statistics, reports, losses, retransmission. Each concern one small piece."""
