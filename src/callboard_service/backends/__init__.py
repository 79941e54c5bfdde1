"""The backends that answer chat requests."""
