"""The server: it listens, checks who may connect, and passes messages to sessions."""
