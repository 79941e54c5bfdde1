"""Benchmark of the relay: replies of a scripted model server, passed on over a WebSocket."""
