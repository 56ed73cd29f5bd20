"""The protocol triortc.v1: messages, sessions with resume, WebSocket, HTTP, tokens, the web page."""
