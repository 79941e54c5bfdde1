"""The chat as actor types."""
