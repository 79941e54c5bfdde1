"""The board: what the service is doing, as a picture."""
