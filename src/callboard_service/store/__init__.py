"""Stores conversations in SQLite."""
