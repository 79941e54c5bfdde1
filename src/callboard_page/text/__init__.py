"""Texts of models, as nodes."""
