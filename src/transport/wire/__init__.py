"""Converts between bytes and frames."""
