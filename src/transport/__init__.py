"""Frames on a WebSocket: the wire contract, the handshake, connections, and discovery."""
