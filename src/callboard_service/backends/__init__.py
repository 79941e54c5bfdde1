"""What answers the chat requests."""
