"""The server: it listens, checks who may connect, and feeds sessions."""
