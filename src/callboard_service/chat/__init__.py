"""Defines the actor types that answer the chat requests."""
